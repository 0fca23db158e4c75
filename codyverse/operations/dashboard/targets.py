"""The five key figures of report row R27, their targets, and whether they are met.

Averages over time are weighted by the requests of each minute: a night without visitors says nothing about an outage at noon.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from codyverse.operations.dashboard import units

DAY_S, LATELY_S = 86_400.0, 300.0

Points = Sequence[tuple[float, float | None]]
Read = Callable[[str], Points]  # the last day's minutes of a series

REQUESTS = "requests_per_s"


@dataclass(frozen=True, slots=True)
class _Target:
    key: str
    title: str
    series: str
    limit: float
    is_floor: bool  # else a ceiling
    written: str
    show: Callable[[float | None], str]


TARGETS = (
    _Target("availability", "Availability", "availability_percent", 99.9, True, "at least 99.9 %", units.percent),
    _Target("mean", "Mean response time", "mean_ms", 100.0, False, "below 100 ms", units.milliseconds),
    _Target("memory", "Memory", "memory_percent", 85.0, False, "below 85 %", units.percent),
    _Target("errors", "Errors", "errors_percent", 0.1, False, "below 0.1 %", units.percent),
    _Target("cache", "Cache hits", "cache_hit_percent", 90.0, True, "above 90 %", units.percent),
)
MEMORY = "memory_percent"


@dataclass(frozen=True, slots=True)
class Figure:
    """A key figure. `is_met` is None while nothing was measured."""

    key: str
    title: str
    value: str
    of_what: str
    target: str
    is_met: bool | None
    lately: str


def figures(read: Read, memory_percent: float | None, now: float) -> list[Figure]:
    """Return the five. Memory is judged by what it is now, all others by the last 24 hours."""
    weights = read(REQUESTS)
    return [_figure(target, read(target.series), weights, memory_percent, now) for target in TARGETS]


def _figure(target: _Target, points: Points, weights: Points, memory_percent: float | None, now: float) -> Figure:
    if target.series == MEMORY:
        value, of_what = memory_percent, "fullest worker, now"
        highest = max((level for _, level in points if level is not None), default=None)
        lately = f"in 24 h up to {target.show(highest)}"
    else:
        value, of_what = weighted(points, weights), "last 24 hours"
        lately = f"last 5 min: {target.show(weighted([one for one in points if one[0] > now - LATELY_S], weights))}"
    return Figure(target.key, target.title, target.show(value), of_what, target.written, is_met(target, value), lately)


def is_met(target: _Target, value: float | None) -> bool | None:
    """Say whether a value meets the target, None for no value."""
    if value is None:
        return None
    if target.key == "availability":
        return value >= target.limit
    return value > target.limit if target.is_floor else value < target.limit


def weighted(points: Points, weights: Points) -> float | None:
    """Return the mean of the points, each counted as often as its weight says; None when none has both."""
    weight_at: Mapping[float, float | None] = dict(weights)
    total = counted = 0.0
    for at, value in points:
        weight = weight_at.get(at)
        if value is not None and weight:
            total += value * weight
            counted += weight
    return total / counted if counted else None
