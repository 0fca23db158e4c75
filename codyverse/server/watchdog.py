"""Finds threads that do not come back from a request, which gunicorn's own timeout does not: it watches the event loop only.

The stack of such a thread is logged once, without the values in it; then its worker is replaced, and ends although the thread
does not. When the event loop itself is stuck, the master sends SIGABRT after `timeout`: the stacks of all threads are written.
"""

from __future__ import annotations

import faulthandler
import itertools
import logging
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from codyverse.operations.logging import end as end_log

log = logging.getLogger("codyverse.performance")

EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Stuck:
    """A thread that does not come back."""

    what: str
    seconds: float
    stack: str

    @property
    def reason(self) -> str:
        """Return why the worker is to be replaced."""
        return f"a thread is stuck for {self.seconds:.0f} s in {self.what}"


@dataclass(frozen=True, slots=True)
class _Request:
    number: int
    what: str
    began: float
    deadline: float


class Watchdog:
    """The requests that threads of one worker are answering."""

    def __init__(
        self,
        deadline_s: float,
        count: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        end: Callable[[int], None] = os._exit,
    ) -> None:
        self._deadline_s = deadline_s
        self._count = count
        self._clock = clock
        self._end = end
        self._due = -math.inf
        self._numbers = itertools.count()
        self._running: dict[int, _Request] = {}  # by thread: each writes its own, which needs no lock
        self._told: set[int] = set()

    def begin(self, thread_id: int, what: str, deadline_s: float | None = None) -> None:
        """Hear what a thread begins: method and path. `deadline_s` is `math.inf` for a stream, None for the setting."""
        now = self._clock()
        deadline = now + (self._deadline_s if deadline_s is None else deadline_s)
        self._running[thread_id] = _Request(next(self._numbers), what, now, deadline)

    def end(self, thread_id: int) -> None:
        """Hear that it is done."""
        self._running.pop(thread_id, None)

    def check(self) -> Stuck | None:
        """Return a request that is beyond its deadline, once, and log where its thread is. Looks every half second."""
        now = self._clock()
        if now < self._due:
            return None
        self._due = now + EVERY_S
        for thread_id, request in list(self._running.items()):
            if now >= request.deadline and request.number not in self._told:
                self._told.add(request.number)
                return self._tell(thread_id, request, now)
        return None

    def end_process_within(self, seconds: float) -> None:
        """End the process after so long, whatever its threads do. Called when a worker with a stuck thread ends."""
        timer = threading.Timer(seconds, self._end_process)
        timer.daemon = True  # when everything went well there is nothing to end
        timer.start()

    def _tell(self, thread_id: int, request: _Request, now: float) -> Stuck:
        frame = sys._current_frames().get(thread_id)
        stuck = Stuck(request.what.partition("?")[0], now - request.began, _stack(frame))
        self._count("worker:stuck")
        log.error("%s:\n%s", stuck.reason, stuck.stack)
        return stuck

    def _end_process(self) -> None:
        running = ", ".join(request.what.partition("?")[0] for request in list(self._running.values())) or "nothing"
        log.error("worker %d ends although its threads do not: %s", os.getpid(), running)
        end_log()  # nothing else writes what waits when a process ends like this
        self._end(1)


def _stack(frame: FrameType | None) -> str:
    return "".join(traceback.format_stack(frame)) if frame is not None else "the thread has ended"


def write_stacks_on_abort() -> None:
    """Have the stacks of all threads written to standard error when gunicorn's master aborts this worker, or it crashes.

    Gunicorn's own handler waits until the event loop runs Python code again, which may never be. This one does not wait, and ends
    the process: what other threads had in hand is lost either way, and what was only counted with it.
    """
    faulthandler.enable(all_threads=True)
