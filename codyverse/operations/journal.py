"""What the operation of a host remembers beyond its processes: states of alerts, messages about them, and series of figures.

It lies in `operations.sqlite3` in the instance folder, apart from the database, so that alerts are raised while that is away. A
file that is broken is made anew: alerts that are firing fire once more then.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from flask import Flask

from codyverse.operations import sqlite_files

NAME = "operations.sqlite3"
UNUSABLE = (sqlite3.Error, OSError)  # what reading and writing raise

Connection = sqlite3.Connection
T = TypeVar("T")

_BUSY_S = 5.0
_VERSION = 1
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS alert_states (
    name TEXT PRIMARY KEY, state TEXT NOT NULL, since REAL NOT NULL, untrue_since REAL, value REAL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alert_events (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, value REAL
);
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY, channel TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, made_at REAL NOT NULL,
    due_at REAL NOT NULL, tries INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS readings (at REAL PRIMARY KEY, sums TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS points (
    series TEXT NOT NULL, step TEXT NOT NULL, at INTEGER NOT NULL, value REAL, PRIMARY KEY (series, step, at)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ix_points_at ON points (step, at);
CREATE TABLE IF NOT EXISTS totals (id INTEGER PRIMARY KEY, at REAL NOT NULL, body TEXT NOT NULL);
PRAGMA user_version = {_VERSION};
COMMIT;
"""


class Journal:
    """The file, opened for one piece of work at a time: a connection that came with a fork could not be used."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, work: Callable[[Connection], T], nothing: T) -> T:
        """Return what the work returns, `nothing` where nobody has written yet or the file cannot be read."""
        try:
            if not self._path.exists():  # who only reads makes no file, which might belong to another account than the service's
                return nothing
            with closing(self._open("rw")) as file:
                return work(file) if _version(file) == _VERSION else nothing
        except UNUSABLE:
            return nothing

    def write(self, work: Callable[[Connection], T]) -> T:
        """Return what the work returns, and keep all of what it wrote, or nothing. Raises what is UNUSABLE."""

        def once() -> T:
            with closing(self._open("rwc")) as file:
                if _version(file) != _VERSION:
                    file.executescript(_SCHEMA)
                with file:
                    file.execute("BEGIN IMMEDIATE")
                    return work(file)

        return sqlite_files.mending(self._path, once)

    def _open(self, mode: str) -> Connection:
        return sqlite3.connect(f"{self._path.absolute().as_uri()}?mode={mode}", uri=True, timeout=_BUSY_S, isolation_level=None)


def _version(file: Connection) -> int:
    version: int = file.execute("PRAGMA user_version").fetchone()[0]
    return version


def of(app: Flask) -> Journal:
    """Return the application's journal; who writes first makes the file."""
    return Journal(app.config["CODYVERSE"].instance_path / NAME)
