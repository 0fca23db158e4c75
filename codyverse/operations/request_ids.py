"""The id of a request: sent as X-Request-ID with every answer, and found again in problems, log lines and the access log.

A proxy that the settings trust may have given one; what anybody else sends is not repeated, in an answer or in a log.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, has_request_context, request

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HEADER = "X-Request-ID"
KEY = "codyverse.request_id"  # in the environment of a WSGI application, where no client can set it

_USABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")


class _Made:
    """Ids that no other process makes: random digits of the process, then a number. Anybody may guess the next one."""

    def __init__(self) -> None:
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def __call__(self) -> str:
        return f"{self._process}-{next(self._numbers):08x}"

    def _begin(self) -> None:
        self._process = secrets.token_hex(6)
        self._numbers = itertools.count(1)


_made = _Made()


def take(value: str | None, trusted: bool) -> str:
    """Return the id of a request: its X-Request-ID if that is usable and comes from who is trusted, else a new one."""
    if trusted and value and _USABLE.fullmatch(value):
        return value
    return _made()


def current() -> str:
    """Return the id of the request that is worked on, an empty text where there is none."""
    found: str = request.environ.get(KEY, "") if has_request_context() else ""
    return found


class _Identified:
    """WSGI: gives a request its id, and the answer the header. One that has an id, as part of another request, keeps it."""

    def __init__(self, app: WSGIApplication, trusted: bool) -> None:
        self._app = app
        self._trusted = trusted

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request_id = environ.get(KEY) or take(environ.get("HTTP_X_REQUEST_ID"), self._trusted)
        environ[KEY] = request_id

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            return start_response(status, [*headers, (HEADER, request_id)], exc_info)

        return self._app(environ, start)


def init_app(app: Flask) -> None:
    """Give every request its id. Comes after all that wraps the application, so that what they answer has one too."""
    trusted = app.config["CODYVERSE"].trusted_proxies > 0
    app.wsgi_app = _Identified(app.wsgi_app, trusted)  # type: ignore[method-assign]
