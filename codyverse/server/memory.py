"""What a worker does about its memory (RSS against its budget, see `budget`).

    75 %    warns, and halves what it keeps to answer faster
    85 %    empties that, collects garbage, and gives memory that is free back to the system
    95 %    asks to be replaced (see `replacement`), and names what grew
    100 %   does not wait for its replacement for long

Each acts once when it is reached, and again only after memory fell well below it. A worker that grows steadily is replaced at a
quiet moment before, when its trend says that it will come to that soon; and one that was warned and grows so fast that it would
come to that before a new one serves asks at once.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import math
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from statistics import median
from typing import Any

from codyverse.operations.components import Components
from codyverse.server import budget
from codyverse.server.budget import MEGABYTE
from codyverse.server.trend import Trend
from config import Settings

log = logging.getLogger("codyverse.memory")

EVERY_S = 0.1
LOOKS = 10  # that tell how fast it grows right now
LINES, LEAST_BYTES = 5, 100_000  # of what grew most

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
        self._foreseen = self._urged = self._traces = False
        self._last: tuple[int, int] | None = None
        self._began: tuple[int, int] | None = None  # requests and RSS
        self._looks: deque[tuple[float, int]] = deque(maxlen=LOOKS)
        self._trend = Trend(settings.memory_window_requests)
        percents = (settings.memory_warn_percent, settings.memory_collect_percent, settings.memory_retire_percent, 100.0)
        self._thresholds = [0.0, *(self.budget_bytes * percent / 100 for percent in percents)]
        self._relief = self.budget_bytes * settings.memory_relief_percent / 100
        parts.add("memory", self.close, health=self.health)

    def tell(self, tell: Callable[[str, Mapping[str, str], Callable[[], float | None]], None]) -> None:
        """Have told what the worker holds, and may hold."""
        tell("codyverse_worker_memory_bytes", {}, lambda: self._rss() or None)
        tell("codyverse_worker_memory_budget_bytes", {}, lambda: self.budget_bytes)

    def check(self, requests: int, running: int) -> Verdict | None:
        """Return why the worker is to be replaced, once for each reason; `requests` it answered, `running` it has in hand."""
        now = self._clock()
        if now < self._due:
            return None
        self._due = now + EVERY_S
        rss = self._rss()
        self._last = requests, rss
        self._began = self._began or self._last
        self._looks.append((now, rss))
        self._trend.add(requests, rss, now)
        if rss >= self._next_threshold():
            return self._rise(rss)
        if self.level and rss < self._thresholds[self.level] - self._relief:
            self._fall(rss)
        return self._hurry(rss) or self._foresee(rss, running)

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
        self._looks.clear()
        if self.level == Level.CALM:
            self._parts.shrink(1.0)
            log.warning("memory: %s of %s; there is room again", _mb(rss), _mb(self.budget_bytes))

    def _hurry(self, rss: int) -> Verdict | None:
        """Return a verdict when memory would reach the last level before a new worker can serve."""
        looks = self._looks
        if self._urged or len(looks) < LOOKS or not Level.WARNED <= self.level < Level.RETIRING:
            return None
        pairs = zip(list(looks)[: LOOKS // 2], list(looks)[LOOKS // 2 :], strict=True)
        growth = median((later[1] - earlier[1]) / (later[0] - earlier[0]) for earlier, later in pairs)
        if rss + growth * self._settings.memory_replacement_s < self._thresholds[Level.RETIRING]:
            return None
        self._urged = True
        self._count("memory:urgent")
        return Verdict(f"it holds {_mb(rss)} of {_mb(self.budget_bytes)}, and {_mb(growth)} more every second")

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
        return Verdict(f"its memory grows, and would last for {left_s:.0f} s more")

    def report(self) -> None:
        """Say how fast memory grew, and where what was allocated since tracing began comes from. Called when the worker ends."""
        if self._last is None or self._began is None or not (self.level or self._foreseen):
            return
        requests, grown = self._last[0] - self._began[0], float(self._last[1] - self._began[1])
        if self._trend.slope is not None:  # not what the process needed to warm up
            requests = self._trend.requests
            grown = self._trend.slope * requests
        if requests <= 0 or grown <= 0:
            return
        self._count("memory-leak:requests", requests)
        self._count("memory-leak:bytes", int(grown))
        rate, rss = grown / requests, self._last[1]
        log.warning(
            "memory leak: %.0f bytes a request over %d requests, %s of %s", rate, requests, _mb(rss), _mb(self.budget_bytes)
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
        large = [each for each in found if each.size >= LEAST_BYTES]
        return [f"{each.traceback[0]} {_mb(each.size)} in {each.count} blocks" for each in large]


def _mb(amount: float) -> str:
    return f"{amount / MEGABYTE:.1f} MB"


def _give_back() -> None:
    with suppress(OSError, AttributeError):  # another C library than glibc has no such function
        ctypes.CDLL(None).malloc_trim(0)
