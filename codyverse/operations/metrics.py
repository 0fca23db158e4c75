"""Figures for Prometheus at `/metrics`: requests by route, their times, and everything that tallies count.

prometheus-flask-exporter serves them. What it would count itself costs 32 µs a request and leaves a file behind for every worker
that ever ran; here requests are counted through `tallies`, which all workers of a host add up, within 2 seconds.

Labels come from the routes, never from what a client sends: a path that is no route's has the label `-`.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

from flask import Flask, Response, g, request
from prometheus_client.core import CollectorRegistry, CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_flask_exporter import PrometheusMetrics

from codyverse.operations import tallies
from codyverse.operations.tallies import Tallies

PATH = "/metrics"
NO_ROUTE = "-"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# Tallies: `http\tGET\t/courses\t200`, `http-seconds\tGET\t/courses\t4` (a bucket's number), `http-seconds-sum\tGET\t/courses`.
_REQUESTS, _BUCKET, _SUM = "http", "http-seconds", "http-seconds-sum"


class _Counted(NamedTuple):
    """A family of counters that other parts count as `prefix:label:label`."""

    prefix: str
    name: str
    help: str
    labels: tuple[str, ...]


COUNTED = (
    _Counted("cache", "codyverse_cache", "What look-ups of the cache met, by tier.", ("event", "tier")),
    _Counted("events", "codyverse_events", "Events of little weight.", ("outcome",)),
    _Counted("breaker", "codyverse_breaker_transitions", "Times that a breaker changed into a state.", ("breaker", "state")),
    _Counted("admission", "codyverse_admission", "Requests for threads, by what became of them.", ("class", "outcome")),
    _Counted("admission-waits", "codyverse_admission_waits", "Requests that threads took, by their wait.", ("class", "within")),
    _Counted("access-log", "codyverse_access_log", "Lines of the access log.", ("outcome",)),
    _Counted("memory", "codyverse_memory", "Levels of memory that workers reached, and leaks that were foreseen.", ("event",)),
    _Counted("memory-leak", "codyverse_memory_leak", "Bytes by which workers grew, and the requests meanwhile.", ("unit",)),
    _Counted("worker", "codyverse_workers", "Workers that asked to be replaced, and what became of it.", ("event",)),
    _Counted("retry", "codyverse_retries", "Tries after the first one.", ("reason",)),
)


class Metrics:
    """Counts requests."""

    def __init__(self, counts: Tallies) -> None:
        self._counts = counts

    def observe(self, method: str, rule: str | None, status: int, seconds: float) -> None:
        """Count a request that was answered; `rule` is its route's, None for none."""
        requests, bucket, total = _names(method, rule, status, bisect_left(BUCKETS_S, seconds))
        self._counts.count_all(((requests, 1), (bucket, 1), (total, seconds)))


@lru_cache(4096)
def _names(method: str, rule: str | None, status: int, bucket: int) -> tuple[str, str, str]:
    name = f"\t{method if method in METHODS else 'other'}\t{rule or NO_ROUTE}"
    return f"{_REQUESTS}{name}\t{status}", f"{_BUCKET}{name}\t{bucket}", f"{_SUM}{name}"


class _FromTallies(Collector):
    def __init__(self, counts: Tallies) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        totals = self._counts.totals()
        yield from _requests(totals)
        for family in COUNTED:
            metric = CounterMetricFamily(family.name, family.help, labels=family.labels)
            for name, amount in sorted(totals.items()):
                prefix, *labels = name.split(":")
                if prefix == family.prefix and len(labels) == len(family.labels):
                    metric.add_metric(labels, amount)
            yield metric


def _requests(totals: dict[str, float]) -> Iterator[Metric]:
    requests = CounterMetricFamily("http_requests", "Requests that were answered.", labels=("method", "rule", "status"))
    times = HistogramMetricFamily("http_request_duration_seconds", "Time until the answer was made.", labels=("method", "rule"))
    buckets: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0] * (len(BUCKETS_S) + 1))
    for name, amount in sorted(totals.items()):
        kind, *labels = name.split("\t")
        if kind == _REQUESTS:
            requests.add_metric(labels, amount)
        elif kind == _BUCKET:
            buckets[labels[0], labels[1]][int(labels[2])] += amount
    borders = [*map(str, BUCKETS_S), "+Inf"]
    for (method, rule), amounts in buckets.items():
        total = totals.get(f"{_SUM}\t{method}\t{rule}", 0.0)
        times.add_metric([method, rule], list(zip(borders, accumulate(amounts), strict=True)), sum_value=total)
    yield requests
    yield times


def of(app: Flask) -> Metrics | None:
    """Return the application's metrics, None where they are switched off."""
    found: Metrics | None = app.extensions.get("codyverse.metrics")
    return found


def init_app(app: Flask, guard: Callable[[Any], Any]) -> None:
    """Count every request, and serve the figures to whom the guard, a decorator of views, lets pass. Comes first of all hooks."""
    if not app.config["CODYVERSE"].feature_monitoring:
        return
    counts = tallies.of(app)
    metrics = app.extensions["codyverse.metrics"] = Metrics(counts)

    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        rule = request.url_rule.rule if request.url_rule else None
        metrics.observe(request.method, rule, response.status_code, time.perf_counter() - g.began)
        return response

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_FromTallies(counts))
    PrometheusMetrics(app, path=PATH, export_defaults=False, group_by="url_rule", registry=registry, metrics_decorator=guard)
