"""Looks at what this process depends on, repeated in the background: whoever asks is told what the last ones found.

However many ask, nothing is looked at more often than every few seconds, and a look that does not come back keeps no other from
being made. In a process whose parts were not started, such as that of `flask run`, who asks makes the looks.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from codyverse.operations.components import UNAVAILABLE

log = logging.getLogger("codyverse.performance")

LEAST_S = 1.0  # between the looks of the background, whatever the setting says
KNOWN_S = 60.0  # what no process has said for so long is not taken over by the next one

State = dict[str, Any]


@dataclass(slots=True)
class _Check:
    """A look, and what it found last."""

    look: Callable[[], State]
    found: State = field(default_factory=dict)
    thread: threading.Thread | None = None


class Checks:
    """Looks by name."""

    def __init__(self, every_s: float, deadline_s: float, since: Since, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = every_s
        self._deadline_s = deadline_s
        self._since = since
        self._clock = clock
        self._checks: dict[str, _Check] = {}
        self._turn = threading.Lock()
        self._looked_at: float | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, name: str, look: Callable[[], State]) -> None:
        """Have something looked at. The look returns at least a `status`, and must not know how long it may take."""
        self._checks[name] = _Check(look)

    def states(self) -> dict[str, State]:
        """Return what was found, by name: with `since`, from when on the status is what it is, and how long the look took."""
        if self._thread is None or self._looked_at is None:
            self._look_if_due()
        return self.known()

    def known(self) -> dict[str, State]:
        """Return the same without looking, for what is itself looked at; what was not looked at yet is empty."""
        return {name: dict(check.found) for name, check in self._checks.items()}

    def start(self) -> None:
        """Look from now on."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_looking, args=(self._ended,), name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(self._deadline_s)

    def _keep_looking(self, ended: threading.Event) -> None:
        while True:
            with self._turn:
                self._look(ended)
            if ended.wait(max(LEAST_S, self._every_s)):
                return

    def _look_if_due(self) -> None:
        with self._turn:
            if self._looked_at is None or self._clock() - self._looked_at >= self._every_s:
                self._look(threading.Event())

    def _look(self, ended: threading.Event) -> None:
        for name, check in self._checks.items():
            if ended.is_set():
                return
            found = self._found(name, check)
            since = datetime.fromtimestamp(self._since.of(name, found["status"]), UTC)
            check.found = found | {"since": since.isoformat(timespec="seconds").replace("+00:00", "Z")}
        self._looked_at = self._clock()
        self._since.confirm()

    def _found(self, name: str, check: _Check) -> State:
        """Return what a look finds within the deadline. One that has not come back since is not joined by another."""
        began = self._clock()
        results: list[State] = []
        if check.thread is None or not check.thread.is_alive():
            check.thread = threading.Thread(target=_into, args=(results, name, check.look), name=f"look-{name}", daemon=True)
            check.thread.start()
            check.thread.join(self._deadline_s)
        if not results:
            return {"status": UNAVAILABLE, "reason": f"no answer within {self._deadline_s:g} s", "latency_ms": None}
        found = results[0]
        return {**found, "latency_ms": found.get("latency_ms") or round((self._clock() - began) * 1000, 2)}


def _into(results: list[State], name: str, look: Callable[[], State]) -> None:
    try:
        found = look()
    except Exception:
        log.exception("a part could not be looked at: %s", name)
        found = {"status": UNAVAILABLE, "reason": "it could not be looked at"}
    results.append(found)


class Since:
    """From when on each status is what it is, shared by the processes of a host: a worker that begins takes it over."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._own: dict[str, tuple[str, float]] = {}

    def of(self, name: str, status: str) -> float:
        """Return since when, as a Unix time."""
        known = self._own.get(name)
        if known is None or known[0] != status:
            known = self._own[name] = self._agreed(name, status)
        return known[1]

    def confirm(self) -> None:
        """Tell those that begin later that what was said still holds."""
        now = self._clock()
        with suppress(OSError):
            os.utime(self._path, (now, now))

    def _agreed(self, name: str, status: str) -> tuple[str, float]:
        """Return what another process has said, if it is the same, else what is said from now on."""
        said = self._read()
        if said.get(name, [None])[0] == status:
            return status, float(said[name][1])
        own = status, self._clock()
        self._write({**said, name: own})
        return own

    def _read(self) -> dict[str, Any]:
        try:
            if self._clock() - self._path.stat().st_mtime > KNOWN_S:
                return {}
            said = orjson.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        return {name: pair for name, pair in said.items() if _is_pair(pair)} if isinstance(said, dict) else {}

    def _write(self, said: dict[str, Any]) -> None:
        new = self._path.with_name(f"{self._path.name}-{threading.get_native_id()}")
        try:
            new.write_bytes(orjson.dumps(said))
            os.utime(new, (self._clock(), self._clock()))
            new.replace(self._path)
        except OSError:  # a full disk: then each process has its own opinion
            with suppress(OSError):
                new.unlink(missing_ok=True)


def _is_pair(value: Any) -> bool:
    """Say whether a value is a status and since when."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int | float)
