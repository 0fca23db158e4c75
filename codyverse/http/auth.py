"""Who sends a request, and what every operation of the API asks of them.

A browser carries a session cookie, a program `Authorization: Bearer`; where both are there the bearer counts. Every view of the
API has one of these directly below its route, so that it runs before anything is read from the body:

    @signed_in("learning:read")     a session, or a token with this scope
    @signed_in(None)                a session only
    @public                         anybody
    @operator                       an admin's session, or an admin's token with the scope operations:read

They leave the rule in `view.requires`, which a test compares with the routes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from flask import Flask, Response, after_this_request, current_app, g, request

from codyverse import extensions
from codyverse.accounts import service
from codyverse.accounts.models import OPERATIONS_READ, OPERATOR_ROLE, SCOPES
from codyverse.accounts.service import Caller
from codyverse.database import UNUSABLE
from codyverse.errors import Forbidden, NotSignedIn
from codyverse.extensions import database
from codyverse.http import csrf
from codyverse.http.api import Blueprint, problems
from codyverse.operations import vary
from codyverse.operations.cache.generations import NullGenerations
from codyverse.operations.cache.objects import Objects
from config import Settings

View = TypeVar("View", bound=Callable[..., Any])

SESSION = "session"
PUBLIC = "public"
OPERATOR = "operator"
DAY_S = 24 * 60 * 60
_UNKNOWN = object()
CALLERS = 10_000  # that a process remembers, 5 MB
CALLER_S = 30.0  # what several hosts without Redis, or somebody with SQL in his hands, may change unheard


def caller_or_none() -> Caller | None:
    """Return who sends the request, None for nobody. What is answered is then for this caller only."""
    g.personal = True
    return sender()


def sender() -> Caller | None:
    """Return the same for what does not change the answer, such as counting; found out once a request.

    A database that cannot be used is asked once, too: whoever asks later in the request gets the same exception.
    """
    found = g.get("caller", _UNKNOWN)
    if found is _UNKNOWN:
        try:
            found = _find_caller()
        except UNUSABLE as error:
            found = error
        g.caller = found
    if isinstance(found, BaseException):
        raise found
    return cast("Caller | None", found)


def caller() -> Caller:
    """Return who sends the request. Raises NotSignedIn."""
    found = caller_or_none()
    if found is None:
        raise NotSignedIn("Sign in, or send a valid API token.")
    return found


def signed_in(scope: str | None) -> Callable[[View], View]:
    """Let a view be called by sessions and by tokens with the scope, with None by sessions only. Others get 401 or 403."""
    if scope is not None and scope not in SCOPES:
        raise ValueError(f"there is no scope {scope}")
    security: list[dict[str, list[str]]] = [{"session": []}]
    if scope:
        security.append({"bearer": [scope]})

    def guard(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            found = caller()
            _allow(found, scope)
            if found.session_id is not None:
                csrf.check_token(_session_secret())
            return view(*args, **kwargs)

        return cast(View, _marked(guarded, scope or SESSION, security, 401, 403))

    return guard


def public(view: View) -> View:
    """Let a view be called by anybody."""
    return cast(View, _marked(view, PUBLIC, []))


def operator(view: View) -> View:
    """Let a view be called by operators: accounts with the role admin, whose tokens need a scope of their own."""

    @wraps(view)
    def for_operators(*args: Any, **kwargs: Any) -> Any:
        # Changing a role touches the account's tag, so one that was taken away is gone at once, here as everywhere.
        if caller().role != OPERATOR_ROLE:
            raise Forbidden("This is for operators.")
        return view(*args, **kwargs)

    guarded = signed_in(OPERATIONS_READ)(for_operators)
    guarded.requires = OPERATOR  # type: ignore[attr-defined]
    return cast(View, guarded)


def send_session_cookie(secret: str) -> None:
    """Let the response of this request carry the session's secret to the browser."""
    settings = _settings()

    @after_this_request
    def add(response: Response) -> Response:
        rules: dict[str, Any] = {
            "max_age": settings.session_days * DAY_S,
            "path": "/",
            "secure": settings.session_cookie_secure,
            "samesite": "Lax",
        }
        response.set_cookie(cookie_name(settings), secret, httponly=True, **rules)
        # Scripts of our pages read this one; those of other origins cannot.
        response.set_cookie(csrf.cookie_name(settings), csrf.token(secret), **rules)
        response.headers[csrf.HEADER] = csrf.token(secret)
        return response


def clear_session_cookie() -> None:
    """Let the response of this request take the session's cookie from the browser."""
    settings = _settings()

    @after_this_request
    def clear(response: Response) -> Response:
        rules: dict[str, Any] = {"path": "/", "secure": settings.session_cookie_secure, "samesite": "Lax"}
        response.delete_cookie(cookie_name(settings), httponly=True, **rules)
        response.delete_cookie(csrf.cookie_name(settings), **rules)
        return response


def cookie_name(settings: Settings) -> str:
    """Return the session cookie's name. Browsers take a `__Host-` name only from the host itself and over HTTPS."""
    return "__Host-codyverse" if settings.session_cookie_secure else "codyverse"


def _settings() -> Settings:
    return cast(Settings, current_app.config["CODYVERSE"])


def _find_caller() -> Caller | None:
    token = csrf.bearer_token()
    if token is not None:
        return service.caller_of_token(database, _callers(), token)
    secret = _session_secret()
    return service.caller_of_session(database, _callers(), secret) if secret else None


def _callers() -> service.Callers:
    return cast(service.Callers, current_app.extensions["codyverse.callers"])


def _session_secret() -> str:
    return request.cookies.get(cookie_name(_settings()), "")


def _allow(caller: Caller, scope: str | None) -> None:
    if caller.scopes is None:
        return
    if scope is None:
        raise Forbidden("This is done in a browser session only, not with an API token.")
    if scope not in caller.scopes:
        raise Forbidden(f"The API token lacks the scope {scope}.")


def _marked(view: Callable[..., Any], requires: str, security: list[dict[str, list[str]]], *statuses: int) -> Any:
    marked = Blueprint.doc(security=security)(problems(*statuses)(view))
    marked.requires = requires
    return marked


def _keep_private(response: Response) -> Response:
    # What was made for one caller must not be handed to another by a cache on the way.
    if "personal" in g:
        response.headers.setdefault("Cache-Control", "private, no-cache")
        vary.add(response, "Cookie", "Authorization")
    return response


def init_app(app: Flask) -> None:
    """Describe the two ways of signing in and keep personal responses out of shared caches. Comes after the API's own."""
    app.after_request(_keep_private)
    settings: Settings = app.config["CODYVERSE"]
    generations = app.extensions["codyverse.generations"] if settings.feature_caching else None
    app.extensions["codyverse.callers"] = Objects(generations or NullGenerations(), CALLERS, CALLER_S)
    schemes = extensions.api.spec.components
    session = (
        f"Set by signing in. Unsafe methods also need the header `{csrf.HEADER}` with the token that signing in answers in the "
        f"header of this name and in the cookie `{csrf.cookie_name(settings)}`."
    )
    schemes.security_scheme(SESSION, {"type": "apiKey", "in": "cookie", "name": cookie_name(settings), "description": session})
    schemes.security_scheme(
        "bearer", {"type": "http", "scheme": "bearer", "description": "An API token with the scopes that the operation names."}
    )
