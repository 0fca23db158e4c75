"""L2: entries that the processes of a host share, in a file of SQLite, best in memory (tmpfs).

What is used least goes first, and yesterday's favourites do not stay for ever: an entry is worth its uses plus the worth that the
last one had which had to go (LFU with dynamic ageing: Arlitt et al., "Evaluating content management techniques for Web proxy
caches", 2000). Outdated entries stay until their room is needed: they are answered while the database is away.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from codyverse.operations import sqlite_files
from codyverse.operations.cache.entries import Count, Entry, Size

log = logging.getLogger("codyverse.cache")

BUSY_TIMEOUT_S = 0.5
LARGEST_PAGES = 16_384  # of 4 KiB: 64 MiB, what a container's /dev/shm holds by default
REPORT_S = 2.0  # how often a process says how much its own memory holds

# Bodies lie apart: SQLite writes a row anew, body and all, when its uses are counted, and reads it all to compare its times.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, as_of INTEGER NOT NULL, slots TEXT NOT NULL, loaded_at REAL NOT NULL,
    expires_at REAL NOT NULL, size INTEGER NOT NULL, uses INTEGER NOT NULL, worth INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS bodies (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS ix_entries_worth ON entries (worth, loaded_at);
CREATE INDEX IF NOT EXISTS ix_entries_loaded_at ON entries (loaded_at);
CREATE TABLE IF NOT EXISTS totals (name TEXT PRIMARY KEY, amount INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO totals VALUES ('entries', 0), ('bytes', 0), ('age', 0);
CREATE TRIGGER IF NOT EXISTS kept AFTER INSERT ON entries BEGIN
    UPDATE totals SET amount = amount + 1 WHERE name = 'entries';
    UPDATE totals SET amount = amount + NEW.size WHERE name = 'bytes';
END;
CREATE TRIGGER IF NOT EXISTS replaced AFTER UPDATE OF size ON entries BEGIN
    UPDATE totals SET amount = amount + NEW.size - OLD.size WHERE name = 'bytes';
END;
CREATE TRIGGER IF NOT EXISTS gone AFTER DELETE ON entries BEGIN
    DELETE FROM bodies WHERE id = OLD.id;
    UPDATE totals SET amount = amount - 1 WHERE name = 'entries';
    UPDATE totals SET amount = amount - OLD.size WHERE name = 'bytes';
END;
CREATE TABLE IF NOT EXISTS processes (pid INTEGER PRIMARY KEY, entries INTEGER NOT NULL, bytes INTEGER NOT NULL);
"""
_AGE = "(SELECT amount FROM totals WHERE name = 'age')"
_GET = "SELECT id, body, as_of, slots, loaded_at, expires_at FROM entries JOIN bodies USING (id) WHERE key = ?"
_USE = f"UPDATE entries SET uses = uses + 1, worth = uses + 1 + {_AGE} WHERE id = ?"  # noqa: S608  (constants)
_PUT = f"""
INSERT INTO entries VALUES (NULL, ?, ?, ?, ?, ?, ?, 1, 1 + {_AGE}) ON CONFLICT (key) DO UPDATE SET
    as_of = excluded.as_of, slots = excluded.slots, loaded_at = excluded.loaded_at, expires_at = excluded.expires_at,
    size = excluded.size WHERE excluded.as_of >= as_of
RETURNING id
"""  # noqa: S608  (constants)
_PUT_BODY = "INSERT OR REPLACE INTO bodies VALUES (?, ?)"
_COUNT = "SELECT amount FROM totals WHERE name = 'entries'"
# Those that nobody may use any more first.
_FORGET_OLD = "DELETE FROM entries WHERE loaded_at < ?"
_LEAST = "SELECT key, worth FROM entries WHERE key <> ? ORDER BY worth, loaded_at LIMIT ?"
_AGE_BY = "UPDATE totals SET amount = max(amount, ?) WHERE name = 'age'"


