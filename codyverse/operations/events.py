"""Events of little weight: what was looked at, for how long. They are worth less than the request that brings them.

A request leaves its events in a queue of the process and goes on. One thread writes them, PER_STATEMENT in a statement as soon as
there are that many, and none waits longer than LONGEST_WAIT_S. While writing fails they are kept and tried again, less and less
often; what finds no room is dropped and counted, and so is what cannot be written at the end of the process. The thread begins
with the first event of a process, so that a fork has one of its own, and nothing of its parent's to write.

Accepted risks: a process that is killed takes its queue with it; a commit whose answer is lost is tried again, so that its events
may be written twice.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Protocol

Event = dict[str, Any]
Write = Callable[[list[Event]], None]
Count = Callable[[str, float], None]

PER_STATEMENT = 50
LONGEST_WAIT_S = 1.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0  # after the first failure and after many
CLOSE_S = 10.0  # for the statement that is under way at the end: longer than the database's own timeouts

WRITTEN, DROPPED = "events:written", "events:dropped"

log = logging.getLogger("codyverse.performance")


class Events(Protocol):
    """Where requests leave their events."""

    def add(self, events: Sequence[Event]) -> int:
        """Return how many of the events are accepted: the first ones. The others are dropped, and counted. Never raises."""

    def close(self) -> None:
        """Write what was accepted; later events are dropped."""


class Unqueued:
    """Writes events within the request that brings them."""

    def __init__(self, write: Write, count: Count) -> None:
        self._write = write
        self._count = count

    def add(self, events: Sequence[Event]) -> int:
        """Write the events; those that cannot be written are dropped."""
        written = 0
        try:
            for start in range(0, len(events), PER_STATEMENT):
                part = list(events[start : start + PER_STATEMENT])
                self._write(part)
                written += len(part)
        except Exception as error:
            log.warning("events cannot be written: %s", type(error).__name__)
        for name, number in ((WRITTEN, written), (DROPPED, len(events) - written)):
            if number:
                self._count(name, number)
        return written

    def close(self) -> None:
        """Do nothing: nothing waits."""


class Queued:
    """Writes events in a thread of the process that they come to."""

    def __init__(self, write: Write, room: int, count: Count, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._room = room
        self._count = count
        self._clock = clock
        self._processes: dict[int, _Process] = {}

    def add(self, events: Sequence[Event]) -> int:
        """Queue the events."""
        return self._mine().add(events)

    def close(self) -> None:
        """Write what waits in this process, and end its thread."""
        self._mine().close()

    def _mine(self) -> _Process:
        # No lock: a fork may happen while another thread holds it. `setdefault` gives every thread the same one.
        mine = self._processes.get(os.getpid())
        if mine is None:
            new = _Process(Queue(self._write, self._room, self._count, self._clock), self._count)
            mine = self._processes.setdefault(os.getpid(), new)
        return mine


class Queue:
    """Events in the order of their coming. Any thread adds; only one at a time may write."""

    def __init__(self, write: Write, room: int, count: Count, clock: Callable[[], float]) -> None:
        self._write = write
        self._room = room
        self._count = count
        self._clock = clock
        self._waiting: deque[tuple[float, Event]] = deque()  # with the moment of its coming
        self._guard = threading.Lock()
        self._failures = 0  # in a row
        self._not_before = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, events: Sequence[Event]) -> int:
        """Take the first events, as many as there is room for, and return their number."""
        with self._guard:
            now = self._clock()
            accepted = min(len(events), self._room - len(self._waiting))
            self._waiting.extend((now, event) for event in events[:accepted])
        if accepted < len(events):
            self._count(DROPPED, len(events) - accepted)
        return accepted

    def write_due(self) -> float | None:
        """Write one statement if it is due. Returns in how many seconds to ask again; None: as soon as something was added."""
        wait_s = self._due_in_s()
        if wait_s == 0:
            self._write_first()
            wait_s = self._due_in_s()
        return wait_s

    def write_all(self) -> None:
        """Write everything now; what cannot be written is dropped."""
        while self._waiting:
            if not self._write_first():
                log.warning("%d events were never written", len(self._waiting))
                self._count(DROPPED, len(self._waiting))
                self._waiting.clear()

    def _due_in_s(self) -> float | None:
        with self._guard:
            if not self._waiting:
                return None
            at = self._not_before
            if len(self._waiting) < PER_STATEMENT:
                at = max(at, self._waiting[0][0] + LONGEST_WAIT_S)
            return max(0.0, at - self._clock())

    def _write_first(self) -> bool:
        with self._guard:
            events = [event for _, event in islice(self._waiting, PER_STATEMENT)]
        try:
            self._write(events)
        except Exception as error:
            if not self._failures:
                log.warning("events cannot be written, and are kept while there is room: %s", type(error).__name__)
            self._not_before = self._clock() + min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._failures, 10))
            self._failures += 1
            return False
        with self._guard:
            for _ in events:
                self._waiting.popleft()
        self._failures, self._not_before = 0, 0.0
        self._count(WRITTEN, len(events))
        return True


class _Process:
    """The queue of one process, and its thread."""

    def __init__(self, queue: Queue, count: Count) -> None:
        self._queue = queue
        self._count = count
        self._guard = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended = False

    def add(self, events: Sequence[Event]) -> int:
        with self._guard:
            if self._ended:
                self._count(DROPPED, len(events))
                return 0
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep_writing, name="events", daemon=True)
                self._thread.start()
                atexit.register(self.close)  # for servers that close nothing, such as `flask run`
            accepted = self._queue.add(events)
            waiting = len(self._queue)
        if waiting == accepted or waiting >= PER_STATEMENT:  # else it knows when to look
            self._wake.set()
        return accepted

    def close(self) -> None:
        with self._guard:
            thread, self._thread, self._ended = self._thread, None, True
        if thread is None:
            return
        atexit.unregister(self.close)
        self._wake.set()
        thread.join(CLOSE_S)
        if thread.is_alive():  # two that write at once would write the same events
            log.warning("%d events were never written: the database does not answer", len(self._queue))
            self._count(DROPPED, len(self._queue))
        else:
            self._queue.write_all()

    def _keep_writing(self) -> None:
        while not self._ended:
            wait_s = self._queue.write_due()
            self._wake.wait(wait_s)
            self._wake.clear()
