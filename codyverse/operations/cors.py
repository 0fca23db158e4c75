"""Which other origins' scripts may call the API (report row R15), on flask-cors.

An origin in the settings is exact, `https://app.example.org`, or has one wildcard for its leftmost labels,
`https://*.replit.app`. We compile both to anchored patterns: flask-cors takes a text with a `*` for a regular expression without
anchors, which `https://x.replit.app.evil.org` fits. Anybody can own an origin that a wildcard admits, so the session cookie goes
to exact ones only, unless `CODYVERSE_CORS_CREDENTIALS_WITH_WILDCARD` is on.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from flask import Flask, Response, request
from flask_cors import CORS

from codyverse.operations import vary
from config import Settings
from config.base import HOST_LABEL, ORIGIN

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
SENT_HEADERS = ["Authorization", "Content-Type", "If-Match", "If-None-Match", "Idempotency-Key", "X-CSRF-Token"]
OLD_LIMIT_HEADERS = ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"]
READ_HEADERS = [
    *("ETag", "Location", "RateLimit", "RateLimit-Policy", "Retry-After", "X-CSRF-Token", "X-Request-ID"),
    *OLD_LIMIT_HEADERS,
]
PREFLIGHT_S = 24 * 60 * 60

_EXTENSION = "codyverse.cors"

log = logging.getLogger("codyverse.security")


@dataclass(frozen=True, slots=True)
class Origins:
    """The admitted origins: patterns of all, and of those that may send the session cookie."""

    all: tuple[re.Pattern[str], ...]
    with_credentials: tuple[re.Pattern[str], ...]

    def may_send_credentials(self, origin: str) -> bool:
        """Say whether a page of this origin may use the session cookie."""
        return any(pattern.match(origin) for pattern in self.with_credentials)


def origins(settings: Settings) -> Origins:
    """Return the origins that the settings admit."""
    compiled = {origin: _pattern(origin) for origin in settings.cors_origins}
    trusted = tuple(
        pattern for origin, pattern in compiled.items() if "*" not in origin or settings.cors_credentials_with_wildcard
    )
    return Origins(tuple(compiled.values()), trusted if settings.cors_credentials else ())


def of(app: Flask) -> Origins:
    """Return the origins that an application admits."""
    admitted: Origins = app.extensions[_EXTENSION]
    return admitted


def _pattern(origin: str) -> re.Pattern[str]:
    found = ORIGIN.match(origin)
    assert found  # the settings were checked
    scheme, wildcard, host, port = found.groups()
    labels = rf"(?:{HOST_LABEL}\.)+" if wildcard else ""
    return re.compile(re.escape(scheme) + labels + re.escape(host) + re.escape(port or "") + r"\Z")


def init_app(app: Flask) -> None:
    """Answer preflights and mark responses for the origins of the settings."""
    settings: Settings = app.config["CODYVERSE"]
    admitted = app.extensions[_EXTENSION] = origins(settings)

    # Functions after a request run last come first: this one sees what flask-cors, registered below it, decided.
    @app.after_request
    def finish(response: Response) -> Response:
        if request.path.startswith("/api/"):
            vary.add(response, "Origin")  # also on what was asked without one, lest a cache hands it to a foreign origin
            origin = response.headers.get("Access-Control-Allow-Origin")
            if origin is not None and admitted.may_send_credentials(origin):
                response.headers["Access-Control-Allow-Credentials"] = "true"
        return response

    if not admitted.all:
        return
    if settings.cors_credentials and settings.cors_credentials_with_wildcard and any("*" in one for one in settings.cors_origins):
        log.warning("any origin that the wildcards of CODYVERSE_CORS_ORIGINS admit can act for whoever is signed in")
    CORS(
        app,
        resources={r"/api/.*": {"origins": list(admitted.all)}},
        methods=METHODS,
        allow_headers=SENT_HEADERS,
        expose_headers=READ_HEADERS,
        max_age=PREFLIGHT_S,
        supports_credentials=False,
        always_send=False,
        vary_header=False,
    )
