"""The queue between event loop and threads, without threads: a test moves its clock, and waiting for nobody is an error."""

from __future__ import annotations

from collections import Counter
from typing import Any

from codyverse.server.admission import Admission, Class

ORDINARY = [klass for klass in Class if klass > Class.AUTH]


class Time:
    """A monotonic clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class WouldWaitError(Exception):
    """There is nobody whom this thread may serve now."""


class Bench:
    """A queue whose clock is the test's, and of which `get` says that it would wait instead of waiting."""

    def __init__(self, threads: int = 4, depth: int = 1000, **more: Any) -> None:
        self.time = Time()
        self.counts: Counter[str] = Counter()
        self.queue: Admission[Any] = Admission(threads, depth, self.count, self.time, **more)
        self.queue._change.wait = self._would_wait  # type: ignore[method-assign]

    def count(self, name: str) -> None:
        self.counts[name] += 1

    def put(self, klass: Class, item: Any = None, age_s: float = 0.0) -> list[tuple[Class, Any]]:
        return self.queue.put(klass, item, self.time.now - age_s)

    def get(self) -> tuple[Class, Any] | None:
        return self.queue.get()

    def take_all(self) -> list[Class]:
        """Have as many threads take somebody as may, and return whom they took."""
        taken = []
        while True:
            try:
                got = self.get()
            except WouldWaitError:
                return taken
            assert got is not None
            taken.append(got[0])

    def teach(self, klass: Class, seconds: float) -> None:
        """Have requests of a class take so long, as far as the queue has seen, without any load by them now."""
        for _ in range(100):
            self.put(klass)
            assert self.get()
            self.queue.done(klass, seconds)
        self.time.now += 600

    @staticmethod
    def _would_wait(timeout: float | None = None) -> bool:
        raise WouldWaitError
