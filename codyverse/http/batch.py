"""`POST /api/v1/batch`: up to MOST operations in one request, for clients that were offline (report row R7).

Each operation is a request of its own to the whole application, in order: with the sender's cookie or token, limits, checks and a
transaction of its own, so that one that fails stops no other. What is not of the form of a batch is refused as a whole, with 422,
before anything is done; an operation of the right form that may not be part of one (see OUTSIDE) is answered 422 of its own.

A batch whose answer was lost is sent again: operations with an idempotency key give their first answers. The batch itself takes
no key, which would promise more than operations without one can keep. Keys and bodies are compared as if the operation had been
sent on its own with its body as `JSON.stringify` writes it.

The general limits of JSON hold for the batch: 2,000 values leave 33 for the body of each of 50 operations, and its depth of 16
leaves 13.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextvars import Context
from io import BytesIO
from typing import TYPE_CHECKING, Any

import marshmallow as ma
import orjson
from flask import Flask, current_app, request
from werkzeug.wrappers import Response

from codyverse import errors, extensions
from codyverse.errors import CodyverseError, InvalidInput, Unavailable
from codyverse.http import idempotency
from codyverse.http.api import PREFIX, Blueprint, problems
from codyverse.http.auth import public
from codyverse.http.request_limits import max_body
from codyverse.http.schemas import Schema
from codyverse.operations import request_ids

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MOST = 50
MAX_BYTES = 256 * 1024
BUDGET_S = 20.0  # operations that did not begin by then are left to the client: proxies do not wait much longer
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

# Plain names only. No address of the API needs an encoded character or a dot in its path, so nothing can be written in two ways.
PATH = r'^/api/v1(/[A-Za-z0-9_-]+)+(\?[!-"$-~]*)?$'
ETAGS = r"^[!-~]([ -~]*[!-~])?$"

# What is sent or answered in another form than JSON; and what sets cookies or shows secrets, which a batch would lose or keep.
OUTSIDE = {
    f"{PREFIX}/batch": "A batch cannot be part of a batch.",
    f"{PREFIX}/auth": "Signing in and out, sessions and tokens cannot be part of a batch.",
    f"{PREFIX}/me/avatar": "Images cannot be part of a batch.",
    f"{PREFIX}/csp-reports": "Reports of browsers cannot be part of a batch.",
}

# Who sends the operations and by what way: as it was found for the batch, behind whatever proxies.
_INHERITED = (
    *("REMOTE_ADDR", "REMOTE_PORT", "SCRIPT_NAME", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "SERVER_SOFTWARE"),
    *("HTTP_HOST", "HTTP_COOKIE", "HTTP_AUTHORIZATION", "HTTP_X_CSRF_TOKEN", "HTTP_ORIGIN", "HTTP_SEC_FETCH_SITE"),
    *("HTTP_USER_AGENT", "HTTP_ACCEPT_LANGUAGE", request_ids.KEY),
    *("wsgi.version", "wsgi.url_scheme", "wsgi.errors", "wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once"),
)
_TOLD = ("Age", "Allow", "ETag", "Location", "Retry-After", "Warning")  # headers of an answer that mean something in a result

Operation = dict[str, Any]
Result = dict[str, Any]

blueprint = Blueprint("batch", __name__, description="Several operations in one request.")


def _text(pattern: str, longest: int, error: str, **kwargs: Any) -> ma.fields.String:
    """Return a field of a text that fits the pattern as a whole."""
    compiled = re.compile(pattern)

    def fits(text: str) -> None:
        if not compiled.fullmatch(text):
            raise ma.ValidationError(error)

    metadata = {"pattern": pattern, **kwargs.pop("metadata", {})}
    return ma.fields.String(validate=[ma.validate.Length(min=1, max=longest), fits], metadata=metadata, **kwargs)


class OperationSchema(Schema):
    """One request."""

    method = ma.fields.String(required=True, validate=ma.validate.OneOf(METHODS))
    path = _text(
        PATH,
        2000,
        f"Must be an address below {PREFIX}/ with plain names, and perhaps a query.",
        required=True,
        metadata={"description": "With its query. Not `/batch`, `/auth/…`, `/me/avatar`, `/csp-reports`, which answer 422."},
    )
    body = ma.fields.Raw(allow_none=True, metadata={"description": "Its JSON; null: none."})
    idempotency_key = _text(
        idempotency.PARAMETER["schema"]["pattern"],
        idempotency.LONGEST,
        "Must be visible ASCII characters without spaces.",
        metadata={"description": f"Its `{idempotency.HEADER}`."},
    )
    if_match = _text(ETAGS, 500, "Must be visible ASCII characters.", metadata={"description": "Its `If-Match`."})


class BatchSchema(Schema):
    """Requests, in order."""

    operations = ma.fields.List(ma.fields.Nested(OperationSchema), required=True, validate=ma.validate.Length(min=1, max=MOST))


class ResultSchema(Schema):
    """What one operation answered."""

    status = ma.fields.Integer(required=True)
    headers = ma.fields.Dict(
        keys=ma.fields.String(),
        values=ma.fields.String(),
        required=True,
        metadata={"description": f"Those of {', '.join(_TOLD)} that it sent."},
    )
    body = ma.fields.Raw(
        required=True, allow_none=True, metadata={"description": "Its JSON, problem+json for an error; null: none."}
    )


class ResultsSchema(Schema):
    """What the operations answered, in their order."""

    results = ma.fields.List(ma.fields.Nested(ResultSchema), required=True)


@blueprint.post("/batch")
@blueprint.doc(security=[{}, {"session": []}, {"bearer": []}])
@public
@max_body(MAX_BYTES)
@problems(400, 403, 413, 415, 422)
@blueprint.arguments(BatchSchema)
@blueprint.response(200, ResultsSchema)
def send_batch(batch: dict[str, Any]) -> Any:
    """Send up to 50 operations, each answered on its own.

    Every operation asks for the rights that it asks for anyway, and counts for the limits. One that was not begun within 20
    seconds is answered 503. A batch sent again does nothing twice for operations with a key.
    """
    if idempotency.HEADER in request.headers:
        raise InvalidInput(
            "A batch has no key: give one to each of its operations.", {idempotency.HEADER: ["Not accepted with a batch."]}
        )
    # The results may be anybody's own.
    return {"results": run(batch["operations"], _send)}, {"Cache-Control": "private, no-cache"}


def run(
    operations: list[Operation], send: Callable[[Operation], Response], clock: Callable[[], float] = time.monotonic
) -> list[Result]:
    """Return what each operation answered; those that are not begun within BUDGET_S answer 503."""
    until = clock() + BUDGET_S
    return [_result(send(operation) if clock() < until else _too_late()) for operation in operations]


def _send(operation: Operation) -> Response:
    path = operation["path"].partition("?")[0]
    for outside, why in OUTSIDE.items():
        if path == outside or path.startswith(f"{outside}/"):
            return _problem(InvalidInput(why, {"path": [why]}))
    # In a context of its own Flask begins anew: within this one it would share `g`, and with it who the sender was found to be.
    return Context().run(Response.from_app, current_app.wsgi_app, _environ(operation), True)


def _environ(operation: Operation) -> WSGIEnvironment:
    path, _, query = operation["path"].partition("?")
    body = b"" if operation.get("body") is None else orjson.dumps(operation["body"])
    environ = {name: request.environ[name] for name in _INHERITED if name in request.environ}
    environ |= {
        "REQUEST_METHOD": operation["method"],
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": BytesIO(body),
        "wsgi.input_terminated": True,
    }
    if body:
        environ["CONTENT_TYPE"] = "application/json"
    for name, header in (("idempotency_key", "HTTP_IDEMPOTENCY_KEY"), ("if_match", "HTTP_IF_MATCH")):
        if name in operation:
            environ[header] = operation[name]
    return environ


def _too_late() -> Response:
    return _problem(Unavailable("The time of the batch was over before this operation began. Send it again."))


def _problem(error: CodyverseError) -> Response:
    kind = errors.PROBLEM_TYPE + error.type
    return errors.problem(error.status, kind, error.title, error.detail, error.errors, error.headers)


def _result(answer: Response) -> Result:
    content = answer.get_data()
    return {
        "status": answer.status_code,
        "headers": {name: answer.headers[name] for name in _TOLD if name in answer.headers},
        # As it is: reading and writing it again would take longer than many an operation.
        "body": orjson.Fragment(content) if content and answer.is_json else None,
    }


def init_app(app: Flask) -> None:
    """Register the blueprint."""
    extensions.api.register_blueprint(blueprint, url_prefix=PREFIX)
