"""The report's summary of the figures: `{server, optimizer, architecture, database}`, as `/metrics` gives it to who wants JSON.

Every figure is one of those that Prometheus is given, or follows from them. What was not measured is null, and what the report
names and nobody measures is left out.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from flask import Flask

from codyverse.operations import components, flags, gauges
from codyverse.operations.gauges import Sample
from config import Settings

TIMES = "http_request_duration_seconds"
OPTIMIZING = ("caching", "compression", "optimization", "circuitBreaker", "rateLimit", "loadBalancing")


class Figures:
    """Samples to be asked for."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._by_name: dict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            self._by_name[sample.name].append(sample)

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum of a family, or of those of it with these labels; a label ending in `*` begins so."""
        return sum(sample.value for sample in self.of(name) if _fits(sample, labels))

    def of(self, name: str) -> list[Sample]:
        """Return the samples of a name."""
        return self._by_name[name]

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """Return sums by the values of a label."""
        found: dict[str, float] = defaultdict(float)
        for sample in self.of(name):
            if _fits(sample, labels):
                found[sample.labels[label]] += sample.value
        return dict(found)

    def percentile_ms(self, share: float) -> float | None:
        """Return the border of the bucket in which that share of all requests ends, None without requests or beyond the last."""
        buckets: dict[float, float] = defaultdict(float)
        for sample in self.of(f"{TIMES}_bucket"):
            buckets[float(sample.labels["le"])] += sample.value
        whole = buckets.get(float("inf"), 0.0)
        border = next((le for le, amount in sorted(buckets.items()) if amount >= share * whole), None)
        return None if not whole or border in (None, float("inf")) else round(float(border or 0) * 1000, 1)


def _fits(sample: Sample, labels: dict[str, str]) -> bool:
    return all(
        sample.labels[name].startswith(value[:-1]) if value.endswith("*") else sample.labels[name] == value
        for name, value in labels.items()
    )


def summary(app: Flask, samples: Iterable[Sample]) -> dict[str, Any]:
    """Return the report's summary."""
    figures = Figures(samples)
    return {
        "server": _server(app, figures),
        "optimizer": _optimizer(app, figures),
        "architecture": _architecture(app, figures),
        "database": _database(figures),
    }


def _server(app: Flask, figures: Figures) -> dict[str, Any]:
    # The service is as old as the master of its workers, which are replaced now and then.
    is_worker = components.of(app).worker != components.OUTSIDE
    began = gauges.started_at(os.getppid() if is_worker else os.getpid())
    return {
        "requests": int(figures.sum("http_requests_total")),
        "errors": int(figures.sum("http_requests_total", status="5*")),
        "avgResponseTime": _mean_ms(figures.sum(f"{TIMES}_sum"), figures.sum(f"{TIMES}_count")),
        "uptime": None if began is None else round(time.time() - began, 1),
    }


def _optimizer(app: Flask, figures: Figures) -> dict[str, Any]:
    settings: Settings = app.config["CODYVERSE"]
    on = flags.states(settings)
    tiers = ("l1", "l2", "l3")
    return {
        "optimizations": {name: on[name] for name in OPTIMIZING if name in on},
        "performance": {
            "p50Ms": figures.percentile_ms(0.5),
            "p95Ms": figures.percentile_ms(0.95),
            "p99Ms": figures.percentile_ms(0.99),
            "slowRequests": int(figures.sum("codyverse_slow_requests_total")),
            "cacheHitRate": {tier: _hit_rate(figures, tier) for tier in tiers},
        },
        "memory": {
            "usedBytes": int(figures.sum("codyverse_worker_memory_bytes")),
            "budgetBytes": int(figures.sum("codyverse_worker_memory_budget_bytes")) or None,
        },
    }


def _architecture(app: Flask, figures: Figures) -> dict[str, Any]:
    parts = {name: part["status"] for name, part in components.of(app).health().items()}
    unwell = any(status != components.OK for status in parts.values())
    return {
        "components": parts,
        "scaling": {
            "workers": len(figures.of("codyverse_worker_age_seconds")),
            "inFlight": int(figures.sum("codyverse_worker_requests_in_flight")),
            "waiting": int(figures.sum("codyverse_worker_requests_waiting")),
            "replaced": int(figures.sum("codyverse_workers_total", event="replaced")),
            "shed": int(sum(figures.sum("codyverse_admission_total", outcome=outcome) for outcome in ("full", "late", "closed"))),
        },
        "health": "degraded" if unwell else components.OK,
    }


def _database(figures: Figures) -> dict[str, Any]:
    return {
        "connections": _whole(figures.by("state", "codyverse_database_pool_connections")),
        "queries": int(figures.sum("codyverse_statements_total")),
        "performance": {
            "avgQueryMs": _mean_ms(figures.sum("codyverse_statement_seconds_total"), figures.sum("codyverse_statements_total")),
            "breakersOpen": int(figures.sum("codyverse_breaker_open", breaker="database")),
        },
        "errors": _whole(figures.by("kind", "codyverse_database_errors_total")),
    }


def _mean_ms(seconds: float, number: float) -> float | None:
    return round(seconds / number * 1000, 3) if number else None


def _hit_rate(figures: Figures, tier: str) -> float | None:
    hits = figures.sum("codyverse_cache_total", event="hit", tier=tier)
    asked = hits + figures.sum("codyverse_cache_total", event="miss", tier=tier)
    return round(hits / asked, 4) if asked else None


def _whole(figures: dict[str, float]) -> dict[str, int]:
    return {name: int(value) for name, value in figures.items()}
