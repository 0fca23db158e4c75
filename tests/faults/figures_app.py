"""The application with a route that fails, and a mark on every answer that it made: a finished response has none."""

from __future__ import annotations

from flask import Response

from codyverse import create_app
from codyverse.http.auth import public

MARK = "Server-Timing"  # of those that say something of one request only, and are not kept
app = create_app()


@public
def fail() -> str:
    """Fail."""
    raise RuntimeError("as the test wants")


@app.after_request
def mark(response: Response) -> Response:
    """Say that the application was asked."""
    response.headers[MARK] = "made"
    return response


app.add_url_rule("/test/fail", "test-fail", fail)
