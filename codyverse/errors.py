"""The exception tree, and every error response.

    CodyverseError                     services raise these; each has a status, a type and a sentence for people
    ├── InvalidInput             422   a value that its schema accepts and the use case does not
    │   ├── WeakPassword         422
    │   └── IdempotencyMismatch  422   the key was used for another request
    ├── MalformedInput           400   cannot be read at all
    ├── NotSignedIn              401
    │   └── WrongCredentials     401
    ├── Forbidden                403   signed in, and not allowed
    ├── NotFound                 404   is not there, or is somebody else's
    ├── Conflict                 409
    │   ├── EmailTaken
    │   ├── RequestInFlight            the same request is being worked on
    │   ├── AttemptsExhausted
    │   ├── AttemptClosed              submitted already
    │   ├── AttemptExpired             its time is over
    │   ├── NotAQuiz
    │   └── QuizNotPassed
    ├── PreconditionFailed       412   changed since the client read it
    ├── TooLarge                 413   the body has more bytes than are accepted
    ├── UnsupportedMedia         415   the body is of another kind or coding than is accepted
    ├── TooManyRequests          429   or attempts to sign in; the headers say when there may be more
    └── Unavailable              503   the database cannot be reached or is busy

`init_app` turns all of them, and what Flask and its packages raise, into RFC 9457 problem+json, or into a page for a browser.
"""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Any, ClassVar

import orjson
import sqlalchemy.exc
from flask import Flask, Response, render_template, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from codyverse.operations import request_ids
from codyverse.operations.breaker import BreakerOpen

PROBLEM_TYPE = "urn:codyverse:problem:"

log = logging.getLogger("codyverse.errors")

FieldErrors = dict[str, list[str]]


class CodyverseError(Exception):
    """The root. `detail` is a sentence for people, `errors` names fields: `{"email": ["…"]}`, `{"answers.0.text": ["…"]}`."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "error"
    title: ClassVar[str] = "Error"
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, detail: str = "", errors: FieldErrors | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors or {}


class InvalidInput(CodyverseError):
    """A value cannot be used."""

    status = 422
    type = "invalid-input"
    title = "Invalid input"


class WeakPassword(InvalidInput):
    """A password that is easily guessed; `errors` says why."""

    type = "weak-password"
    title = "Weak password"


class IdempotencyMismatch(InvalidInput):
    """The key belongs to another request."""

    type = "idempotency-mismatch"
    title = "Idempotency-Key used for another request"


class MalformedInput(CodyverseError):
    """The request cannot be read."""

    status = 400
    type = "malformed-input"
    title = "Malformed input"


class NotSignedIn(CodyverseError):
    """The request needs an account and carries no valid session or token."""

    status = 401
    type = "not-signed-in"
    title = "Not signed in"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": 'Bearer realm="CodyVerse"'}


class WrongCredentials(NotSignedIn):
    """The e-mail address or the password is wrong; which of them is not told."""

    type = "wrong-credentials"
    title = "Wrong e-mail address or password"


class Forbidden(CodyverseError):
    """The account or its token may not do this."""

    status = 403
    type = "forbidden"
    title = "Not allowed"


class NotFound(CodyverseError):
    """There is no such thing, or it is not the caller's."""

    status = 404
    type = "not-found"
    title = "Not found"


class Conflict(CodyverseError):
    """The request is sound and does not fit the present state."""

    status = 409
    type = "conflict"
    title = "Conflict"


class EmailTaken(Conflict):
    """An account has this e-mail address."""

    type = "email-taken"
    title = "E-mail address taken"


class RequestInFlight(Conflict):
    """A request with the same Idempotency-Key is being worked on."""

    type = "request-in-flight"
    title = "Request in flight"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class AttemptsExhausted(Conflict):
    """Every attempt that the quiz allows was started."""

    type = "attempts-exhausted"
    title = "No attempts left"


class AttemptClosed(Conflict):
    """The attempt was submitted."""

    type = "attempt-closed"
    title = "Attempt closed"


class AttemptExpired(Conflict):
    """The time of the attempt is over."""

    type = "attempt-expired"
    title = "Time is over"


class NotAQuiz(Conflict):
    """The lesson has no questions."""

    type = "not-a-quiz"
    title = "Not a quiz"


class QuizNotPassed(Conflict):
    """A quiz is completed by passing it."""

    type = "quiz-not-passed"
    title = "Quiz not passed"


class PreconditionFailed(CodyverseError):
    """The resource changed since the client read it."""

    status = 412
    type = "precondition-failed"
    title = "Changed in the meantime"


class TooLarge(CodyverseError):
    """The body has more bytes, or more fields, than are accepted."""

    status = 413
    type = "too-large"
    title = "Too large"


class UnsupportedMedia(CodyverseError):
    """The body is of a kind or coding that is not accepted."""

    status = 415
    type = "unsupported-media"
    title = "Unsupported kind of body"


