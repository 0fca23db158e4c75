"""Accounts over HTTP: registering and signing in, sessions, API tokens, one's own profile."""

from __future__ import annotations

from typing import Any, cast

from flask import Flask, Response, current_app, request, url_for

from codyverse import extensions
from codyverse.accounts import avatars, schemas, service
from codyverse.accounts.storage import Storage
from codyverse.extensions import database
from codyverse.http import auth, clients, idempotency, pagination, uploads
from codyverse.http.api import PREFIX, Blueprint, problems
from codyverse.http.request_limits import max_body
from codyverse.http.schemas import LOCATION, NothingSchema, PageQuery
from codyverse.operations import limits
from codyverse.operations.dashboard import passes
from config import Settings

Reply = tuple[dict[str, Any], dict[str, str]]

# Registering and signing in act for nobody yet, whatever cookie comes with them: a repeat must find its answer also when the
# browser has the new cookie already.
NOBODY = 0
NOT_KEPT = {"Cache-Control": "no-store"}
# Opened on its own a picture is a document of ours: whatever a browser takes it for, it can do and load nothing.
AVATAR_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Content-Disposition": "inline",
    "X-Content-Type-Options": "nosniff",
}

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
    limits.count_registration()
    begun = service.register(database, key, settings.secret_key, settings.session_days, clients.user_agent(), details)
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
    with limits.attempt_to_sign_in(credentials["email"]):
        begun = service.log_in(database, key, settings.secret_key, settings.session_days, clients.user_agent(), **credentials)
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
    service.sign_out(database, caller.user_id, caller.session_id)
    auth.clear_session_cookie()
    passes.take_away()
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


@blueprint.get("/me/avatar")
@auth.signed_in("profile:read")
@problems(404, 422)
@blueprint.arguments(schemas.AvatarQuery, location="query")
@blueprint.response(200, {"type": "string", "format": "binary"}, content_type=avatars.MEDIA_TYPE)
def read_avatar(query: dict[str, Any]) -> Response:
    """Read one's own avatar, a WebP of 256 x 256 pixels."""
    name, content = service.read_avatar(database, _avatars(), auth.caller().user_id)
    response = Response(content, content_type=avatars.MEDIA_TYPE, headers=AVATAR_HEADERS)
    response.set_etag(name)
    return response


@blueprint.put("/me/avatar")
@auth.signed_in("profile:write")
@limits.uploads
@max_body(avatars.MAX_BYTES)
@problems(400, 413, 415, 422)
@blueprint.doc(requestBody=uploads.IMAGE_BODY)
@blueprint.response(200, schemas.ProfileSchema)
def replace_avatar() -> Reply:
    """Make an image (PNG, JPEG, WebP; up to 2 MB and 24 million pixels) one's avatar. Its middle is kept, its metadata not."""
    return _with_etag(service.replace_avatar(database, _avatars(), auth.caller().user_id, uploads.image(request)))


@blueprint.delete("/me/avatar")
@auth.signed_in("profile:write")
@blueprint.response(204)
def remove_avatar() -> Response:
    """Remove one's avatar, if there is one."""
    service.remove_avatar(database, _avatars(), auth.caller().user_id)
    return _nothing()


def _avatars() -> Storage:
    return avatars.storage(_settings().instance_path)


def _if_match(version: str) -> bool:
    # A proxy that compresses makes a strong tag weak, and our own compression adds `:br`. Ours names the values, not the bytes.
    tags = request.if_match
    return (
        "If-Match" not in request.headers
        or tags.star_tag
        or version in {(tag or "").partition(":")[0] for tag in tags.as_set(True)}
    )


def _with_etag(profile: dict[str, Any]) -> Reply:
    return profile, {"ETag": f'"{service.version(profile)}"'}


def _before_id(list_name: str, query: dict[str, Any]) -> int | None:
    after = pagination.after(list_name, query["cursor"])
    return after[0] if after else None


def _by_id(row: dict[str, Any]) -> list[Any]:
    return [row["id"]]


def _nothing() -> Response:
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


def _settings() -> Settings:
    return cast(Settings, current_app.config["CODYVERSE"])


def init_app(app: Flask) -> None:
    """Register the blueprint."""
    extensions.api.register_blueprint(blueprint, url_prefix=PREFIX)
