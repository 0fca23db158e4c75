"""The parts of a process: each has a name, may start, says how it is, gives memory back, and is closed when the process ends.

They are closed in the reverse order of their beginning, within what gunicorn's master waits for a worker that it told to stop.
One that fails or hangs does not keep the others open.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask

log = logging.getLogger("codyverse.startup")

WITHIN_S = 28.0  # from the beginning of the end; the master kills what is there after 30
LEAST_S = 1.0  # for all together, however late it is
RESERVED_S = 1.0  # of what is left, for each part that has yet to be closed

OK, UNAVAILABLE = "ok", "unavailable"
OUTSIDE = "-"  # of a server with workers

Health = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    close: Callable[[], None]
    start: Callable[[], None] | None
    health: Callable[[], Health] | None
    shrink: Callable[[float], None] | None


class Components:
    """Parts of a process by name."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.draining = False  # whether no more requests are to be sent here
        self.worker = OUTSIDE  # the number of the slot that a server gave this process among its workers
        self.workers_wanted: Callable[[], int] = lambda: 1
        self._clock = clock
        self._parts: list[_Part] = []
        self._failed: set[str] = set()
        self._draining_since: float | None = None

    def add(
        self,
        name: str,
        close: Callable[[], None],
        *,
        start: Callable[[], None] | None = None,
        health: Callable[[], Health] | None = None,
        shrink: Callable[[float], None] | None = None,
    ) -> None:
        """Have a part closed before those that were added earlier.

        `start` is called in the process that serves, where threads may begin. `health` returns at once, with at least a `status`:
        `ok`, or another word for what is wrong. `shrink` is told the share of its room that a part may use from now on.
        """
        self._parts.append(_Part(name, close, start, health, shrink))

    def start(self) -> None:
        """Start the parts, the first one first; one that does not start is shown by `health`."""
        for part in self._parts:
            if part.start is not None:
                try:
                    part.start()
                except Exception:
                    self._failed.add(part.name)
                    log.exception("a part did not start: %s", part.name)

    def health(self) -> dict[str, dict[str, Any]]:
        """Return what each part that is open says of itself, by name; one that says nothing is `ok`."""
        return {part.name: self._health(part) for part in self._parts}

    def _health(self, part: _Part) -> dict[str, Any]:
        if part.name in self._failed:
            return {"status": UNAVAILABLE, "reason": "not started"}
        if part.health is None:
            return {"status": OK}
        try:
            return dict(part.health())
        except Exception:
            log.exception("a part could not say how it is: %s", part.name)
            return {"status": UNAVAILABLE, "reason": "unknown"}

    def shrink(self, share: float) -> None:
        """Have every part that keeps what could be made anew use this share (0 to 1) of its room from now on."""
        for part in self._parts:
            if part.shrink is not None:
                try:
                    part.shrink(share)
                except Exception:
                    log.exception("a part did not shrink: %s", part.name)

    def drain(self) -> None:
        """Hear that the process was told to stop: `/readyz` says so, and time runs."""
        if not self.draining:
            self._draining_since = self._clock()
            self.draining = True

    def close(self) -> None:
        """Close everything, once. A part gets what is left of the time but for what the others need; then it is left alone."""
        began = self._clock() if self._draining_since is None else self._draining_since
        deadline = max(began + WITHIN_S, self._clock() + LEAST_S)
        while self._parts:
            part, others = self._parts.pop(), len(self._parts)
            left = max(0.0, deadline - self._clock())
            _close(part, max(left - RESERVED_S * others, left / (others + 1)))


def _close(part: _Part, within_s: float) -> None:
    def run() -> None:
        try:
            part.close()
        except Exception:
            log.exception("a part did not close: %s", part.name)

    thread = threading.Thread(target=run, name=f"close-{part.name}", daemon=True)  # one that hangs ends with the process
    thread.start()
    thread.join(within_s)
    if thread.is_alive():
        log.error("a part did not close within %.1f s: %s", within_s, part.name)


def of(app: Flask) -> Components:
    """Return the application's parts."""
    components: Components = app.extensions["codyverse.components"]
    return components


def init_app(app: Flask) -> None:
    """Begin with none. Comes before every part that has to be closed."""
    app.extensions["codyverse.components"] = Components()
