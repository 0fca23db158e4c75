"""`/livez`, `/readyz` and `/health`.

Live: the process answers; nothing else is asked, so that a fault of the database never has a worker killed. Ready: requests may
be sent to this process (see `readiness`). Health: the same for people; for operators, and on the machine itself, with figures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from typing import Any

from flask import Blueprint, Flask, Response, current_app, jsonify, request

from codyverse.database import UNUSABLE
from codyverse.errors import CodyverseError
from codyverse.extensions import database
from codyverse.operations import components, flags, health_looks, limits, proxies, readiness
from codyverse.operations.health_checks import Checks
from codyverse.operations.limits.addresses import address
from codyverse.operations.limits.leases import Exceeded
from codyverse.operations.readiness import Readiness
from codyverse.version import VERSION
from config import Settings

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

blueprint = Blueprint("health", __name__)


@dataclass(frozen=True, slots=True)
class _Health:
    """What the three addresses ask. `check_operator` raises for everybody else."""

    readiness: Readiness
    checks: Checks
    check_operator: Callable[[], Any]


@blueprint.get("/livez")
def livez() -> Response:
    """Say that the process answers."""
    return _answer({"status": "ok"}, 200)


@blueprint.get("/readyz")
def readyz() -> Response:
    """Say whether requests can be served; 503 when not."""
    return _answer(*_status())


@blueprint.get("/health")
def health() -> Response:
    """Say the same with version and flags, and with figures to who may see them."""
    body, status = _status()
    settings: Settings = current_app.config["CODYVERSE"]
    body |= {"version": VERSION, "features": flags.states(settings)}
    if _is_local(settings) or _is_operator():
        body |= {"environment": settings.environment, "components": _components()}
    return _answer(body, status)


def _of_app() -> _Health:
    found: _Health = current_app.extensions["codyverse.health"]
    return found


def _status() -> tuple[dict[str, Any], int]:
    ready = not _of_app().readiness.reason()
    return {"status": "ok" if ready else "unavailable"}, 200 if ready else 503


def _components() -> dict[str, Any]:
    """Return the state of each part of this process."""
    found = _of_app()
    parts = components.of(current_app)
    of_parts, checks = parts.health(), found.checks.states()
    return {
        **of_parts,
        "process": {"status": "draining" if parts.draining else "ok"},
        "answers": found.readiness.state_of_answers(),
        **checks,
        "database": {**checks["database"], **_connections()},
        "memory": {**checks["memory"], "this_worker": of_parts.get("memory")},
    }


def _connections() -> dict[str, Any]:
    """Return the breaker and the pool of this process."""
    breaker = database.breaker
    state = {"state": breaker.state, "for_s": round(time.monotonic() - breaker.since, 1), "opened": breaker.opened}
    return {"breaker": state, "pool": asdict(database.pool())}


def _is_local(settings: Settings) -> bool:
    """Say whether somebody on this machine asks, and not a proxy on it for somebody else."""
    try:
        if settings.trusted_proxies or not ip_address(request.remote_addr or "").is_loopback:
            return False
    except ValueError:  # a Unix socket, behind which there is a proxy
        return False
    return proxies.came_directly() and proxies.host_name(request.host) in LOCAL_NAMES


def _is_operator() -> bool:
    # These addresses are free, and looking somebody up is not: so that is counted, as everywhere else.
    if not (request.headers.get("Authorization") or request.cookies):
        return False
    counted = limits.of(current_app)
    try:
        if counted is not None:
            counted.meter.address(address())
        _of_app().check_operator()
    except (CodyverseError, Exceeded, *UNUSABLE):
        return False
    return True


def _answer(body: dict[str, Any], status: int) -> Response:
    response = jsonify(body)
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"
    return response


def _count(response: Response) -> Response:
    """Count an answer that the application has made; finished ones are none of its errors, nor is a 503, which says to wait."""
    if request.blueprint != blueprint.name:
        _of_app().readiness.answers.count(response.status_code == 500)
    return response


def init_app(app: Flask, guard: Callable[[Any], Any]) -> None:
    """Register the three addresses. The guard, a decorator of views, lets operators pass."""
    settings: Settings = app.config["CODYVERSE"]
    decides = readiness.make(settings, components.of(app), app.extensions["codyverse.database"])
    app.extensions["codyverse.health"] = _Health(decides, health_looks.make(app, decides), guard(lambda: None))
    app.after_request(_count)
    app.register_blueprint(blueprint)
