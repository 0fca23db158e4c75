"""The application with routes for tests: one that takes its time, one whose answer is large."""

from __future__ import annotations

import time

from flask import Response, request

from codyverse import create_app
from codyverse.http.auth import public
from codyverse.server import loop

LARGE_BYTES = 7_000_000  # more than the kernel takes for a client that does not read

loop.SLOWEST_BYTES_PER_S = 2_000_000  # or a test would wait for minutes until the last of a large answer is given up
app = create_app()


@public
def sleeping() -> str:
    """Answer after `?s=` seconds."""
    time.sleep(float(request.args["s"]))
    return "awake"


@public
def large() -> Response:
    """Answer with much that is not kept."""
    return Response(b"x" * LARGE_BYTES, mimetype="application/octet-stream", headers={"Cache-Control": "no-store"})


app.add_url_rule("/test/sleeping", "test-sleeping", sleeping)
app.add_url_rule("/test/large", "test-large", large)
