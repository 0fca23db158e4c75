"""The figures of a minute, made of what was counted at its beginning and at its end, and of the gauges at its end.

What balancers and Prometheus ask is nobody's request, and is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from codyverse.operations.gauges import Sample

SERIES = (
    "requests_per_s",
    "errors_percent",
    "mean_ms",
    "p95_ms",
    "availability_percent",
    "cache_hit_percent",
    "memory_percent",
    "in_flight",
    "waiting",
    "shed_per_s",
    "database_errors",
    "pool_in_use",
)
PROBES = frozenset({"/livez", "/readyz", "/health", "/metrics"})
SHED = frozenset({"full", "late", "closed"})


@dataclass
class Totals:
    """Everything counted so far. `buckets` has the requests that took no longer than so many seconds."""

    requests: float = 0.0
    errors: float = 0.0
    timed: float = 0.0
    seconds: float = 0.0
    hits: float = 0.0
    lookups: float = 0.0
    shed: float = 0.0
    database_errors: float = 0.0
    buckets: dict[str, float] = field(default_factory=dict)


def totals(samples: Iterable[Sample]) -> Totals:
    """Return what was counted so far."""
    total = Totals()
    for sample in samples:
        add = _ADD.get(sample.name)
        if add is not None and sample.labels.get("rule") not in PROBES:
            add(total, sample)
    return total


def _add_requests(total: Totals, sample: Sample) -> None:
    total.requests += sample.value
    total.errors += sample.value if sample.labels["status"].startswith("5") else 0


def _add_bucket(total: Totals, sample: Sample) -> None:
    border = sample.labels["le"]
    total.buckets[border] = total.buckets.get(border, 0.0) + sample.value


def _add_timed(total: Totals, sample: Sample) -> None:
    total.timed += sample.value


def _add_seconds(total: Totals, sample: Sample) -> None:
    total.seconds += sample.value


def _add_cache(total: Totals, sample: Sample) -> None:
    """A look-up asks the tiers in turn: it begins in the first one, and is a hit wherever it ends with one."""
    event = sample.labels["event"]
    total.hits += sample.value if event == "hit" else 0
    total.lookups += sample.value if event in ("hit", "miss") and sample.labels["tier"] == "l1" else 0


def _add_shed(total: Totals, sample: Sample) -> None:
    total.shed += sample.value if sample.labels["outcome"] in SHED else 0


def _add_database_errors(total: Totals, sample: Sample) -> None:
    total.database_errors += sample.value


_ADD: dict[str, Callable[[Totals, Sample], None]] = {
    "http_requests_total": _add_requests,
    "http_request_duration_seconds_bucket": _add_bucket,
    "http_request_duration_seconds_count": _add_timed,
    "http_request_duration_seconds_sum": _add_seconds,
    "codyverse_cache_total": _add_cache,
    "codyverse_admission_total": _add_shed,
    "codyverse_database_errors_total": _add_database_errors,
}


def figures(before: Totals | None, now: Totals, passed_s: float, samples: Iterable[Sample]) -> dict[str, float | None]:
    """Return the value of every series; what was counted is unknown without what had been counted before."""
    found: dict[str, float | None] = {**dict.fromkeys(SERIES), **_gauges(list(samples))}
    if before is None or passed_s <= 0:
        return found
    grown = _grown(before, now)
    return found | {
        "requests_per_s": grown.requests / passed_s,
        "errors_percent": _share(100 * grown.errors, grown.requests),
        "availability_percent": _share(100 * (grown.requests - grown.errors), grown.requests),
        "mean_ms": _share(1000 * grown.seconds, grown.timed),
        "p95_ms": _quantile_ms(grown.buckets, 0.95),
        "cache_hit_percent": _share(100 * min(grown.hits, grown.lookups), grown.lookups),
        "shed_per_s": grown.shed / passed_s,
        "database_errors": grown.database_errors,
    }


def _gauges(samples: list[Sample]) -> dict[str, float | None]:
    def values(name: str, **labels: str) -> list[float]:
        return [each.value for each in samples if each.name == name and labels.items() <= each.labels.items()]

    budgets = {each.labels["worker"]: each.value for each in samples if each.name == "codyverse_worker_memory_budget_bytes"}
    shares = [
        100 * each.value / budgets[each.labels["worker"]]
        for each in samples
        if each.name == "codyverse_worker_memory_bytes" and budgets.get(each.labels["worker"], 0) > 0
    ]
    in_flight, waiting = values("codyverse_worker_requests_in_flight"), values("codyverse_worker_requests_waiting")
    connections = values("codyverse_database_pool_connections", state="in_use")
    return {
        "memory_percent": max(shares, default=None),
        "in_flight": sum(in_flight) if in_flight else None,
        "waiting": sum(waiting) if waiting else None,
        "pool_in_use": sum(connections) if connections else None,
    }


def _grown(before: Totals, now: Totals) -> Totals:
    """Return what was counted meanwhile. Counts that fell were begun anew."""

    def grown(old: float, new: float) -> float:
        return new - old if new >= old else new

    amounts = {
        name: grown(getattr(before, name), getattr(now, name)) for name in Totals.__dataclass_fields__ if name != "buckets"
    }
    buckets = {border: grown(before.buckets.get(border, 0.0), amount) for border, amount in now.buckets.items()}
    return Totals(**amounts, buckets=buckets)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _quantile_ms(buckets: dict[str, float], share: float) -> float | None:
    """Return the time within which that share was answered, as Prometheus' `histogram_quantile` reckons: even within a bucket."""
    counted = sorted((math.inf if border == "+Inf" else float(border), amount) for border, amount in buckets.items())
    if not counted or counted[-1][1] <= 0:
        return None
    rank, lower, below = share * counted[-1][1], 0.0, 0.0
    for border, amount in counted:
        if amount >= rank:
            if border == math.inf:
                return 1000 * lower
            return 1000 * (lower + (border - lower) * (rank - below) / (amount - below))
        lower, below = border, amount
    return None
