"""The history as charts: what they show, as SVG for browsers without scripts, as a table, and as columns for uPlot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from codyverse.operations.dashboard import units
from codyverse.operations.dashboard.targets import Points

WIDTH, HEIGHT = 300, 100  # of the drawing; it is stretched to its place
MOST_POINTS = 240  # of a line; each is the worst of its part of the time, so that no peak is lost
ROOM = 1.15  # above the highest value
RECENT_STEPS = 3  # what is older does not stand for now

Place = Callable[[float, float], tuple[float, float]]  # of a time and a value in the drawing


@dataclass(frozen=True, slots=True)
class Line:
    """A series, and how it is called in its chart."""

    series: str
    name: str


@dataclass(frozen=True, slots=True)
class Chart:
    """What one chart shows. `limit` is the target that is drawn; with `lowest` small values are the bad ones."""

    key: str
    title: str
    unit: str
    lines: tuple[Line, ...]
    show: Callable[[float | None], str]
    limit: float | None = None
    top: float | None = None
    lowest: bool = False


CHARTS = (
    Chart("requests", "Requests", "a second", (Line("requests_per_s", "requests"),), units.rate),
    Chart("times", "Response time", "ms", (Line("mean_ms", "mean"), Line("p95_ms", "p95")), units.milliseconds, limit=100),
    Chart("errors", "Errors", "% of requests", (Line("errors_percent", "errors"),), units.percent, limit=0.1),
    Chart("cache", "Cache hits", "% of look-ups", (Line("cache_hit_percent", "hits"),), units.percent, 90, 100, lowest=True),
    Chart("memory", "Memory", "% of its budget, fullest worker", (Line("memory_percent", "memory"),), units.percent, 85, 100),
    Chart("queue", "Requests in hand", "", (Line("in_flight", "in flight"), Line("waiting", "waiting")), units.number),
    Chart("shed", "Refused under load", "a second", (Line("shed_per_s", "refused"),), units.rate),
    Chart("pool", "Database connections", "in use", (Line("pool_in_use", "in use"),), units.number),
    Chart("faults", "Database errors", "a minute", (Line("database_errors", "errors"),), units.number),
)
SERIES = tuple(line.series for chart in CHARTS for line in chart.lines)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A line of a chart as SVG and in words."""

    name: str
    path: str
    now: str
    highest: str
    lowest: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart as it is drawn. `limit_y` is where its target lies, `top` what the upper edge stands for."""

    chart: Chart
    lines: list[Drawn]
    is_empty: bool
    limit_y: float | None
    top: str


def draw(chart: Chart, series: dict[str, Points], since: float, now: float, step_s: float) -> Drawing:
    """Return a chart of the time from `since` to `now`."""
    of_lines = [series.get(line.series, ()) for line in chart.lines]
    known = [value for points in of_lines for _, value in points if value is not None]
    top = chart.top or max([*known, chart.limit or 0.0], default=0.0) * ROOM or 1.0
    span = max(now - since, 1.0)

    def place(at: float, value: float) -> tuple[float, float]:
        return (at - since) / span * WIDTH, HEIGHT * (1 - min(value / top, 1.0))

    return Drawing(
        chart=chart,
        lines=[_drawn(chart, line, points, place, now, step_s) for line, points in zip(chart.lines, of_lines, strict=True)],
        is_empty=not known,
        limit_y=round(place(now, chart.limit)[1], 1) if chart.limit is not None else None,
        top=chart.show(top),
    )


def _drawn(chart: Chart, line: Line, points: Points, place: Place, now: float, step_s: float) -> Drawn:
    newest = points[-1] if points and now - points[-1][0] <= RECENT_STEPS * step_s else (now, None)
    values = [value for _, value in points if value is not None]
    return Drawn(
        name=line.name,
        path=_path(thinned(points, chart.lowest), place),
        now=chart.show(newest[1]),
        highest=chart.show(max(values, default=None)),
        lowest=chart.show(min(values, default=None)),
    )


def thinned(points: Points, lowest: bool) -> Points:
    """Return MOST_POINTS at the most, each the worst of as many neighbours; a part with nothing known stays unknown."""
    size = -(-len(points) // MOST_POINTS)
    if size <= 1:
        return points
    worst = min if lowest else max
    parts = [points[at : at + size] for at in range(0, len(points), size)]
    return [(part[0][0], worst((value for _, value in part if value is not None), default=None)) for part in parts]


def _path(points: Points, place: Place) -> str:
    """Return the SVG path, interrupted where nothing is known."""
    commands: list[str] = []
    is_joined = False
    for at, value in points:
        if value is not None:
            x, y = place(at, value)
            # A point that stands alone is a line of no length, which its round end makes visible.
            commands.append(f"L{x:.1f} {y:.1f}" if is_joined else f"M{x:.1f} {y:.1f}h0")
        is_joined = value is not None
    return "".join(commands)


def columns(series: dict[str, Points]) -> dict[str, Any]:
    """Return times and, for each series, a value or None at every one of them."""
    known = {name: dict(points) for name, points in series.items()}
    times = sorted({at for points in known.values() for at in points})
    return {"times": times, "series": {name: [_rounded(points.get(at)) for at in times] for name, points in known.items()}}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)  # what a chart can show: a third of the bytes


def table(series: dict[str, Points]) -> list[tuple[float, list[str]]]:
    """Return a row for every time, the newest first: what each line of each chart was."""
    shown: Sequence[tuple[str, Callable[[float | None], str]]] = [
        (line.series, chart.show) for chart in CHARTS for line in chart.lines
    ]
    known = {name: dict(points) for name, points in series.items()}
    times = sorted({at for points in known.values() for at in points}, reverse=True)
    return [(at, [show(known.get(name, {}).get(at)) for name, show in shown]) for at in times]
