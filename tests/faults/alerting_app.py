"""The application with routes that fail, take their time, hold memory, and ask the database."""

from __future__ import annotations

import time

import sqlalchemy as sa
from flask import Response, request

from codyverse import create_app
from codyverse.database import Database
from codyverse.http.auth import public
from codyverse.server.budget import rss_bytes

MEGABYTE = 1_000_000

app = create_app()
database: Database = app.extensions["codyverse.database"]
_held: list[bytearray] = []


@public
def well() -> str:
    return "well"


@public
def failing() -> str:
    raise RuntimeError("the test says so")


@public
def sleeping() -> str:
    """Answer after `?s=` seconds."""
    time.sleep(float(request.args["s"]))
    return "awake"


@public
def asking() -> str:
    """Ask the database."""
    with database.read() as reader:
        reader.execute(sa.select(1))
    return "answered"


@public
def holding() -> Response:
    """Hold as much memory as makes the worker hold `?mb=` megabytes; 0 lets go of it."""
    _held.clear()
    missing = int(request.args["mb"]) * MEGABYTE - rss_bytes()
    if missing > 0:
        _held.append(bytearray(b"x") * missing)  # written, or the kernel would only promise it
    return Response(str(rss_bytes()), mimetype="text/plain")


for view in (well, failing, sleeping, asking, holding):
    app.add_url_rule(f"/test/{view.__name__}", f"test-{view.__name__}", view)
