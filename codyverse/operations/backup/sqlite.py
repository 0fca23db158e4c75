"""SQLite: copied by its online backup, in one step, and put back the same way.

One step reads within one transaction, so it ends however many write meanwhile; several steps would begin anew after every commit.

Putting back is a transaction on the living file. A new file in its place, by a rename, would leave workers writing to the old
one, whose journal SQLite would then take for the new one's.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from codyverse import connections
from codyverse.operations.backup.faults import Failed
from config import Settings

T = TypeVar("T")

WAITS_S = 30.0  # for others to let go of the file
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Sqlite:
    """One file."""

    name = "sqlite"
    member = "database.sqlite3"

    def __init__(self, url: sa.URL, settings: Settings) -> None:
        self._url = url
        self._settings = settings
        self._file = Path(url.database or "")

    def version(self) -> str:
        """Return the version of the library."""
        return sqlite3.sqlite_version

    def take(self, into: Path, look: Callable[[sa.Connection], T]) -> T:
        """Copy the file, which others may write to meanwhile, into a new one."""
        _make(into)
        with _faults("The database cannot be copied"), _open(self._file) as source, _open(into) as copy:
            _copy(source, copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # or a journal beside it would be a part of it
            _check(copy, "quick_check(1)", "The database is damaged, and its copy would be no backup")
        with _engine(into).connect() as connection:
            return look(connection)

    @contextmanager
    def looking(self) -> Iterator[sa.Connection]:
        """Lend a connection that only reads."""
        with _engine(self._file).connect() as connection:
            yield connection

    def rehearse(self, file: Path, work: Callable[[sa.Connection], T]) -> T:
        """Work on the file itself, which is a copy."""
        with _faults("The database in the archive cannot be used"):
            with _open(file) as copy:
                _check(copy, "integrity_check(1)", "The database in the archive is damaged")
            engine = connections.engine(self._url.set(database=str(file)), self._settings)
            try:
                with engine.begin() as connection:
                    found = work(connection)
            finally:
                engine.dispose()
            with _open(file) as copy:
                copy.execute("PRAGMA journal_mode = DELETE")
        return found

    def restore(self, file: Path, work: Callable[[sa.Connection], T]) -> T:
        """Copy the file, after the work on it, into the database, as one transaction."""
        found = self.rehearse(file, work)
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._file.exists():
            _make(self._file)
        with _faults("The database cannot be written"), _open(file) as copy, _open(self._file) as target:
            target.execute("PRAGMA journal_mode = WAL")
            target.execute("PRAGMA synchronous = FULL")
            _copy(copy, target)
            target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return found


def _copy(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Copy in one step, which is tried again while others hold the file, for a while."""
    deadline = time.monotonic() + WAITS_S

    def give_up(status: int, remaining: int, pages: int) -> None:
        if status in _BUSY and time.monotonic() > deadline:
            raise Failed(f"Others have held the database for {WAITS_S:.0f} s. Stop the service, and try again.")

    source.backup(target, pages=-1, progress=give_up)


def _check(connection: sqlite3.Connection, check: str, complaint: str) -> None:
    (found,) = connection.execute(f"PRAGMA {check}").fetchone()
    if found != "ok":
        raise Failed(f"{complaint}: {found}.")


@contextmanager
def _faults(complaint: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise Failed(f"{complaint}: {error}.") from None


@contextmanager
def _open(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file, timeout=WAITS_S, isolation_level=None)) as connection:
        yield connection


def _engine(file: Path) -> sa.Engine:
    return sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(file, timeout=WAITS_S), poolclass=sa.NullPool)


def _make(file: Path) -> None:
    os.close(os.open(file, os.O_CREAT | os.O_EXCL, 0o600))  # it holds personal data
