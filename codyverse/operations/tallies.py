"""Counts that the processes of a host add up: hits of the cache, runs of a statement, whatever is only ever counted upwards.

Beside them stand the largest amounts that any process saw, such as the longest time of a statement.

A process counts in its own memory and adds what is new to a file in host memory every FLUSH_S and at its end, so that counting
costs well under a microsecond, figures survive the worker that counted them, and a thousand recycled workers leave one row a name
behind. A worker that is killed takes what it counted in the last seconds with it. That is for figures, not for rewards.
"""

from __future__ import annotations

import atexit
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from flask import Flask

from codyverse.operations import components, host_memory, sqlite_files

log = logging.getLogger("codyverse.performance")

FLUSH_S = 2.0
MOST_NAMES = 20_000  # more are counted under OTHER: names may come from what clients send
OTHER = "other"
LAST_TRIES = 3  # to write at the end, each of which waits a second for its turn

T = TypeVar("T")

_SCHEMA = "CREATE TABLE IF NOT EXISTS tallies (name TEXT PRIMARY KEY, amount REAL NOT NULL) WITHOUT ROWID"
_ADD = "INSERT INTO tallies VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET amount = amount + excluded.amount"
_RAISE = "INSERT INTO tallies VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET amount = max(amount, excluded.amount)"


class Unreadable(Exception):
    """The file cannot be read, or not now."""


class Tallies:
    """Counts by name, such as `cache:hit:l1`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._new: dict[str, float] = {}  # no Counter, which takes twice as long to add to
        self._largest: dict[str, float] = {}
        self._guard = threading.Lock()
        self._adding = threading.Lock()
        self._pid = 0
        self._wake = threading.Event()

    def count(self, name: str, amount: float = 1) -> None:
        """Add to a name."""
        if self._pid != os.getpid():
            self._start()
        with self._guard:
            if name not in self._new and len(self._new) >= MOST_NAMES:
                name = OTHER
            self._new[name] = self._new.get(name, 0) + amount

    def count_max(self, name: str, amount: float) -> None:
        """Keep the largest amount (above 0) of a name, which must be none that is counted."""
        self.count_all((), ((name, amount),))

    def count_all(self, amounts: Iterable[tuple[str, float]], largest: Iterable[tuple[str, float]] = ()) -> None:
        """Add to several names, and keep the largest amounts of others, at the price of one."""
        if self._pid != os.getpid():
            self._start()
        with self._guard:
            new = self._new
            for name, amount in amounts:
                known = name if name in new or len(new) < MOST_NAMES else OTHER
                new[known] = new.get(known, 0) + amount
            for name, amount in largest:
                if amount > self._largest.get(name, 0 if len(self._largest) < MOST_NAMES else amount):
                    self._largest[name] = amount

    def totals(self, prefix: str = "") -> dict[str, float]:
        """Return what `added_up` does or, where the file cannot be read, what this process has to add."""
        try:
            return self.added_up(prefix)
        except Unreadable:
            with self._guard:
                kept = {**self._new, **self._largest}
                return {name: amount for name, amount in kept.items() if name.startswith(prefix)}

    def added_up(self, prefix: str = "") -> dict[str, float]:
        """Return the counts of all processes of this host whose names begin so; what others did not yet add is missing.

        Raises Unreadable, for who would take the counts of one process for counters that began anew.
        """
        self.flush()

        def work(file: sqlite3.Connection) -> dict[str, float]:
            found = file.execute("SELECT name, amount FROM tallies WHERE substr(name, 1, ?) = ?", (len(prefix), prefix))
            return dict(found.fetchall())

        try:
            return self._do(work)
        except (sqlite3.Error, OSError) as error:
            raise Unreadable(type(error).__name__) from error

    def forget(self, prefix: str = "") -> None:
        """Begin the names that begin so anew."""
        self.flush()
        self._do(lambda file: file.execute("DELETE FROM tallies WHERE substr(name, 1, ?) = ?", (len(prefix), prefix)))

    def flush(self) -> None:
        """Add what is new to the file; what cannot be added stays for the next time."""
        if self._pid != os.getpid():  # there is nothing; what a parent counted is the parent's to add
            return
        with self._adding:  # at its end a process waits for a thread that is adding, whose counts would end with it
            self._flush()

    def _flush(self) -> None:
        with self._guard:
            new, self._new = self._new, {}
            largest, self._largest = self._largest, {}
        if not new and not largest:
            return

        def work(file: sqlite3.Connection) -> None:
            file.executemany(_ADD, new.items())
            file.executemany(_RAISE, largest.items())

        try:
            self._do(work)
        except (sqlite3.Error, OSError) as error:
            log.warning("counts could not be added up: %s", type(error).__name__)
            with self._guard:
                for name, amount in new.items():
                    self._new[name] = self._new.get(name, 0) + amount
                for name, amount in largest.items():
                    self._largest[name] = max(amount, self._largest.get(name, 0))

    def close(self) -> None:
        """Add the last ones up, and do not give up at once when many processes end together."""
        self._wake.set()
        for _ in range(LAST_TRIES):
            self.flush()
            if self._pid != os.getpid() or not (self._new or self._largest):
                return

    def _start(self) -> None:
        with self._guard:
            if self._pid == os.getpid():
                return
            if self._pid:  # a fork: what the parent counted is the parent's to add
                self._new, self._largest = {}, {}
            self._pid = os.getpid()
            self._wake = threading.Event()
            self._adding = threading.Lock()  # another's, that was held when this process was forked, would never be free
            threading.Thread(target=self._keep_flushing, args=(self._wake,), name="tallies", daemon=True).start()
            atexit.register(self.close)

    def _keep_flushing(self, ended: threading.Event) -> None:
        while not ended.wait(FLUSH_S):
            self.flush()

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what the work returns; a file that is broken is made anew. Raises sqlite3.Error and OSError."""

        def once() -> T:
            with _File(self._path) as file:
                return work(file)

        return sqlite_files.mending(self._path, once)


class _File:
    """The file for one transaction: opening it takes 0.1 ms, and a connection that came with a fork could not be used."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> sqlite3.Connection:
        self._connection = sqlite3.connect(self._path, timeout=1.0)
        try:
            self._connection.execute("PRAGMA synchronous = OFF")
            self._connection.execute(_SCHEMA)
        except sqlite3.Error:  # a broken file must not stay open while it is removed
            self._connection.close()
            raise
        return self._connection

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._connection.commit()
        self._connection.close()


def of(app: Flask) -> Tallies:
    """Return the application's tallies."""
    tallies: Tallies = app.extensions["codyverse.tallies"]
    return tallies


def init_app(app: Flask) -> None:
    """Open the tallies of this host. Comes before every part that counts."""
    tallies = Tallies(host_memory.folder(app.config["CODYVERSE"]) / "tallies.sqlite3")
    app.extensions["codyverse.tallies"] = tallies
    components.of(app).add("tallies", tallies.close)
