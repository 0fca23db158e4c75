"""`/login`: signing in and out with a browser, without a script.

The form carries a token made from a cookie that only this page sets, so that no other site can sign somebody in as somebody else.
"""

from __future__ import annotations

import hmac
import secrets
from contextlib import suppress
from typing import Any, cast
from urllib.parse import urlsplit

import marshmallow as ma
from flask import Blueprint, Flask, Response, current_app, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from codyverse.accounts import schemas, service
from codyverse.accounts.models import OPERATOR_ROLE
from codyverse.errors import Forbidden, NotFound, TooManyRequests, WrongCredentials
from codyverse.extensions import database
from codyverse.http import auth, clients, csrf
from codyverse.http.auth import public
from codyverse.operations import limits
from codyverse.operations.dashboard import passes
from config import Settings

FORM_S = 3600
LONGEST_WAY = 500

blueprint = Blueprint("sign_in", __name__)


@blueprint.get("/login")
@public
def page() -> Response:
    """Show the form; to whom is signed in, as who, and how to sign out."""
    caller = auth.caller_or_none()
    if caller is None:
        return _form(200)
    profile = service.read_profile(database, caller.user_id)
    token = csrf.token(_cookie(auth.cookie_name(_settings())))
    return _shown(200, profile=profile, token=token, is_operator=caller.role == OPERATOR_ROLE)


@blueprint.post("/login")
@public
def log_in() -> AnyResponse:
    """Sign in and go on to where `next` says; else show the form again, and why."""
    settings = _settings()
    try:
        _check_form(_cookie(_form_cookie(settings)))
        given = schemas.LoginSchema().load({name: request.form.get(name, "") for name in ("email", "password")})
        with limits.attempt_to_sign_in(given["email"]):
            begun = service.log_in(database, None, settings.secret_key, settings.session_days, clients.user_agent(), **given)
    except ma.ValidationError:
        return _form(422, "Enter your e-mail address and your password.")
    except (Forbidden, TooManyRequests, WrongCredentials) as error:
        return _form(error.status, error.detail)
    _end_session()  # which nobody could end any more, its secret being gone from the browser
    auth.send_session_cookie(begun.secret)
    otherwise = url_for("operations_pages.page") if begun.profile["role"] == OPERATOR_ROLE else url_for("pages.home")
    return _go(way(request.form.get("next", "")) or otherwise)


@blueprint.post("/logout")
@public
def log_out() -> AnyResponse:
    """Sign out, and go to the form."""
    _check_form(_cookie(auth.cookie_name(_settings())))
    _end_session()
    auth.clear_session_cookie()
    passes.take_away()
    return _go(url_for("sign_in.page"))


def _end_session() -> None:
    caller = auth.caller_or_none()
    if caller is not None and caller.session_id is not None:
        with suppress(NotFound):  # it was ended meanwhile
            service.sign_out(database, caller.user_id, caller.session_id)


def way(text: str) -> str:
    """Return a path of ours with its query, or an empty text for whatever might lead elsewhere."""
    usable = text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isascii() and text.isprintable()
    if not usable or len(text) > LONGEST_WAY:
        return ""
    parts = urlsplit(text)
    return "" if parts.scheme or parts.netloc else text


def _form(status: int, fault: str = "") -> Response:
    settings = _settings()
    secret = _cookie(_form_cookie(settings)) or secrets.token_urlsafe(32)
    response = _shown(status, fault=fault, token=csrf.token(secret), next=way(request.values.get("next", "")))
    rules: dict[str, Any] = {"path": "/", "secure": settings.session_cookie_secure, "samesite": "Lax", "httponly": True}
    response.set_cookie(_form_cookie(settings), secret, max_age=FORM_S, **rules)
    return response


def _shown(status: int, **values: Any) -> Response:
    shown = render_template("accounts/sign_in.html", email=request.form.get("email", "")[:254], **values)
    return Response(shown, status, mimetype="text/html", headers={"Cache-Control": "no-store"})


def _check_form(secret: str) -> None:
    """Raise Forbidden unless the form was sent by a page that this browser has from here."""
    if not _settings().feature_security:
        return
    if not secret or not hmac.compare_digest(request.form.get("token", "").encode(), csrf.token(secret).encode()):
        raise Forbidden("This page was open for too long, or your browser keeps no cookies from here. Try again.")


def _go(where: str) -> AnyResponse:
    response = redirect(where, 303)
    response.headers["Cache-Control"] = "no-store"
    return response


def _cookie(name: str) -> str:
    return request.cookies.get(name, "")


def _form_cookie(settings: Settings) -> str:
    return "__Host-codyverse-form" if settings.session_cookie_secure else "codyverse-form"


def _settings() -> Settings:
    return cast(Settings, current_app.config["CODYVERSE"])


def init_app(app: Flask) -> None:
    """Register the pages."""
    app.register_blueprint(blueprint)
