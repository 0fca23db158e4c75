"""The API's frame: flask-smorest with our JSON reader and our problem+json, and what every operation documents."""

from __future__ import annotations

from typing import Any

import flask_smorest
import marshmallow as ma
from flask import Flask, Request
from webargs.flaskparser import FlaskParser
from werkzeug.routing import BaseConverter

from codyverse.database import LARGEST_ID
from codyverse.errors import NotFound
from codyverse.http import json

PREFIX = "/api/v1"


class Parser(FlaskParser):
    """Reads bodies with our JSON reader, whatever webargs would accept."""

    def load_json(self, req: Request, schema: ma.Schema) -> Any:
        """Return the body's value; raises MalformedInput."""
        return json.body(req)


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc]
    """A blueprint of the API."""

    ARGUMENTS_PARSER = Parser()


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


class Api(flask_smorest.Api):  # type: ignore[misc]
    """The registry of the API's operations and their OpenAPI document."""

    ERROR_SCHEMA = ProblemSchema

    def _register_error_handlers(self) -> None:
        """Leave every error to codyverse.errors."""


class IdConverter(BaseConverter):
    """`<id:lesson_id>`: a number of a row. What cannot be one is 404, with the reason."""

    regex = "[^/]+"

    def to_python(self, value: str) -> int:
        """Return the number; raises NotFound."""
        if not (value.isascii() and value.isdigit() and len(value) <= 19 and 0 < int(value) <= LARGEST_ID):
            raise NotFound("The id in the address is not a number of anything.", {"id": ["Must be a whole number above 0."]})
        return int(value)


def _describe_id(converter: IdConverter) -> dict[str, Any]:
    return {"type": "integer", "format": "int64", "minimum": 1, "maximum": LARGEST_ID}


def init_app(app: Flask, api: Api) -> None:
    """Prepare the application for the API's blueprints."""
    app.url_map.converters["id"] = IdConverter
    app.config.update(
        API_TITLE="CodyVerse",
        API_VERSION="v1",
        OPENAPI_VERSION="3.1.0",
    )
    api.init_app(app)
    api.register_converter(IdConverter, _describe_id)
