"""Counters that the workers of one host share: a storage for `limits` in a file of SQLite, best in memory (tmpfs).

The algorithm is that of `limits`' Redis storage, the sliding window counter (Cloudflare, "How we built rate limiting capable of
scaling to millions of domains", 2017): a window begins with the first entry; of the window before it as much counts as would
still lie within the last `expiry` seconds if its entries had come evenly. One statement decides and counts, so that two
processes never both get the last entry, and nobody holds the file while Python waits for its turn.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from limits.storage import SlidingWindowCounterSupport, Storage

BUSY_TIMEOUT_S = 0.5
LARGEST_PAGES = 8192  # of 4 KiB each: 32 MiB, about 200,000 counters, half of what a container's /dev/shm holds by default
SWEEP_ROWS = 2  # removed with each new counter: more than one, so that ended ones cannot pile up

_SCHEMA = """
CREATE TABLE IF NOT EXISTS counters (
    name TEXT PRIMARY KEY, began INTEGER NOT NULL, previous INTEGER NOT NULL, current INTEGER NOT NULL, ends INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ix_counters_ends ON counters (ends);
"""
# How many windows have ended since the row was written. Times are whole milliseconds, so that every division is exact.
_ENDED = "min(max(:now - began, 0) / :expiry, 2)"
_BEGAN = f"CASE {_ENDED} WHEN 2 THEN :now ELSE began + {_ENDED} * :expiry END"
_PREVIOUS = f"CASE {_ENDED} WHEN 0 THEN previous WHEN 1 THEN current ELSE 0 END"
_CURRENT = f"CASE {_ENDED} WHEN 0 THEN current ELSE 0 END"
_LEFT = f"min(({_BEGAN}) + :expiry - :now, :expiry)"
_ACQUIRE = f"""
INSERT INTO counters (name, began, previous, current, ends) VALUES (:name, :now, 0, :amount, :now + 2 * :expiry)
ON CONFLICT (name) DO UPDATE SET
    began = {_BEGAN}, previous = {_PREVIOUS}, current = ({_CURRENT}) + :amount, ends = ({_BEGAN}) + 2 * :expiry
    WHERE ({_PREVIOUS}) * ({_LEFT}) / :expiry + ({_CURRENT}) + :amount <= :limit
RETURNING previous, current, ends - 2 * :expiry + :expiry - :now
"""  # noqa: S608  (built from the constants above)
_READ = f"SELECT {_PREVIOUS}, {_CURRENT}, {_LEFT} FROM counters WHERE name = :name AND ends > :now"  # noqa: S608  (as above)
_RELEASE = """
UPDATE counters SET previous = max(0, previous - max(0, :amount - current)), current = max(0, current - :amount)
WHERE name = :name
"""
_SWEEP = "DELETE FROM counters WHERE name IN (SELECT name FROM counters WHERE ends <= ? ORDER BY ends LIMIT ?)"
# Short windows go first: an attacker who fills the file does not get rid of failed attempts to sign in that way.
_MAKE_ROOM = """
DELETE FROM counters WHERE name IN
    (SELECT name FROM counters ORDER BY ends LIMIT (SELECT 1 + count(*) / 8 FROM counters))
"""


Window = tuple[int, float, int, float]


class Ask(NamedTuple):
    """What is wanted of a counter: so many entries, or else one."""

    key: str
    limit: int
    expiry: int
    entries: int


class Acquired(NamedTuple):
    """What was given, which may be nothing, and the windows that `get_sliding_window` would then return."""

    entries: int
    window: Window


def _window(row: tuple[int, int, int], expiry: int) -> Window:
    previous, current, left_ms = row
    return previous, left_ms / 1000 if previous else 0.0, current, left_ms / 1000 + expiry


class SlidingWindows(Storage, SlidingWindowCounterSupport):
    """A storage of sliding windows only: what `limits` demands of every storage, to count fixed ones, is refused here once."""

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Fixed windows are not counted."""
        raise NotImplementedError

    def get(self, key: str) -> int:
        """Fixed windows are not counted."""
        raise NotImplementedError

    def get_expiry(self, key: str) -> float:
        """Fixed windows are not counted."""
        raise NotImplementedError

    def clear(self, key: str) -> None:
        """Forget a counter, whatever the length of its windows."""
        self.clear_sliding_window(key, 0)


class HostStorage(SlidingWindows):
    """Sliding window counters in a file (`host:///path`) or, for one process only, in its memory (`host://`)."""

    STORAGE_SCHEME = ["host"]  # noqa: RUF012  (as the base class declares it)

    def __init__(self, uri: str, clock: Callable[[], float] = time.time, **options: Any) -> None:
        """Open nothing yet: the process that counts may be a child of this one."""
        super().__init__(uri, **options)
        self._path = uri.removeprefix("host://") or ":memory:"
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._turn = threading.Lock()  # one statement takes about 10 µs: a connection a thread would gain nothing

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """Return what the methods raise when the file cannot be used."""
        return (sqlite3.Error, OSError)

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount` entries within `expiry` seconds and return True, or return False when they would exceed the limit."""
        return self.acquire_window(key, limit, expiry, amount) is not None

    def acquire_window(self, key: str, limit: int, expiry: int, amount: int = 1) -> Window | None:
        """Count entries and return what `get_sliding_window` would then return, None when they would exceed the limit."""
        if amount > limit:
            return None
        values = {"name": key, "limit": limit, "expiry": expiry * 1000, "amount": amount, "now": self._now_ms()}
        with self._turn:
            try:
                row = self._execute(_ACQUIRE, values).fetchone()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                    raise
                self._execute(_MAKE_ROOM)
                row = self._execute(_ACQUIRE, values).fetchone()
            if row is None:
                return None
            if row[0] == 0 and row[1] == amount:  # the first of its window
                self._execute(_SWEEP, (values["now"], SWEEP_ROWS))
        return _window(row, expiry)

    def acquire_windows(self, asks: Sequence[Ask], in_order: bool) -> list[Acquired]:
        """Count the entries of several counters; `in_order` ends with the first one that is exhausted."""
        given = []
        for ask in asks:
            given.append(self._acquired(ask))
            if in_order and not given[-1].entries:
                break
        return given

    def get_sliding_window(self, key: str, expiry: int) -> Window:
        """Return entries of the window before and the seconds for which they count, the same of the present window."""
        with self._turn:
            row = self._execute(_READ, {"name": key, "expiry": expiry * 1000, "now": self._now_ms()}).fetchone()
        return (0, 0.0, 0, 0.0) if row is None else _window(row, expiry)

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget the entries."""
        with self._turn:
            self._execute("DELETE FROM counters WHERE name = ?", (key,))

    def release(self, key: str, amount: int = 1) -> None:
        """Take entries back, from the present window or else from the one before."""
        with self._turn:
            self._execute(_RELEASE, {"name": key, "amount": amount})

    def release_all(self, entries: Sequence[tuple[str, int]]) -> None:
        """Take entries of several counters back."""
        for key, amount in entries:
            self.release(key, amount)

    def names(self) -> list[str]:
        """Return the keys of the counters that count."""
        with self._turn:
            return [row[0] for row in self._execute("SELECT name FROM counters WHERE ends > ? ORDER BY name", (self._now_ms(),))]

    def reset(self) -> int:
        """Forget every counter and return how many there were."""
        with self._turn:
            return self._execute("DELETE FROM counters").rowcount

    def check(self) -> bool:
        """Say whether the file can be used."""
        try:
            with self._turn:
                return bool(self._execute("SELECT 1").fetchone())
        except self.base_exceptions:
            return False

    def _acquired(self, ask: Ask) -> Acquired:
        for entries in {ask.entries: None, 1: None}:
            window = self.acquire_window(ask.key, ask.limit, ask.expiry, entries)
            if window is not None:
                return Acquired(entries, window)
        return Acquired(0, self.get_sliding_window(ask.key, ask.expiry))

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    def _execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor:
        if self._connection is None or self._pid != os.getpid():
            self._connection = (
                self._connect()
            )  # one that came with a fork is left alone: closing it would drop the parent's locks
            self._pid = os.getpid()
        return self._connection.execute(statement, values)

    def _connect(self) -> sqlite3.Connection:
        if self._path == ":memory:":
            return self._prepared()
        Path(self._path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite does not wait for its turn where several processes make a file's journal at once, as workers do that start.
        with Path(f"{self._path}-opening").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            return self._prepared()

    def _prepared(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")  # a worker that is killed in the middle leaves a sound file
        connection.execute("PRAGMA synchronous = OFF")  # what a loss of power takes may be lost
        connection.execute(f"PRAGMA max_page_count = {LARGEST_PAGES}")
        connection.executescript(_SCHEMA)
        return connection
