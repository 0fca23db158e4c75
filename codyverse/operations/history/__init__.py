"""The last 24 hours by the minute, and the last 90 days by the hour, of a dozen figures.

The evaluator of alerts keeps them in the journal. There are no more than 1,440 minutes and 2,160 hours of each, however long an
installation runs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Literal

import orjson
from flask import Flask

from codyverse.operations import journal
from codyverse.operations.gauges import Sample
from codyverse.operations.history.figures import SERIES, Totals, figures, totals
from codyverse.operations.journal import Connection, Journal

__all__ = ["HOUR_S", "MINUTE_S", "SERIES", "History", "points"]

log = logging.getLogger("codyverse.performance")

MINUTE_S, HOUR_S = 60, 3600
KEPT_S = {"minute": 24 * HOUR_S, "hour": 90 * 24 * HOUR_S}
STEP_S = {"minute": MINUTE_S, "hour": HOUR_S}
LONGEST_GAP_S = 3 * MINUTE_S  # what was counted while nobody looked for longer belongs to no minute

_HOURLY = """
INSERT OR REPLACE INTO points SELECT series, 'hour', ?, avg(value) FROM points
WHERE step = 'minute' AND at >= ? AND at < ? GROUP BY series
"""


class History:
    """What writes."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._minute = -1

    def keep(self, samples: Iterable[Sample], now: float) -> None:
        """Keep the figures of the minute that ended, once, when the first ones of the next minute are there."""
        minute = int(now // MINUTE_S)
        if minute == self._minute:
            return
        found = list(samples)
        try:
            self._journal.write(lambda file: _keep(file, found, now, (minute - 1) * MINUTE_S))
        except journal.UNUSABLE as error:
            log.warning("figures could not be kept: %s", type(error).__name__)
        self._minute = minute


def _keep(file: Connection, samples: list[Sample], now: float, minute: int) -> None:
    row = file.execute("SELECT at, body FROM totals WHERE id = 1").fetchone()
    if row is not None and minute + MINUTE_S <= row[0] <= now:  # another process, that has ended since, kept this minute
        return
    total = totals(samples)
    recent = row is not None and 0 < now - row[0] <= LONGEST_GAP_S
    before, passed_s = (Totals(**orjson.loads(row[1])), now - row[0]) if recent else (None, 0.0)
    _write(file, minute, figures(before, total, passed_s, samples))
    file.execute("INSERT OR REPLACE INTO totals VALUES (1, ?, ?)", (now, orjson.dumps(asdict(total)).decode()))


def _write(file: Connection, minute: int, values: Mapping[str, float | None]) -> None:
    file.executemany("INSERT OR REPLACE INTO points VALUES (?, 'minute', ?, ?)", [(n, minute, v) for n, v in values.items()])
    hour = minute - minute % HOUR_S
    file.execute(_HOURLY, (hour, hour, hour + HOUR_S))
    for step, kept_s in KEPT_S.items():
        # What lies ahead was written before the clock was set back, and would stay for ever.
        file.execute("DELETE FROM points WHERE step = ? AND (at <= ? OR at > ?)", (step, minute - kept_s, minute))


def points(app: Flask, series: str, since: float, step: Literal["minute", "hour"]) -> list[tuple[float, float | None]]:
    """Return the values of a series from `since` on, each with the Unix time at which its minute or hour began.

    None stands for what is not known, also where nothing was kept between two values. Of an hour that has not ended there is what
    was kept so far.
    """

    def work(file: Connection) -> dict[int, float | None]:
        query = "SELECT at, value FROM points WHERE series = ? AND step = ? AND at >= ?"
        return dict(file.execute(query, (series, step, since)).fetchall())

    nothing: dict[int, float | None] = {}
    found = journal.of(app).read(work, nothing)
    if not found:
        return []
    moments = range(min(found), max(found) + 1, STEP_S[step])
    return [(float(moment), found.get(moment)) for moment in moments]
