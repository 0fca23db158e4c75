"""The queue between a worker's event loop and its threads: who is served next, and who is told at once to come back later.

Served is the best class that may have one more thread, and the oldest of it. No class gets every thread, and the last one is kept
for health and sign-in, so that both are answered while everything else hangs; streams and slow bodies have a share of their own.

Shed is on arrival, by the wait that is to be expected, so that who is refused hears it in milliseconds and may try elsewhere. The
time spent in the queue, not its length, tells an overload (Nichols and Jacobson, "Controlling Queue Delay", 2012; Zhou et al.,
"Overload Control for Scaling WeChat Microservices", SoCC 2018, which also sheds by class). The wait is estimated from the work
ahead and, as a check on what that does not see, from the age of who waits at the head of the line (Ibrahim and Whitt, "Real-Time
Delay Estimation Based on Delay History", 2009). Whoever finds nobody waiting is admitted, so a wrong estimate mends itself.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from bisect import bisect_left, insort
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from codyverse.server.classes import Class, classify, waiting_since
from config import Settings

__all__ = ["Admission", "Class", "classify", "for_worker", "waiting_since"]

T = TypeVar("T")

# How long a class may wait, in multiples of `admission_wait_s`.
PATIENCE = {
    Class.HEALTH: 5.0,
    Class.AUTH: 4.0,
    Class.SUBMISSION: 3.0,
    Class.API: 1.0,
    Class.STREAM: 5.0,
    Class.SLOW: 3.0,
    Class.PAGE: 1.0,
    Class.STATIC: 0.5,
}
LONG = frozenset({Class.STREAM, Class.SLOW})

EARLY = 0.5  # the share of its budget that a wait may be expected to take: an estimate errs, and who is admitted is to be served
FIRST_GUESS_S = 0.005
SMOOTHING = 0.1  # what the newest service time counts in the mean
LOAD_OVER_S = 2.0
HIGHEST_LOAD = 0.95  # of better classes, beyond which waits are not told apart
WAITS_S = (0.01, 0.1, 1.0)

ADMITTED, FULL, LATE, CLOSED = "admitted", "full", "late", "closed"


class _Waiting(NamedTuple):
    since: float
    number: int  # in the order of arrival, so that two of the same moment are told apart before their items are compared
    item: Any


class Admission(Generic[T]):
    """Requests that wait for one of so many threads, at most `depth` of them; any thread may call it at any time."""

    def __init__(
        self,
        threads: int,
        depth: int,
        count: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        wait_s: float = 1.0,
        stream_threads: int = 2,
    ) -> None:
        self._threads = threads
        self._depth = depth
        self._count = count
        self._clock = clock
        self._budgets = {klass: wait_s * patience for klass, patience in PATIENCE.items()}
        self._most_ordinary = max(1, threads - 1)
        self._most_long = max(1, threads - 2)
        self._most = dict.fromkeys(Class, self._most_ordinary) | {
            Class.STREAM: min(stream_threads, self._most_long),
            Class.SLOW: max(1, threads // 4),
            Class.STATIC: max(1, threads // 2),
        }
        self._lines: dict[Class, list[_Waiting]] = {klass: [] for klass in Class}
        self._size = 0
        self._running = dict.fromkeys(Class, 0)
        self._busy = self._ordinary = self._long = 0  # sums of the same: of all, of those below sign-in, of those that last
        self._service_s = dict.fromkeys(Class, FIRST_GUESS_S)
        self._loads = {klass: _Load() for klass in Class}
        self._numbers = itertools.count()
        self._closed = False
        self._change = threading.Condition(threading.Lock())

    def put(self, klass: Class, item: T, since: float) -> list[tuple[Class, T]]:
        """Queue an item that has been waiting since then; returns what is shed because of it.

        That is the newest of the worst class, so long as a worse one than the item's waits, else the item itself.
        """
        now = self._clock()
        with self._change:
            why = self._why_not(klass, since, now)
            if why is None:
                self._add(klass, item, since)
                return []
            instead = self._worst_behind(klass, why) if now - since <= self._budgets[klass] else None
            if instead is None:
                shed: tuple[Class, T] = klass, item
            else:
                shed = instead, self._take(instead, -1).item
                self._add(klass, item, since)
        self._count(f"admission:{shed[0].name.lower()}:{why}")
        return [shed]

    def get(self) -> tuple[Class, T] | None:
        """Return who is served next by this thread, which says `done` afterwards. Waits; None once closed."""
        with self._change:
            while (klass := self._next()) is None:
                if self._closed:
                    return None
                self._change.wait()
            waiting = self._take(klass, 0)
            self._hold(klass, 1)
        waited = WAITS[bisect_left(WAITS_S, self._clock() - waiting.since)]
        self._count(f"admission:{klass.name.lower()}:{ADMITTED}")
        self._count(f"admission-waits:{klass.name.lower()}:{waited}")
        return klass, waiting.item

    def done(self, klass: Class, seconds: float) -> None:
        """Hear that an item that was got has been served, which took so long: its thread is free."""
        now = self._clock()
        with self._change:
            self._hold(klass, -1)
            self._service_s[klass] += SMOOTHING * (seconds - self._service_s[klass])
            self._loads[klass].add(seconds, now)
            if self._size:
                self._change.notify()  # a thread that waited because this class, or all of them, had enough

    def expired(self) -> list[tuple[Class, T]]:
        """Remove and return who has waited beyond the budget of its class; once closed, everybody."""
        if not self._size:
            return []
        now, late = self._clock(), []
        with self._change:
            for klass, line in self._lines.items():
                while line and (self._closed or now - line[0].since > self._budgets[klass]):
                    late.append((klass, self._take(klass, 0).item))
        for klass, _ in late:
            self._count(f"admission:{klass.name.lower()}:{CLOSED if self._closed else LATE}")
        return late

    def close(self) -> None:
        """Admit and serve nobody any more; `expired` returns who waits."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    def waiting(self) -> dict[Class, int]:
        """Return how many wait, by class."""
        with self._change:
            return {klass: len(line) for klass, line in self._lines.items()}

    def running(self) -> dict[Class, int]:
        """Return how many threads each class has."""
        with self._change:
            return dict(self._running)

    # What follows is called by who holds the lock.

    def _add(self, klass: Class, item: T, since: float) -> None:
        insort(self._lines[klass], _Waiting(since, next(self._numbers), item))
        self._size += 1
        self._change.notify()

    def _take(self, klass: Class, place: int) -> _Waiting:
        self._size -= 1
        return self._lines[klass].pop(place)

    def _hold(self, klass: Class, threads: int) -> None:
        self._running[klass] += threads
        self._busy += threads
        self._ordinary += threads if klass > Class.AUTH else 0
        self._long += threads if klass in LONG else 0

    def _next(self) -> Class | None:
        """Return the best class of which somebody waits that may have one more thread."""
        if self._closed or not self._size:
            return None
        return next((klass for klass, line in self._lines.items() if line and self._may_have_thread(klass)), None)

    def _may_have_thread(self, klass: Class) -> bool:
        if self._running[klass] >= self._most[klass]:
            return False
        if klass <= Class.AUTH:
            return True
        return self._ordinary < self._most_ordinary and (klass not in LONG or self._long < self._most_long)

    def _why_not(self, klass: Class, since: float, now: float) -> str | None:
        """Return why an arrival cannot be admitted as things are, None when it can."""
        if self._closed:
            return CLOSED
        if self._size >= self._depth:
            return FULL
        if self._finds_thread(klass):
            return None
        left_s = self._budgets[klass] - (now - since)
        return LATE if left_s < 0 or self._expected_wait_s(klass, now) > EARLY * left_s else None

    def _finds_thread(self, klass: Class) -> bool:
        """Say whether a thread has nothing to do but this."""
        idle = self._threads - self._busy
        if not idle or not self._may_have_thread(klass):
            return False
        if not self._size:
            return True
        before = sum(len(line) for other, line in self._lines.items() if other <= klass and self._may_have_thread(other))
        return before < idle

    def _expected_wait_s(self, klass: Class, now: float) -> float:
        ahead = [other for other in self._ahead(klass) if self._lines[other]]
        if not ahead:
            return 0.0
        threads = self._threads_for(klass)
        work_s = sum(len(self._lines[other]) * self._service_s[other] for other in ahead) / threads
        # While this one waits, more of the better classes will come and go first (Cobham's formula for queues with priorities).
        load = sum(self._loads[other].threads(now) for other in self._ahead(klass) if other < klass) / threads
        oldest_s = max(now - self._lines[other][0].since for other in ahead)
        return max(work_s / (1 - min(load, HIGHEST_LOAD)), oldest_s)

    @staticmethod
    def _ahead(klass: Class) -> list[Class]:
        """Return whose line is served before the end of this one's. What is long waits for its own share of the threads."""
        return [klass] if klass in LONG else [other for other in Class if other <= klass and other not in LONG]

    def _threads_for(self, klass: Class) -> int:
        most = self._most[klass]
        return most if klass in LONG else max(1, min(most, self._most_ordinary - self._long))

    def _worst_behind(self, klass: Class, why: str) -> Class | None:
        """Return the worst class, worse than this one, of which somebody waits: who goes instead of an arrival, None for nobody.

        When the wait is too long, shedding a stream would help nobody who waits for other threads, and the other way round.
        """
        if why == CLOSED or (why == LATE and klass in LONG):
            return None
        behind = [other for other, line in self._lines.items() if line and other > klass and (why == FULL or other not in LONG)]
        return max(behind, default=None)


class _Load:
    """How many threads a class held on average during the last seconds; what is older counts less and less."""

    def __init__(self) -> None:
        self._seconds = self._at = 0.0

    def add(self, seconds: float, now: float) -> None:
        self._seconds = self._seconds * self._kept(now) + seconds
        self._at = now

    def threads(self, now: float) -> float:
        return self._seconds * self._kept(now) / LOAD_OVER_S

    def _kept(self, now: float) -> float:
        return math.exp((self._at - now) / LOAD_OVER_S)


WAITS = (*(f"{seconds:g} s" for seconds in WAITS_S), "longer")


def for_worker(settings: Settings, threads: int, count: Callable[[str], None]) -> Admission[Any]:
    """Return the queue of a worker that has so many threads."""
    return Admission(
        threads,
        settings.admission_queue,
        count,
        wait_s=settings.admission_wait_s,
        stream_threads=settings.admission_stream_threads,
    )
