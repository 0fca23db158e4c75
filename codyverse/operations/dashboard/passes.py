"""Who has just been let in may look on for a quarter of an hour while the database, which knows who is an operator, is away.

That is when the page is needed most. The pass is a signed time in a cookie of its own; it opens nothing but these pages, which
only show figures, and nothing while the database can be asked. An operator who has lost the role can use it for that long.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from flask import Response, after_this_request, current_app, make_response, request
from itsdangerous import BadSignature, TimestampSigner

from codyverse.database import UNUSABLE
from config import Settings

FOR_S = 900
VALUE = "operator"
PATH = "/operations"


def cookie_name(settings: Settings) -> str:
    """Return the name of the cookie. `__Host-` would not allow a path."""
    return "__Secure-codyverse-operations" if settings.session_cookie_secure else "codyverse-operations"


def admitting(guard: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], Callable[..., Response]]:
    """Return the guard, a decorator of views, with passes: given to whom it lets in, asked for when it cannot tell."""

    def decorate(view: Callable[..., Any]) -> Callable[..., Response]:
        guarded = guard(view)

        @wraps(guarded)
        def admitted(**parts: Any) -> Response:
            try:
                response = make_response(guarded(**parts))
            except UNUSABLE:
                if not _has_pass():
                    raise
                return make_response(view(**parts))
            _give(response)
            return response

        return admitted

    return decorate


def _has_pass() -> bool:
    try:
        return _signer().unsign(request.cookies.get(cookie_name(_settings()), ""), max_age=FOR_S) == VALUE.encode()
    except BadSignature:  # SignatureExpired among them
        return False


def _give(response: Response) -> None:
    settings = _settings()
    response.set_cookie(
        cookie_name(settings),
        _signer().sign(VALUE).decode(),
        max_age=FOR_S,
        path=PATH,
        secure=settings.session_cookie_secure,
        httponly=True,
        samesite="Strict",
    )


def take_away() -> None:
    """Let the response of this request take the pass from the browser."""
    settings = _settings()

    @after_this_request
    def clear(response: Response) -> Response:
        rules: dict[str, Any] = {"path": PATH, "secure": settings.session_cookie_secure, "samesite": "Strict"}
        response.delete_cookie(cookie_name(settings), httponly=True, **rules)
        return response


def _signer() -> TimestampSigner:
    return TimestampSigner(_settings().secret_key, salt="codyverse.operations.pass")


def _settings() -> Settings:
    return cast(Settings, current_app.config["CODYVERSE"])
