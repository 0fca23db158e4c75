"""A circuit breaker: a part that keeps failing is left alone for a while, and then tried by one caller at a time.

    closed      calls go through; `failures` of them within `window_s` open it
    open        calls are refused for `open_s`
    half-open   one call, the probe, goes through: its success closes the breaker, its failure opens it again

After Nygard, "Release It!", and report row R9. The lock is held around the state and never during a call. Every change of state
begins a new period, and a call reports with the period in which it began: what comes late, from before a change, says nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

import limits

PROBE_S = 10.0  # a probe that has not reported by then is taken for dead, and another one is let through


class State(StrEnum):
    """What a breaker does with calls."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


Listener = Callable[[str, State], None]


class BreakerOpen(Exception):
    """The call was not made. `retry_after_s` says when one may be let through again."""

    def __init__(self, name: str, retry_after_s: float) -> None:
        super().__init__(f"{name} is left alone for {retry_after_s:.1f} s more")
        self.name = name
        self.retry_after_s = retry_after_s


class Breaker:
    """The breaker of one part, of one process."""

    def __init__(
        self, name: str, failures: int, window_s: float, open_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.opened = 0  # how often
        self.since = clock()  # of the present state, by the clock
        self.listener: Listener | None = None  # hears of every new state, outside the lock
        self._most = failures
        self._window_s = window_s
        self._open_s = open_s
        self._clock = clock
        self._guard = threading.Lock()
        self._failed_at: deque[float] = deque()
        self._next_probe_at = 0.0
        self._now = (State.CLOSED, 1)  # and its period; one tuple, so that both are read at once without the lock

    @classmethod
    def of(cls, name: str, spec: str, open_s: float, clock: Callable[[], float] = time.monotonic) -> Breaker:
        """Return the breaker of a setting such as `5 per 30 seconds`."""
        limit = limits.parse(spec)
        return cls(name, limit.amount, limit.get_expiry(), open_s, clock)

    @property
    def state(self) -> State:
        """Return the present state; open lasts until a call comes that may probe."""
        return self._now[0]

    @property
    def troubled(self) -> bool:
        """Say whether the part has failed within the window, or is left alone."""
        with self._guard:
            self._forget(self._clock())
            return bool(self._failed_at) or self._now[0] is not State.CLOSED

    def allow(self) -> int:
        """Return the period to report with, once, by one of the next three. Raises BreakerOpen."""
        state, period = self._now
        if state is State.CLOSED:
            return period
        with self._guard:
            state, period = self._now
            now = self._clock()
            if state is State.CLOSED:
                return period
            if now < self._next_probe_at:
                raise BreakerOpen(self.name, min(self._next_probe_at - now, self._open_s))
            period = self._turn(State.HALF_OPEN, now, next_probe_at=now + max(PROBE_S, self._open_s))
        if state is not State.HALF_OPEN:  # else it was so already, with a probe that died
            self._tell(State.HALF_OPEN)
        return period

    def succeeded(self, period: int) -> None:
        """Hear that the call found the part well."""
        if self._now[0] is State.CLOSED:
            return
        with self._guard:
            if self._now != (State.HALF_OPEN, period):
                return
            self._turn(State.CLOSED, self._clock())
        self._tell(State.CLOSED)

    def failed(self, period: int) -> None:
        """Hear that the part failed the call."""
        with self._guard:
            state, present = self._now
            if period != present or state is State.OPEN:
                return
            now = self._clock()
            if state is State.CLOSED:
                self._failed_at.append(now)
                self._forget(now)
                if len(self._failed_at) < self._most:
                    return
            self._failed_at.clear()
            self.opened += 1
            self._turn(State.OPEN, now, next_probe_at=now + self._open_s)
        self._tell(State.OPEN)

    def unused(self, period: int) -> None:
        """Hear that the call came to nothing before it met the part: the next one may probe instead."""
        with self._guard:
            if self._now == (State.HALF_OPEN, period):
                self._next_probe_at = self._clock()

    @contextmanager
    def call(self, *failures: type[BaseException]) -> Iterator[None]:
        """Make the block a call which fails when it raises one of these. Raises BreakerOpen instead of beginning it."""
        period = self.allow()
        try:
            yield
        except failures:
            self.failed(period)
            raise
        except BaseException:
            self.unused(period)
            raise
        self.succeeded(period)

    def _turn(self, state: State, now: float, next_probe_at: float = 0.0) -> int:
        self._now = (state, self._now[1] + 1)
        self._next_probe_at = next_probe_at
        self.since = now
        return self._now[1]

    def _forget(self, now: float) -> None:
        while self._failed_at and self._failed_at[0] <= now - self._window_s:
            self._failed_at.popleft()

    def _tell(self, state: State) -> None:
        if self.listener is not None:
            self.listener(self.name, state)


class NullBreaker(Breaker):
    """A breaker that stays closed, for `feature_circuit_breaker` off."""

    def __init__(self, name: str) -> None:
        super().__init__(name, failures=1, window_s=1, open_s=1)

    def failed(self, period: int) -> None:
        """Do nothing."""
