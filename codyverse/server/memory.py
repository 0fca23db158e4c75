"""What a worker does about its memory (RSS against its budget, see `budget`).

    75 %    warns, and halves what it keeps to answer faster
    85 %    empties that, collects garbage, and gives memory that is free back to the system
    95 %    asks to be replaced (see `replacement`), and names what grew
    100 %   does not wait for its replacement for long

Each acts once when it is reached, and again only after memory fell well below it. Before that a worker that grows steadily is
replaced at a quiet moment, when its trend says that it will come to that soon.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import math
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from codyverse.operations.components import Components
from codyverse.server import budget
from codyverse.server.budget import MEGABYTE
from codyverse.server.trend import Trend
from config import Settings

log = logging.getLogger("codyverse.performance")

EVERY_S = 0.1
LINES = 5  # of what grew most

Count = Callable[..., None]


class Level(IntEnum):
    """How much of its budget a worker holds."""

    CALM = 0
    WARNED = 1
    COLLECTED = 2
    RETIRING = 3
    EMERGENCY = 4


@dataclass(frozen=True, slots=True)
class Verdict:
    """A worker is to be replaced. In an emergency it does not wait for the new one for long."""

    reason: str
    emergency: bool = False


class Memory:
    """Watches one worker. Made in the worker, whose thread of the event loop asks it."""

    def __init__(
        self,
        settings: Settings,
        workers: int,
        parts: Components,
        count: Count,
        clock: Callable[[], float] = time.monotonic,
        rss: Callable[[], int] = budget.rss_bytes,
    ) -> None:
        self.budget_bytes = budget.budget_bytes(settings, workers)
        self.level = Level.CALM
        self._settings = settings
        self._parts = parts
        self._count = count
        self._clock = clock
        self._rss = rss
        self._due = -math.inf
        self._foreseen = False
        self._traces = False
        self._trend = Trend(settings.memory_window_requests)
        percents = (settings.memory_warn_percent, settings.memory_collect_percent, settings.memory_retire_percent, 100.0)
        self._thresholds = [0.0, *(self.budget_bytes * percent / 100 for percent in percents)]
        self._relief = self.budget_bytes * settings.memory_relief_percent / 100
        parts.add("memory", self.close, health=self.health)

    def check(self, requests: int, running: int) -> Verdict | None:
        """Return why the worker is to be replaced, once for each reason; `requests` it answered, `running` it has in hand."""
        now = self._clock()
        if now < self._due:
            return None
        self._due = now + EVERY_S
        rss = self._rss()
        self._trend.add(requests, rss, now)
        if rss >= self._next_threshold():
            return self._rise(rss)
        if self.level and rss < self._thresholds[self.level] - self._relief:
            self._fall(rss)
        return self._foresee(rss, running)

    def health(self) -> dict[str, Any]:
        """Return what the worker holds and may hold, and how it grows."""
        slope = self._trend.slope
        return {
            "status": "ok" if self.level < Level.RETIRING else "retiring",
            "level": self.level.name.lower(),
            "rss_mb": round(self._rss() / MEGABYTE, 1),
            "budget_mb": round(self.budget_bytes / MEGABYTE, 1),
            "bytes_a_request": None if slope is None else round(slope),
        }

    def close(self) -> None:
        """Stop tracing."""
        if self._traces:
            self._traces = False
            tracemalloc.stop()

    def _next_threshold(self) -> float:
        return self._thresholds[self.level + 1] if self.level < Level.EMERGENCY else math.inf

    def _rise(self, rss: int) -> Verdict | None:
        """Do what each level asks for that was reached; what the first ones give back may spare the worker the others."""
        verdict = None
        while rss >= self._next_threshold():
            self.level = Level(self.level + 1)
            self._count(f"memory:{self.level.name.lower()}")
            if self.level == Level.WARNED:
                self._warn(rss)
            elif self.level == Level.COLLECTED:
                rss = self._collect(rss)
            else:
                reason = f"it holds {_mb(rss)} of {_mb(self.budget_bytes)}"
                verdict = Verdict(reason, emergency=self.level == Level.EMERGENCY)
                if self.level == Level.RETIRING:
                    self._report(rss)
        return verdict

    def _warn(self, rss: int) -> None:
        log.warning("memory: %s of %s; what is kept is halved", _mb(rss), _mb(self.budget_bytes))
        self._parts.shrink(0.5)
        self._trace()

    def _collect(self, rss: int) -> int:
        self._parts.shrink(0.0)
        self._parts.shrink(0.5)
        gc.collect()
        _give_back()
        left = self._rss()
        log.warning("memory: %s of %s; %s were given back", _mb(rss), _mb(self.budget_bytes), _mb(rss - left))
        return left

    def _fall(self, rss: int) -> None:
        while self.level and rss < self._thresholds[self.level] - self._relief:
            self.level = Level(self.level - 1)
        self._trend.forget()
        if self.level == Level.CALM:
            self._parts.shrink(1.0)
            log.warning("memory: %s of %s; there is room again", _mb(rss), _mb(self.budget_bytes))

    def _foresee(self, rss: int, running: int) -> Verdict | None:
        trend, settings = self._trend, self._settings
        if not trend.steady or self._foreseen or self.level >= Level.RETIRING:
            return None
        self._trace()
        growth = (trend.slope or 0.0) * trend.requests_a_second
        left_s = (self._thresholds[Level.RETIRING] - rss) / growth if growth > 0 else math.inf
        if left_s >= settings.memory_forecast_s or running > settings.memory_quiet_requests:
            return None
        self._foreseen = True
        self._count("memory:foreseen")
        self._report(rss)
        return Verdict(f"its memory grows, and would last for {left_s:.0f} s more")

    def _report(self, rss: int) -> None:
        """Say how fast memory grew, and where what was allocated since tracing began comes from."""
        slope, requests = self._trend.slope, self._trend.requests
        if slope is None:
            log.warning("memory leak: %s of %s after too few requests to say more", _mb(rss), _mb(self.budget_bytes))
        elif slope > 0:
            self._count("memory-leak:requests", requests)
            self._count("memory-leak:bytes", int(slope * requests))
            log.warning(
                "memory leak: %.0f bytes a request over %d requests, %s of %s", slope, requests, _mb(rss), _mb(self.budget_bytes)
            )
        for line in self._grown_most():
            log.warning("memory leak: grown most: %s", line)

    def _trace(self) -> None:
        if self._settings.memory_trace and not self._traces:
            self._traces = True
            tracemalloc.start()

    def _grown_most(self) -> list[str]:
        if not self._traces:
            return []
        own = tracemalloc.Filter(False, tracemalloc.__file__)
        found = tracemalloc.take_snapshot().filter_traces([own]).statistics("lineno")[:LINES]
        return [f"{each.traceback[0].filename}:{each.traceback[0].lineno} {_mb(each.size)} in {each.count} blocks" for each in found]


def _mb(amount: float) -> str:
    return f"{amount / MEGABYTE:.1f} MB"


def _give_back() -> None:
    with suppress(OSError, AttributeError):  # another C library than glibc has no such function
        ctypes.CDLL(None).malloc_trim(0)
