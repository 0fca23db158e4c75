"""Accounts over HTTP: registering and signing in, sessions, API tokens, one's own profile."""

from __future__ import annotations

from typing import Any, cast

from flask import Flask, Response, current_app, request, url_for

from codyverse import extensions
from codyverse.accounts import schemas, service
from codyverse.extensions import database
from codyverse.http import auth, idempotency, pagination
from codyverse.http.api import PREFIX, Blueprint, problems
from codyverse.http.schemas import LOCATION, NothingSchema, PageQuery
from config import Settings

Reply = tuple[dict[str, Any], dict[str, str]]

# Registering and signing in act for nobody yet, whatever cookie comes with them: a repeat must find its answer also when the
# browser has the new cookie already.
NOBODY = 0
NOT_KEPT = {"Cache-Control": "no-store"}

blueprint = Blueprint("accounts", __name__, description="Accounts, sessions and API tokens.")


@blueprint.post("/auth/register")
@auth.public
@problems(400, 409, 413, 415, 422)
@blueprint.doc(parameters=[idempotency.PARAMETER])
@blueprint.arguments(schemas.RegistrationSchema)
@blueprint.response(201, schemas.ProfileSchema, headers=LOCATION)
def register(details: dict[str, Any]) -> Reply:
    """Create an account and sign in."""
    settings = _settings()
    key = idempotency.key(NOBODY)
    begun = service.register(database, key, settings.secret_key, settings.session_days, _user_agent(), details)
    auth.send_session_cookie(begun.secret)
    return begun.profile, {"Location": url_for("accounts.read_me"), **NOT_KEPT}


@blueprint.post("/auth/login")
@auth.public
@problems(400, 401, 409, 413, 415, 422)
@blueprint.doc(parameters=[idempotency.PARAMETER])
@blueprint.arguments(schemas.LoginSchema)
@blueprint.response(200, schemas.ProfileSchema)
def log_in(credentials: dict[str, Any]) -> Reply:
    """Sign in."""
    settings = _settings()
    key = idempotency.key(NOBODY)
    begun = service.log_in(database, key, settings.secret_key, settings.session_days, _user_agent(), **credentials)
    auth.send_session_cookie(begun.secret)
    return begun.profile, NOT_KEPT


@blueprint.post("/auth/logout")
@auth.signed_in(None)
@problems(400, 413, 415, 422)
@blueprint.arguments(NothingSchema, required=False)
@blueprint.response(204)
def log_out(body: dict[str, Any]) -> Response:
    """Sign out: end the session of this request."""
    caller = auth.caller()
    assert caller.session_id is not None
    service.revoke_session(database, caller.user_id, caller.session_id)
    auth.clear_session_cookie()
    return _nothing()


@blueprint.get("/auth/sessions")
@auth.signed_in(None)
@problems(422)
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, schemas.SessionPageSchema)
def list_sessions(query: dict[str, Any]) -> dict[str, Any]:
    """List the living sessions of the account, newest first."""
    caller = auth.caller()
    before_id = _before_id("sessions", query)
    rows = service.list_sessions(database, caller.user_id, caller.session_id, before_id, query["limit"])
    return pagination.page("sessions", rows, query["limit"], _by_id)


@blueprint.delete("/auth/sessions/<id:session_id>")
@auth.signed_in(None)
@problems(404)
@blueprint.response(204)
def revoke_session(session_id: int) -> Response:
    """Sign a browser out."""
    caller = auth.caller()
    service.revoke_session(database, caller.user_id, session_id)
    if session_id == caller.session_id:
        auth.clear_session_cookie()
    return _nothing()


@blueprint.post("/auth/tokens")
@auth.signed_in(None)
@problems(400, 409, 413, 415, 422)
@blueprint.doc(parameters=[idempotency.PARAMETER])
@blueprint.arguments(schemas.TokenRequestSchema)
@blueprint.response(201, schemas.NewTokenSchema, headers=LOCATION)
def create_token(wanted: dict[str, Any]) -> Reply:
    """Create an API token; its secret is in this answer only."""
    user_id = auth.caller().user_id
    token = service.create_token(database, idempotency.key(user_id), _settings().secret_key, user_id, **wanted)
    return token, {"Location": url_for("accounts.read_token", token_id=token["id"]), **NOT_KEPT}


@blueprint.get("/auth/tokens")
@auth.signed_in(None)
@problems(422)
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, schemas.TokenPageSchema)
def list_tokens(query: dict[str, Any]) -> dict[str, Any]:
    """List the living API tokens of the account, newest first, without their secrets."""
    rows = service.list_tokens(database, auth.caller().user_id, _before_id("tokens", query), query["limit"])
    return pagination.page("tokens", rows, query["limit"], _by_id)


@blueprint.get("/auth/tokens/<id:token_id>")
@auth.signed_in(None)
@problems(404)
@blueprint.response(200, schemas.TokenSchema)
def read_token(token_id: int) -> dict[str, Any]:
    """Read a living API token, without its secret."""
    return service.read_token(database, auth.caller().user_id, token_id)


@blueprint.delete("/auth/tokens/<id:token_id>")
@auth.signed_in(None)
@problems(404)
@blueprint.response(204)
def revoke_token(token_id: int) -> Response:
    """End an API token."""
    service.revoke_token(database, auth.caller().user_id, token_id)
    return _nothing()


@blueprint.get("/me")
@auth.signed_in("profile:read")
@blueprint.response(200, schemas.ProfileSchema)
def read_me() -> Reply:
    """Read one's own profile."""
    return _with_etag(service.read_profile(database, auth.caller().user_id))


@blueprint.patch("/me")
@auth.signed_in("profile:write")
@problems(400, 412, 413, 415, 422)
@blueprint.doc(
    parameters=[
        {
            "name": "If-Match",
            "in": "header",
            "description": "The ETag of the profile that was read. If it has changed since, nothing is done.",
            "schema": {"type": "string"},
        }
    ]
)
@blueprint.arguments(schemas.ProfileChangeSchema, required=False)
@blueprint.response(200, schemas.ProfileSchema)
def update_me(changes: dict[str, Any]) -> Reply:
    """Change one's own profile."""
    return _with_etag(service.update_profile(database, auth.caller().user_id, changes, _if_match))


def _if_match(version: str) -> bool:
    # A proxy that compresses makes a strong tag weak. Ours names the values, not the bytes, so a weak one says as much.
    return "If-Match" not in request.headers or request.if_match.contains_weak(version)


def _with_etag(profile: dict[str, Any]) -> Reply:
    return profile, {"ETag": f'"{service.version(profile)}"'}


def _before_id(list_name: str, query: dict[str, Any]) -> int | None:
    after = pagination.after(list_name, query["cursor"])
    return after[0] if after else None


def _by_id(row: dict[str, Any]) -> list[Any]:
    return [row["id"]]


def _user_agent() -> str:
    return "".join(c for c in request.user_agent.string if c.isprintable())[:200]


def _nothing() -> Response:
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


def _settings() -> Settings:
    return cast(Settings, current_app.config["CODYVERSE"])


def init_app(app: Flask) -> None:
    """Register the blueprint."""
    extensions.api.register_blueprint(blueprint, url_prefix=PREFIX)
