"""`/livez`, `/readyz` and `/health`.

Live: the process answers; nothing else is asked, so that a fault of the database never has a worker killed. Ready: the database
answers and its schema is the one this code was written for. Health: the same with figures, for people.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from flask import Blueprint, Flask, Response, current_app, jsonify

from codyverse import migrations
from codyverse.database import UNUSABLE
from codyverse.extensions import database
from codyverse.operations import flags
from codyverse.version import VERSION

blueprint = Blueprint("health", __name__)


@blueprint.get("/livez")
def livez() -> Response:
    """Say that the process answers."""
    return _answer({"status": "ok"}, 200)


@blueprint.get("/readyz")
def readyz() -> Response:
    """Say whether requests can be served; 503 when not."""
    checked = _database()
    ready = checked["status"] == "ok"
    return _answer({"status": "ok" if ready else "unavailable"}, 200 if ready else 503)


@blueprint.get("/health")
def health() -> Response:
    """Say the same with version and figures; 503 when a part that requests need is down."""
    checked = _database()
    status = "ok" if checked["status"] == "ok" else "unavailable"
    settings = current_app.config["CODYVERSE"]
    body = {
        "status": status,
        "version": VERSION,
        "environment": settings.environment,
        "features": flags.states(settings),
        "components": {"database": {**checked, **_connections()}},
    }
    return _answer(body, 200 if status == "ok" else 503)


def _database() -> dict[str, Any]:
    """Return the state of the database; the reason is a word of ours, never an exception's text."""
    began = time.monotonic()
    try:
        with database.read() as reader:
            revision = migrations.current(reader.connection)
    except UNUSABLE:
        return {"status": "unavailable", "engine": database.dialect, "reason": "unreachable"}
    found = {
        "engine": database.dialect,
        "revision": revision,
        "latency_ms": round((time.monotonic() - began) * 1000, 2),
    }
    if revision != migrations.head():
        return {"status": "unavailable", "reason": "schema is not current", "revision_expected": migrations.head(), **found}
    return {"status": "ok", **found}


def _connections() -> dict[str, Any]:
    """Return the breaker and the pool of this process."""
    breaker = database.breaker
    state = {"state": breaker.state, "for_s": round(time.monotonic() - breaker.since, 1), "opened": breaker.opened}
    return {"breaker": state, "pool": asdict(database.pool())}


def _answer(body: dict[str, Any], status: int) -> Response:
    response = jsonify(body)
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"
    return response


def init_app(app: Flask) -> None:
    """Register the three addresses."""
    app.register_blueprint(blueprint)
