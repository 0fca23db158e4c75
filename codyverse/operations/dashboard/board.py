"""What the page shows, read every few seconds at the most, however many look at it; a part that cannot be told is missing.

Figures are those of this host: metrics, alerts and history are its own, and the database is never asked, so that the page works
when that is what is wrong.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from flask import Flask

from codyverse.operations import alerts, flags, history, metrics, statements, tallies
from codyverse.operations.alerts import AlertEvent, AlertState
from codyverse.operations.dashboard import canary, charts, parts, targets
from codyverse.operations.dashboard.canary import Rollout
from codyverse.operations.dashboard.charts import Drawing
from codyverse.operations.dashboard.parts import Parts
from codyverse.operations.dashboard.readings import Readings
from codyverse.operations.dashboard.targets import Figure, Points
from codyverse.operations.statements import Figures
from codyverse.version import VERSION
from config import Settings

log = logging.getLogger("codyverse.performance")

NOW_S = 2.0  # for which what is shown of the moment is kept
HISTORY_S = 20.0  # the same of the past, which grows by a point a minute
STALE_S = 240.0  # a minute's figures are there when it is over, and a bit later on a busy machine
EVENTS = 8
STATEMENTS = 8

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Span:
    """A time that charts can show."""

    key: str
    title: str
    seconds: float
    step: Literal["minute", "hour"]
    ticks: tuple[str, str, str]

    @property
    def step_s(self) -> float:
        """Return how far its points lie apart."""
        return 60.0 if self.step == "minute" else 3600.0


DAY = Span("day", "24 hours", 86_400.0, "minute", ("24 h ago", "12 h ago", "now"))
SPANS = {
    span.key: span
    for span in (
        DAY,
        Span("week", "7 days", 7 * 86_400.0, "hour", ("7 days ago", "3½ days ago", "now")),
        Span("quarter", "90 days", 90 * 86_400.0, "hour", ("90 days ago", "45 days ago", "now")),
    )
}


@dataclass(frozen=True, slots=True)
class Moment:
    """How everything is. What could not be read is None."""

    at: float
    host: str
    version: str
    environment: str
    is_measured: bool
    kept_at: float | None  # the newest minute of the history
    targets: list[Figure]
    alerts: list[AlertState] | None
    events: list[AlertEvent] | None
    parts: Parts
    statements: list[Figures] | None
    flags: dict[str, bool]
    rollout: Rollout | None

    @property
    def firing(self) -> list[AlertState]:
        """Return the alerts that fire."""
        return [alert for alert in self.alerts or () if alert.state == "firing"]

    @property
    def pending(self) -> list[AlertState]:
        """Return those that will if it goes on like this."""
        return [alert for alert in self.alerts or () if alert.state == "pending"]

    @property
    def missed(self) -> list[Figure]:
        """Return the key figures that miss their targets."""
        return [figure for figure in self.targets if figure.is_met is False]

    @property
    def is_stale(self) -> bool:
        """Say whether there were figures and no new ones came."""
        return self.kept_at is not None and self.at - self.kept_at > STALE_S

    @property
    def headline(self) -> str:
        """Return in one sentence how it is."""
        if self.firing:
            return "1 alert is firing" if len(self.firing) == 1 else f"{len(self.firing)} alerts are firing"
        if self.alerts is None:
            return "The alerts cannot be told"
        if self.is_stale:
            return "These figures are out of date"
        if self.pending:
            return (
                f"{self.pending[0].name} may fire soon" if len(self.pending) == 1 else f"{len(self.pending)} alerts may fire soon"
            )
        if self.missed:
            return "No alert, 1 target missed" if len(self.missed) == 1 else f"No alert, {len(self.missed)} targets missed"
        return "All is well" if any(figure.is_met for figure in self.targets) else "Nothing measured yet"

    @property
    def mood(self) -> str:
        """Return `bad`, `doubtful`, `good` or `unknown`."""
        if self.firing:
            return "bad"
        if self.alerts is None or self.is_stale or self.pending or self.missed:
            return "doubtful"
        return "good" if any(figure.is_met for figure in self.targets) else "unknown"


@dataclass(frozen=True, slots=True)
class Past:
    """The history of a span, as it is drawn, as a table by the hour, and as columns for scripts."""

    span: Span
    drawings: list[Drawing]
    rows: list[tuple[float, list[str]]]
    columns: dict[str, object]


class Kept(Generic[T]):
    """What is read anew when it is asked for and older than that; one reads while others wait."""

    def __init__(self, for_s: float, read: Callable[[], T]) -> None:
        self._for_s = for_s
        self._read = read
        self._turn = threading.Lock()
        self._found: tuple[float, T] | None = None

    def get(self) -> T:
        """Return it."""
        with self._turn:
            if self._found is None or time.monotonic() - self._found[0] >= self._for_s:
                self._found = time.monotonic(), self._read()
            return self._found[1]


class Board:
    """What one process shows."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._settings: Settings = app.config["CODYVERSE"]
        self._moment = Kept(NOW_S, self._read_moment)
        self._day = Kept(HISTORY_S, self._read_day)
        self._past = {key: Kept(HISTORY_S, lambda span=span: self._read_past(span)) for key, span in SPANS.items()}  # type: ignore[misc]

    def moment(self) -> Moment:
        """Return how everything is."""
        return self._moment.get()

    def past(self, span: Span) -> Past:
        """Return how everything was."""
        return self._past[span.key].get()

    def _read_moment(self) -> Moment:
        now = time.time()
        of_parts = parts.read(Readings(self._told("samples", lambda: metrics.samples(self._app)) or ()))
        day = self._day.get()
        return Moment(
            at=now,
            host=socket.gethostname(),
            version=VERSION,
            environment=self._settings.environment,
            is_measured=self._settings.feature_monitoring,
            kept_at=max((at for points in day.values() for at, _ in points), default=None),
            targets=targets.figures(lambda series: day.get(series, ()), of_parts.memory_percent, now),
            alerts=self._told("alerts", lambda: sorted(alerts.states(self._app), key=_urgency)),
            events=self._told("alerts' history", lambda: alerts.history(self._app, EVENTS)),
            parts=of_parts,
            statements=self._told("statements", lambda: statements.figures(tallies.of(self._app), "p95")[:STATEMENTS]),
            flags=flags.states(self._settings),
            rollout=self._told("canary", lambda: canary.read(self._settings.haproxy_socket)),
        )

    def _read_day(self) -> dict[str, Points]:
        return self._series((*charts.SERIES, "availability_percent"), time.time() - DAY.seconds, "minute")

    def _read_past(self, span: Span) -> Past:
        now = time.time()
        since = now - span.seconds
        series = self._day.get() if span is DAY else self._series(charts.SERIES, since, span.step)
        hours = self._series(charts.SERIES, now - DAY.seconds, "hour")
        shown = {name: series.get(name, ()) for name in charts.SERIES}
        return Past(
            span=span,
            drawings=[charts.draw(chart, shown, since, now, span.step_s) for chart in charts.CHARTS],
            rows=charts.table(hours),
            columns=charts.columns(shown),
        )

    def _series(self, names: tuple[str, ...], since: float, step: Literal["minute", "hour"]) -> dict[str, Points]:
        def read() -> dict[str, Points]:
            return {name: history.points(self._app, name, since, step) for name in names}

        return self._told("history", read) or {}

    def _told(self, what: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except Exception:  # the rest of the page is wanted all the more
            log.exception("the dashboard cannot show a part: %s", what)
            return None


def _urgency(alert: AlertState) -> tuple[int, str]:
    return ("firing", "pending", "inactive").index(alert.state), alert.name
