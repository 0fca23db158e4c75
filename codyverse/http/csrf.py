"""Nobody else's page acts for somebody who is signed in with a cookie (cross-site request forgery).

Two checks on every unsafe method, after the OWASP cheat sheet; a request with a bearer token needs neither, since a browser never
adds one by itself:

1. `Origin`, and without it `Sec-Fetch-Site`, must say that the page is ours, or of an origin that CORS admits with credentials.
2. With a session cookie the header `X-CSRF-Token` must hold the session's token: an HMAC of the session's secret, so that nothing
   has to be stored. Pages of ours read it from a cookie, other clients from the same header of the answer that signed them in.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import cast

from flask import Flask, current_app, request

from codyverse.errors import Forbidden
from codyverse.operations import cors
from config import Settings

HEADER = "X-CSRF-Token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


def cookie_name(settings: Settings) -> str:
    """Return the name of the cookie that shows the token to scripts of our pages."""
    return "__Host-codyverse-csrf" if settings.session_cookie_secure else "codyverse-csrf"


def token(session_secret: str) -> str:
    """Return the token of a session, 43 URL-safe characters."""
    digest = hmac.digest(_settings().secret_key.encode(), f"csrf:{session_secret}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def check_token(session_secret: str) -> None:
    """Raise Forbidden unless this request, if its method is unsafe, proves to come from who can read the session's token."""
    if request.method in SAFE_METHODS or not _settings().feature_security:
        return
    if not hmac.compare_digest(request.headers.get(HEADER, "").encode(), token(session_secret).encode()):
        raise Forbidden(f"The header {HEADER} must hold the token of this session.", {HEADER: ["Missing or not this session's."]})


def bearer_token() -> str | None:
    """Return the token that this request sends as a bearer, None when it sends none (RFC 6750).

    Werkzeug would decode the credentials of every other scheme, too, and raise ValueError where it cannot.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _check_origin() -> None:
    if request.method in SAFE_METHODS or bearer_token() is not None:
        return
    origin = request.headers.get("Origin")
    if origin is not None:
        ours = origin == f"{request.scheme}://{request.host}"
        allowed = ours or cors.of(current_app).may_send_credentials(origin)
    else:
        allowed = request.headers.get("Sec-Fetch-Site") in (None, "same-origin", "none")
    if not allowed:
        raise Forbidden("A page of another site may not do this.")


def _settings() -> Settings:
    return cast(Settings, current_app.config["CODYVERSE"])


def init_app(app: Flask) -> None:
    """Refuse unsafe requests that pages of other sites send."""
    if app.config["CODYVERSE"].feature_security:
        app.before_request(_check_origin)