class HostTier:
    """Up to so many entries in a file."""

    shared = True

    def __init__(self, path: Path, most: int, lifetime_s: float, count: Count, clock: Callable[[], float] = time.time) -> None:
        """Open nothing yet: the process that reads may be a child of this one."""
        self.lifetime_s = lifetime_s
        self._path = path
        self._most = most
        self._count = count
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._reported_at = 0.0
        self._failing = False
        self._turn = threading.Lock()  # a statement takes some 10 µs: a connection a thread would gain nothing

    def get(self, key: str, count_use: bool = True) -> Entry | None:
        """Return an entry, whether it may still be used or not."""

        def work(file: sqlite3.Connection) -> Entry | None:
            row = file.execute(_GET, (key,)).fetchone()
            if row is None:
                return None
            if count_use:
                file.execute(_USE, row[:1])
            _, body, as_of, slots, loaded_at, expires_at = row
            return Entry(key, body, as_of, tuple(map(int, slots.split())), loaded_at, expires_at)

        entry: Entry | None = self._do(work)
        return entry

    def put(self, entry: Entry) -> None:
        """Keep an entry instead of an older one with its key."""
        slots = " ".join(map(str, entry.slots))
        values = (entry.key, entry.as_of, slots, entry.loaded_at, entry.expires_at, len(entry.body))

        def work(file: sqlite3.Connection) -> int:
            file.execute("BEGIN IMMEDIATE")
            put = file.execute(_PUT, values).fetchone()
            if put is not None:  # else what is there is newer
                file.execute(_PUT_BODY, (*put, entry.body))
            surplus = file.execute(_COUNT).fetchone()[0] - self._most
            evicted = self._make_room(file, entry.key, surplus) if surplus > 0 else 0
            file.execute("COMMIT")
            return evicted

        evicted = self._do(work)
        if evicted:
            self._count("cache:evicted:l2", evicted)

    def forget(self, key: str) -> None:
        """Forget what is kept under a key."""
        self._do(lambda file: file.execute("DELETE FROM entries WHERE key = ?", (key,)))

    def clear(self) -> None:
        """Forget everything."""
        self._do(lambda file: file.execute("DELETE FROM entries"))

    def size(self) -> Size:
        """Return how much is kept."""

        def work(file: sqlite3.Connection) -> Size:
            totals = dict(file.execute("SELECT name, amount FROM totals").fetchall())
            return Size(totals["entries"], totals["bytes"])

        return self._do(work) or Size(0, 0)

    def entries(self) -> int | None:
        """Return how many entries are kept, None when the file cannot be used."""
        found: int | None = self._do(lambda file: file.execute(_COUNT).fetchone()[0])
        return found

    def report(self, size: Callable[[], Size]) -> None:
        """Say, now and then, how much this process keeps in its own memory."""
        if self._pid == os.getpid() and time.monotonic() - self._reported_at < REPORT_S:
            return
        self._reported_at = time.monotonic()
        values = (os.getpid(), *size())
        self._do(lambda file: file.execute("INSERT OR REPLACE INTO processes VALUES (?, ?, ?)", values))

    def of_processes(self, own: Size) -> Size:
        """Return how much the living processes of the host keep, by what they said of late; `own` is this one's."""

        def work(file: sqlite3.Connection) -> Size:
            rows = file.execute("SELECT pid, entries, bytes FROM processes").fetchall()
            living = [row for row in rows if Path(f"/proc/{row[0]}").exists()]
            others = [row for row in living if row[0] != os.getpid()]
            file.executemany("DELETE FROM processes WHERE pid = ?", [(row[0],) for row in rows if row not in living])
            return Size(own.entries + sum(row[1] for row in others), own.bytes + sum(row[2] for row in others))

        return self._do(work) or own

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def _make_room(self, file: sqlite3.Connection, kept: str, surplus: int) -> int:
        evicted = file.execute(_FORGET_OLD, (self._clock() - 2 * self.lifetime_s,)).rowcount
        if evicted < surplus:
            least = file.execute(_LEAST, (kept, surplus - evicted)).fetchall()
            file.executemany("DELETE FROM entries WHERE key = ?", [(key,) for key, _ in least])
            file.execute(_AGE_BY, (max((worth for _, worth in least), default=0),))
            evicted += len(least)
        return evicted

    def _do(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Return what the work returns, None when the file cannot be used: then nothing is found, and nothing kept."""
        with self._turn:
            try:
                done = sqlite_files.mending(self._path, lambda: self._work(work))
            except (sqlite3.Error, OSError) as error:
                self._count("cache:failed:l2")
                if not self._failing:
                    log.warning("the cache of the host fails: %s", type(error).__name__)
                self._failing = True
                return None
            self._failing = False
            return done

    def _work(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        file = self._open()
        try:
            return work(file)
        except sqlite3.Error as error:
            if sqlite_files.broken(error):
                self._connection = None
                file.close()
                raise
            if file.in_transaction:
                file.execute("ROLLBACK")
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
                raise
            # A full file makes room for an eighth, and this time the entry is not kept.
            file.execute(
                "DELETE FROM entries WHERE key IN (SELECT key FROM entries ORDER BY worth LIMIT ?)", (self._most // 8 + 1,)
            )
            return None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None or self._pid != os.getpid():
            # One that came with a fork is left alone: closing it would drop the parent's locks.
            self._connection = self._connect()
            self._pid = os.getpid()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        # SQLite does not wait for its turn where several processes make a file's journal at once, as workers do that start.
        with sqlite_files.opening(self._path):
            connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode = WAL")  # a worker that is killed in the middle leaves a sound file
                connection.execute("PRAGMA synchronous = OFF")  # what a loss of power takes may be lost
                connection.execute(f"PRAGMA max_page_count = {LARGEST_PAGES}")
                connection.executescript(_SCHEMA)
            except sqlite3.Error:  # a broken file must not stay open while it is removed
                connection.close()
                raise
            return connection
