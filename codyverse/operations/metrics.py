"""Figures for Prometheus at `/metrics`: requests by route, their times, and all else that `metric_families` lists.

prometheus-flask-exporter serves them, as text or, where that is asked for, as OpenMetrics. What it would count itself costs 32 µs
a request and leaves a file behind for every worker that ever ran; here requests are counted through `tallies`, which all workers
of a host add up, within 2 seconds. Who asks for JSON gets the report's summary (`metrics_summary`).

Alerts, history, dashboard and doctor read the same figures by way of `samples`.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import Any

from flask import Flask, Response, current_app, g, jsonify, request
from prometheus_client.core import CollectorRegistry
from prometheus_flask_exporter import PrometheusMetrics

from codyverse.operations import gauges, metrics_summary, tallies
from codyverse.operations.gauges import Sample
from codyverse.operations.metric_families import BUCKETS_S, FromAlerts, FromHost, FromProcesses, FromTallies, names
from codyverse.operations.tallies import Tallies
from config import Settings

__all__ = ["PATH", "Metrics", "Sample", "init_app", "of", "samples", "show_alerts"]

PATH = "/metrics"
SLOW, HIT = "slow-request", "responses:hit"


class Metrics:
    """Counts requests."""

    def __init__(self, counts: Tallies, slow_s: float) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._counts = counts
        self._slow_s = slow_s

    def observe(self, method: str, rule: str | None, status: int, seconds: float) -> None:
        """Count a request that was answered; `rule` is its route's, None for none."""
        requests, bucket, total = names(method, rule, status, bisect_left(BUCKETS_S, seconds))
        self._counts.count_all(((requests, 1), (bucket, 1), (total, seconds)))
        if seconds >= self._slow_s:
            self._counts.count(SLOW)

    def observe_hit(self, method: str, rule: str, status: int, seconds: float) -> None:
        """Count a request that a finished response answered, as one of those, too."""
        requests, bucket, total = names(method, rule, status, bisect_left(BUCKETS_S, seconds))
        self._counts.count_all(((requests, 1), (bucket, 1), (total, seconds), (HIT, 1)))

    def refused(self, method: str, status: int) -> None:
        """Count a request that was refused before its route was known, and before anybody spent time on it."""
        self._counts.count(names(method, None, status, 0)[0])


def of(app: Flask) -> Metrics | None:
    """Return the application's metrics, None where they are switched off."""
    found: Metrics | None = app.extensions.get("codyverse.metrics")
    return found


def samples(app: Flask) -> list[Sample]:
    """Return every figure, those of all workers of this host together; nothing where they are switched off."""
    metrics = of(app)
    if metrics is None:
        return []
    families = metrics.registry.collect()
    return [Sample(sample.name, sample.labels, float(sample.value)) for family in families for sample in family.samples]


def show_alerts(app: Flask, states: Callable[[Flask], Iterable[Any]]) -> None:
    """Show the state of every alert, too; `states` returns them from memory, since it is asked at every look."""
    metrics = of(app)
    if metrics is not None:
        metrics.registry.register(FromAlerts(partial(states, app)))


def init_app(app: Flask, guard: Callable[[Any], Any]) -> None:
    """Count every request, and serve the figures to whom the guard, a decorator of views, lets pass. Comes first of all hooks."""
    settings: Settings = app.config["CODYVERSE"]
    if not settings.feature_monitoring:
        return
    counts = tallies.of(app)
    metrics = app.extensions["codyverse.metrics"] = Metrics(counts, settings.slow_request_ms / 1000)

    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        rule = request.url_rule.rule if request.url_rule else None
        metrics.observe(request.method, rule, response.status_code, time.perf_counter() - g.began)
        return response

    for collector in (FromTallies(counts), FromProcesses(gauges.of(app)), FromHost(settings.instance_path)):
        metrics.registry.register(collector)
    PrometheusMetrics(
        app,
        path=PATH,
        export_defaults=False,
        group_by="url_rule",
        registry=metrics.registry,
        metrics_decorator=lambda view: guard(_or_summary(view)),
    )


def _or_summary(view: Callable[..., Any]) -> Callable[..., Any]:
    """Return a view that answers with the report's summary whom asks for JSON rather than for what the view has."""

    @wraps(view)
    def answer() -> Any:
        if not _prefers_json(request.accept_mimetypes):
            return view()
        found: Iterable[Sample] = samples(current_app)
        response = jsonify(metrics_summary.summary(current_app, found))
        response.headers["Cache-Control"] = "no-store"
        return response

    return answer


def _prefers_json(accepted: Any) -> bool:
    kinds = ["text/plain", "application/openmetrics-text", "application/json"]
    return bool(accepted) and accepted.best_match(kinds) == "application/json"
