"""The connections that a process has open: as many as are needed at once, up to a maximum, and few when there is nothing to do.

SQLAlchemy's QueuePool closes what is above its size as soon as it comes back, and with four threads that would be a connection
opened and closed a request. Here it stays until nobody has needed it for SPARE_S. The last one that came back is lent first, so
that those at the other end are the ones that are not needed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry

SPARE_S = 30.0
LOOKED_AFTER_S = 5.0  # how often, while there is more than is kept


@dataclass(frozen=True, slots=True)
class PoolState:
    """Connections lent and waiting to be lent, threads that wait for one, and how many connections there may be."""

    in_use: int
    idle: int
    waiting: int
    size: int


class Pool(sa.pool.Pool):
    """A pool of `most` connections, of which `kept` stay open for good."""

    def __init__(
        self,
        creator: Any,
        most: int = 20,
        kept: int = 2,
        wait_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
        look_after_s: float = LOOKED_AFTER_S,
        **options: Any,
    ) -> None:
        super().__init__(creator, **options)
        self._most = most
        self._kept = min(kept, most)
        self._wait_s = wait_s
        self._clock = clock
        self._look_after_s = look_after_s
        self._changed = threading.Condition(threading.Lock())
        self._idle: list[tuple[float, ConnectionPoolEntry]] = []  # and since when; the longest first
        self._open = 0  # idle, lent or being opened
        self._waiting = 0
        self._caretaker: threading.Thread | None = None
        self._ended = threading.Event()

    def state(self) -> PoolState:
        """Return what there is at this moment."""
        with self._changed:
            idle = len(self._idle)
            return PoolState(in_use=self._open - idle, idle=idle, waiting=self._waiting, size=self._most)

    def status(self) -> str:
        """Return the same as SQLAlchemy logs it."""
        return str(self.state())

    def idle_s(self, record: Any) -> float:
        """Return how long a connection that was just lent lay idle."""
        return self._clock() - float(record.info.get("idle_since", self._clock()))

    def give_up_spare(self) -> int:
        """Close what is above `kept` and was not needed for SPARE_S; returns how many connections are above it still."""
        with self._changed:
            old = sum(since <= self._clock() - SPARE_S for since, _ in self._idle)
            spare = min(old, max(0, self._open - self._kept))
            given_up, self._idle = self._idle[:spare], self._idle[spare:]
            self._open -= spare
            left = self._open - self._kept
        for _, record in given_up:
            record.close()
        return left

    def dispose(self) -> None:
        """Close what is idle, and what comes back."""
        self._ended.set()
        with self._changed:
            closed, self._idle = self._idle, []
            self._open -= len(closed)
            caretaker = self._caretaker
        for _, record in closed:
            record.close()
        if caretaker is not None and caretaker is not threading.current_thread():
            caretaker.join()

    def recreate(self) -> Pool:
        """Return a new pool like this one, as the engine wants when it has disposed of it."""
        return Pool(
            self._creator,
            self._most,
            self._kept,
            self._wait_s,
            self._clock,
            self._look_after_s,
            recycle=self._recycle,
            echo=self.echo,
            logging_name=self._orig_logging_name,
            reset_on_return=self._reset_on_return,
            _dispatch=self.dispatch,
            dialect=self._dialect,
        )

    def _do_get(self) -> ConnectionPoolEntry:
        with self._changed:
            if not self._idle and self._open >= self._most:
                self._waiting += 1
                try:
                    self._changed.wait_for(lambda: self._idle or self._open < self._most, self._wait_s)
                finally:
                    self._waiting -= 1
            if self._idle:
                return self._idle.pop()[1]
            if self._open >= self._most:
                raise sa.exc.TimeoutError(f"none of {self._most} connections came back within {self._wait_s} s")
            self._open += 1
        try:
            return self._create_connection()
        except BaseException:
            self._forget_one()
            raise

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        if record.dbapi_connection is None or self._ended.is_set():
            record.close()
            self._forget_one()
            return
        now = self._clock()
        record.info["idle_since"] = now
        with self._changed:
            self._idle.append((now, record))
            self._changed.notify()
            if self._open > self._kept and self._caretaker is None:
                self._caretaker = threading.Thread(target=self._take_care, name="pool", daemon=True)
                self._caretaker.start()

    def _forget_one(self) -> None:
        with self._changed:
            self._open -= 1
            self._changed.notify()

    def _take_care(self) -> None:
        # A process that has nothing to do lends nothing, so nobody else would come by and see what is not needed.
        while not self._ended.wait(self._look_after_s):
            self.give_up_spare()
            with self._changed:
                if self._open <= self._kept:
                    self._caretaker = None
                    return
