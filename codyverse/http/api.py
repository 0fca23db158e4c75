"""The API's frame: flask-smorest with our JSON reader and our problem+json, and what every operation documents."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from http import HTTPStatus
from typing import Any, TypeVar

import flask_smorest
import marshmallow as ma
from flask import Flask, Request
from webargs.flaskparser import FlaskParser
from werkzeug import exceptions
from werkzeug.routing import BaseConverter

from codyverse.database import LARGEST_ID
from codyverse.errors import FieldErrors, NotFound
from codyverse.http import json
from codyverse.http.schemas import SLUG
from codyverse.operations.limits.headers import DOCUMENTATION as LIMIT_HEADERS
from codyverse.operations.limits.headers import RETRY_AFTER

PREFIX = "/api/v1"
View = TypeVar("View", bound=Callable[..., Any])


class Parser(FlaskParser):
    """Reads bodies with our JSON reader, whatever webargs would accept, and refuses unknown parameters of a query as well."""

    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {**FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION, "query": ma.RAISE}  # noqa: RUF012  (as the base class declares it)

    def load_json(self, req: Request, schema: ma.Schema) -> Any:
        """Return the body's value; raises MalformedInput."""
        return json.body(req)


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc]
    """A blueprint of the API."""

    ARGUMENTS_PARSER = Parser()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prepare_doc_cbks.append(_describe_limits)

    def arguments(self, schema: type[ma.Schema], **kwargs: Any) -> Any:
        """Have a view given what the schema reads. Made for every request it took as long as the reading."""
        return super().arguments(schema(), **kwargs)


def _describe_limits(operation: dict[str, Any], info: dict[str, Any], **context: Any) -> dict[str, Any]:
    """Document the headers about limits, which come with every answer."""
    for response in operation.get("responses", {}).values():
        if isinstance(response, dict):  # others are names of the API's errors
            response["headers"] = response.get("headers", {}) | LIMIT_HEADERS
    return operation


class ProblemSchema(ma.Schema):
    """RFC 9457: what every error answers."""

    type = ma.fields.String(required=True, metadata={"description": "Stable name of the kind of error."})
    title = ma.fields.String(required=True)
    status = ma.fields.Integer(required=True)
    detail = ma.fields.String()
    errors = ma.fields.Dict(
        keys=ma.fields.String(),
        values=ma.fields.List(ma.fields.String()),
        metadata={"description": "What is wrong, by the dotted name of the field."},
    )
    request_id = ma.fields.String(metadata={"description": "That of the header X-Request-ID: operators find the request by it."})


class Api(flask_smorest.Api):  # type: ignore[misc]
    """The registry of the API's operations and their OpenAPI document."""

    ERROR_SCHEMA = ProblemSchema
    DEFAULT_ERROR_RESPONSE_NAME = None  # every operation names its errors with `problems`

    def _register_responses(self) -> None:
        """Describe one response an HTTP status for operations to refer to, as problem+json."""
        for status in HTTPStatus:
            described = {
                "description": status.phrase,
                "content": {"application/problem+json": {"schema": self.ERROR_SCHEMA}},
                "headers": LIMIT_HEADERS | (RETRY_AFTER if status == HTTPStatus.TOO_MANY_REQUESTS else {}),
            }
            self.spec.components.response(status.name, described, lazy=True)

    def _register_error_handlers(self) -> None:
        """Leave every error to codyverse.errors."""


def problems(*statuses: int) -> Callable[[View], View]:
    """Document the errors that an operation can answer.

    Two come with them: 429 for a client that asks too much, 503 for a database that is busy or away.
    """

    def document(view: View) -> View:
        # The copy keeps the documentation of a view that this one wraps as it was; that is how flask-smorest's decorators do it.
        apidoc = deepcopy(getattr(view, "_apidoc", {}))
        responses = apidoc.setdefault("response", {}).setdefault("responses", {})
        for status in (*statuses, 429, 503):
            responses[status] = [HTTPStatus(status).name]
        view._apidoc = apidoc  # type: ignore[attr-defined]
        return view

    return document


def _no_such_address(detail: str, errors: FieldErrors) -> exceptions.NotFound:
    """Return what the router can raise; codyverse.errors answers with its cause."""
    error = exceptions.NotFound()
    error.__cause__ = NotFound(detail, errors)
    return error


class IdConverter(BaseConverter):
    """`<id:lesson_id>`: a number of a row. What cannot be one is 404, with the reason."""

    regex = "[^/]+"

    def to_python(self, value: str) -> int:
        """Return the number; raises NotFound."""
        if not (value.isascii() and value.isdigit() and len(value) <= 19 and 0 < int(value) <= LARGEST_ID):
            raise _no_such_address(
                "The id in the address is not a number of anything.", {"id": ["Must be a whole number above 0."]}
            )
        return int(value)


def _describe_id(converter: IdConverter) -> dict[str, Any]:
    return {"type": "integer", "format": "int64", "minimum": 1, "maximum": LARGEST_ID}


class SlugConverter(BaseConverter):
    """`<slug:course_slug>`: a name from the catalogue's files. What cannot be one is 404 and never reaches the database."""

    regex = "[^/]+"

    def to_python(self, value: str) -> str:
        """Return the slug; raises NotFound."""
        if not SLUG.fullmatch(value):
            raise _no_such_address("The name in the address is nothing's name.", {"slug": ["Must be a-z, 0-9, single hyphens."]})
        return value


def _describe_slug(converter: SlugConverter) -> dict[str, Any]:
    return {"type": "string", "pattern": SLUG.pattern}


def init_app(app: Flask, api: Api) -> None:
    """Prepare the application for the API's blueprints."""
    app.url_map.converters["id"] = IdConverter
    app.url_map.converters["slug"] = SlugConverter
    app.config.update(
        API_TITLE="CodyVerse",
        API_VERSION="v1",
        OPENAPI_VERSION="3.1.0",
    )
    api.init_app(app)
    api.register_converter(IdConverter, _describe_id)
    api.register_converter(SlugConverter, _describe_slug)