class TooManyRequests(CodyverseError):
    """A limit is reached; `Retry-After` says when to try again."""

    status = 429
    type = "too-many-requests"
    title = "Too many requests"


class Unavailable(CodyverseError):
    """Something the request needs cannot be reached."""

    status = 503
    type = "unavailable"
    title = "Unavailable"
    headers: ClassVar[dict[str, str]] = {"Retry-After": "2"}


def problem(
    status: int,
    type: str = "about:blank",
    title: str = "",
    detail: str = "",
    errors: FieldErrors | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Return an error response: problem+json, or a page where a browser asks for a page."""
    body: dict[str, Any] = {"type": type, "title": title or HTTPStatus(status).phrase, "status": status}
    if detail:
        body["detail"] = detail
    if errors:
        body["errors"] = errors
    request_id = request_ids.current()
    if request_id:
        body["request_id"] = request_id
    if _wants_page():
        response = Response(render_template("error.html", problem=body), status, mimetype="text/html")
    else:
        response = Response(orjson.dumps(body), status, content_type="application/problem+json")
    response.headers["Cache-Control"] = "no-store"
    for name, value in (headers or {}).items():
        response.headers[name] = value
    return response


def _wants_page() -> bool:
    if request.path.startswith("/api/"):
        return False
    return request.accept_mimetypes.best_match(["application/problem+json", "application/json", "text/html"]) == "text/html"


def _codyverse_error(error: CodyverseError) -> Response:
    return problem(error.status, PROBLEM_TYPE + error.type, error.title, error.detail, error.errors, error.headers)


def _http_exception(error: HTTPException) -> Response:
    if error.response is not None:  # a redirect, or a response that was made elsewhere
        return error.response  # type: ignore[return-value]
    if isinstance(error.__cause__, CodyverseError):  # Flask's router lets only HTTP exceptions through
        return _codyverse_error(error.__cause__)
    status = error.code or 500
    headers = {}
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        headers["Allow"] = ", ".join(sorted(error.valid_methods))
    data = getattr(error, "data", None)
    if isinstance(data, dict) and "messages" in data:  # webargs' validation: {"json": {"email": ["…"]}}
        errors = _flat(next(iter(data["messages"].values()), {}))
        return problem(
            status, PROBLEM_TYPE + InvalidInput.type, InvalidInput.title, "Some fields cannot be used.", errors, headers
        )
    if status == 404:
        return problem(404, PROBLEM_TYPE + NotFound.type, NotFound.title, "There is nothing at this address.")
    if status == 413:  # Werkzeug raises it while the body is read
        fault = f"Must not be larger than {request.max_content_length} bytes."
        return _codyverse_error(TooLarge("The body is larger than is accepted here.", {"body": [fault]}))
    detail = error.description if status < 500 and isinstance(error.description, str) else ""
    return problem(status, "about:blank", "", detail, None, headers)


def _flat(messages: Any, path: str = "") -> FieldErrors:
    """Return marshmallow's nested messages with one dotted name a field."""
    if isinstance(messages, dict):
        flat: FieldErrors = {}
        for name, inner in messages.items():
            below = "" if name == "_schema" else str(name)
            flat.update(_flat(inner, f"{path}.{below}".strip(".")))
        return flat
    return {path or "body": [str(message) for message in (messages if isinstance(messages, list) else [messages])]}


def _database_unreachable(error: sqlalchemy.exc.OperationalError | sqlalchemy.exc.TimeoutError) -> Response:
    cause = getattr(error, "orig", error)  # the pool's timeout is no error of the driver
    log.error("the database cannot be used: %s", type(cause).__name__, exc_info=error)
    return _codyverse_error(
        Unavailable(
            "The database is busy or cannot be reached. Try again, and with the same Idempotency-Key if one was sent: "
            "what was asked for may have been done, and is then not done twice."
        )
    )


def _left_alone(error: BreakerOpen) -> Response:
    # Nothing is logged: the breaker told when it opened, and whoever is refused learns nothing new.
    headers = {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}
    detail = "Something that this needs has failed several times and is left alone for a moment. Try again then."
    return problem(Unavailable.status, PROBLEM_TYPE + Unavailable.type, Unavailable.title, detail, None, headers)


def _unexpected(error: Exception) -> Response:
    log.exception("unexpected error", exc_info=error)
    return problem(500, "about:blank", "", "Something went wrong on our side.")


def init_app(app: Flask) -> None:
    """Answer every error that a request can meet."""
    app.register_error_handler(CodyverseError, _codyverse_error)
    app.register_error_handler(HTTPException, _http_exception)
    app.register_error_handler(sqlalchemy.exc.OperationalError, _database_unreachable)
    app.register_error_handler(sqlalchemy.exc.TimeoutError, _database_unreachable)
    app.register_error_handler(BreakerOpen, _left_alone)
    app.register_error_handler(Exception, _unexpected)
