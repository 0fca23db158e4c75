"""Doing again what failed and may succeed: seldom, after a wait of chance, and never so often that it adds to the trouble.

A use case that opens its own transaction is marked

    @repeatable
    def leave(database: Database, ...): ...

and then runs again as a whole when its transaction lost against another one. The wait is exponential with full jitter (Brooker,
"Exponential Backoff And Jitter", 2015). The budget is a token bucket: however much fails, a process makes one attempt more for
every ten that it makes anyway.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast

import tenacity

ATTEMPTS = 3
SHORTEST_WAIT_S = 0.05  # the first wait is up to this, the second up to twice as much
LONGEST_WAIT_S = 0.5
EARNED = 0.1  # by every first attempt; a retry costs 1
CREDIT = 3.0  # to begin with
MOST = 10.0

P = ParamSpec("P")
R = TypeVar("R")


class Budget:
    """How many retries a process may still make."""

    def __init__(self) -> None:
        self._left = CREDIT
        self._guard = threading.Lock()

    def earn(self) -> None:
        """Hear of a first attempt."""
        with self._guard:
            self._left = min(MOST, self._left + EARNED)

    def spend(self) -> bool:
        """Take a retry out of the budget; says whether there was one in it."""
        with self._guard:
            if self._left < 1.0:
                return False
            self._left -= 1.0
            return True


class Retries:
    """The retries of one part. `reason` says in a word why an error is worth another attempt, and None when it is not."""

    def __init__(self, reason: Callable[[BaseException], str | None], sleep: Callable[[float], None] = time.sleep) -> None:
        self.budget = Budget()
        self.listener: Callable[[str], None] | None = None  # hears the reason of every retry, and `budget` for one not made
        self._within = threading.local()
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: reason(error) is not None),
            stop=self._stop,
            wait=tenacity.wait_random_exponential(multiplier=SHORTEST_WAIT_S, max=LONGEST_WAIT_S),
            before_sleep=lambda state: self.tell(reason(_error(state)) or ""),
            sleep=sleep,
            reraise=True,
        )

    def run(self, work: Callable[[], R]) -> R:
        """Return what `work` returns, at its first, second or third attempt; raises what the last one raised."""
        self.earn()
        if getattr(self._within, "run", False):
            return self._retrying(work)
        self._within.run = True
        try:
            return self._retrying(work)
        finally:
            self._within.run = False

    def earn(self) -> None:
        """Hear of a first attempt. What is done within `run` is part of that one."""
        if not getattr(self._within, "run", False):
            self.budget.earn()

    def afford(self) -> bool:
        """Pay for a retry; says whether the budget allows it."""
        paid = self.budget.spend()
        if not paid:
            self.tell("budget")
        return paid

    def _stop(self, state: tenacity.RetryCallState) -> bool:
        # The budget is asked last, so that only a retry that is made is paid for.
        return state.attempt_number >= ATTEMPTS or not self.afford()

    def tell(self, reason: str) -> None:
        """Let the listener hear."""
        if self.listener is not None:
            self.listener(reason)


class Retried(Protocol):
    """What a use case works on: the database."""

    @property
    def retries(self) -> Retries:
        """Return the retries that it shares with every other use case."""


D = TypeVar("D", bound=Retried)


def repeatable(use_case: Callable[Concatenate[D, P], R]) -> Callable[Concatenate[D, P], R]:
    """Mark a use case that may run again as a whole: all that it does is in its one transaction, which the failure undid."""

    @wraps(use_case)
    def run(database: D, *args: P.args, **kwargs: P.kwargs) -> R:
        return database.retries.run(lambda: use_case(database, *args, **kwargs))

    return cast(Callable[Concatenate[D, P], R], run)


def _error(state: tenacity.RetryCallState) -> BaseException:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert error is not None
    return error
