"""Alerts: what the figures say that somebody should know, once when it begins and once when it is over.

The rules stand in `config/alerts.yaml`, and the same ones are written for Prometheus (see `promql`). On one machine they are
evaluated here, by one process (see `evaluator`), which also keeps the history of figures.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from flask import Flask

from codyverse.operations import components, gauges, journal, tallies
from codyverse.operations.alerts import channels
from codyverse.operations.alerts.delivery import Delivery
from codyverse.operations.alerts.evaluator import Evaluator
from codyverse.operations.alerts.messages import Sender
from codyverse.operations.alerts.rules import BadRules, Rule, read
from codyverse.operations.alerts.states import INACTIVE, Standing, State
from codyverse.operations.alerts.store import AlertEvent, Store
from codyverse.operations.components import OK, UNAVAILABLE
from codyverse.operations.gauges import Sample
from codyverse.operations.history import History
from config import Settings

__all__ = ["AlertEvent", "AlertState", "history", "init_app", "rules_of", "states"]

UNDELIVERED = "codyverse_alerts_undelivered"
COMPONENT_UNAVAILABLE = "codyverse_component_unavailable"
COMPONENTS = ("database", "cache_l1", "cache_l2", "cache_l3", "limiter", "disk", "memory", "workers")  # of `/health`

log = logging.getLogger("codyverse.startup")


class AlertState(NamedTuple):
    """Where an alert stands. `since` is Unix time, 0 for one that never did anything; `value` is None while it is unknown."""

    name: str
    severity: str
    summary: str
    runbook: str
    state: State
    since: float
    value: float | None
    threshold: float


@dataclass(frozen=True, slots=True)
class _Alerts:
    rules: tuple[Rule, ...]
    problem: str  # why there are none
    store: Store
    sender: Sender


def states(app: Flask) -> list[AlertState]:
    """Return where each alert stands, in the order of the file of rules."""
    alerts = _of(app)
    standings = alerts.store.standings()
    nothing = Standing(INACTIVE, 0.0)
    found = ((rule, standings.get(rule.name, nothing)) for rule in alerts.rules)
    return [
        AlertState(rule.name, rule.severity, rule.summary, rule.runbook, each.state, each.since, each.value, rule.threshold)
        for rule, each in found
    ]


def history(app: Flask, limit: int = 100) -> list[AlertEvent]:
    """Return what alerts did, the newest first; the last 1,000 are kept."""
    return _of(app).store.events(limit)


def rules_of(app: Flask) -> tuple[Rule, ...]:
    """Return the rules. Raises BadRules."""
    alerts = _of(app)
    return alerts.rules or read(app.config["CODYVERSE"].alerts_path)


def sender(app: Flask) -> Sender:
    """Return who tells of alerts."""
    return _of(app).sender


def _of(app: Flask) -> _Alerts:
    alerts: _Alerts = app.extensions["codyverse.alerts"]
    return alerts


def _rules(settings: Settings) -> tuple[tuple[Rule, ...], str]:
    """Return the rules, or none and why. gunicorn does not start with such a file; a worker born later has to serve."""
    try:
        return read(settings.alerts_path), ""
    except BadRules as error:
        return (), str(error)


def _tell_components(app: Flask) -> None:
    """Have told whether a part that `/health` looks at is unavailable; nothing of one that was not looked at, or is off."""
    known = app.extensions["codyverse.health"].checks.known

    def unavailable(component: str) -> float | None:
        status = known().get(component, {}).get("status")
        return None if status in (None, "off") else float(status == UNAVAILABLE)

    for component in COMPONENTS:
        gauges.of(app).add(COMPONENT_UNAVAILABLE, {"component": component}, partial(unavailable, component))


def init_app(app: Flask, samples: Callable[[], Sequence[Sample]]) -> None:
    """Read the rules, and have one process of the host evaluate them over the samples. Comes after the parts they are of."""
    settings: Settings = app.config["CODYVERSE"]
    found, problem = _rules(settings)
    store = Store(journal.of(app))
    who = Sender(socket.gethostname(), settings.environment)
    app.extensions["codyverse.alerts"] = _Alerts(found, problem, store, who)
    if problem:
        log.error("no alerts are raised: %s", problem)
    if not settings.feature_monitoring:
        return
    delivery = Delivery(store, channels.of_settings(settings), tallies.of(app).count)
    kept = History(journal.of(app)).keep
    folder, every_s = settings.instance_path, settings.alerts_every_s
    evaluator = Evaluator(found, samples, store, delivery, who, folder, every_s, kept)
    _tell_components(app)
    gauges.of(app).add(UNDELIVERED, {}, lambda: float(store.undelivered()) if evaluator.evaluates else None)

    def health() -> dict[str, Any]:
        return {"status": UNAVAILABLE if problem else OK, "rules": len(found), "evaluates": evaluator.evaluates}

    # Without rules it would resolve what fires; a worker that began before the file was broken may still evaluate.
    components.of(app).add("alerts", evaluator.close, start=None if problem else evaluator.start, health=health)
