"""An installation that is backed up: what its commands print, and what is in it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask

from codyverse.accounts import service as accounts
from codyverse.database import Database
from codyverse.learning.service import completions
from codyverse.operations import cache
from codyverse.operations.backup import creating
from codyverse.operations.backup.creating import Source
from tests import postgresql
from tests.faults.completions import make_jobs

AVATAR = "avatars/ab/abcdef0123456789abcdef0123456789"
ODD_NAME = "\\.\n\\! id\tCOPY users FROM stdin;\n--\n'%"  # what a script of rows and statements could take for something else


class Installation:
    """An application and its folder."""

    def __init__(self, app: Flask, folder: Path) -> None:
        self.app = app
        self.folder = folder
        self.archives = folder / "backups"

    @property
    def database(self) -> Database:
        database: Database = self.app.extensions["codyverse.database"]
        return database

    @property
    def source(self) -> Source:
        source: Source = self.app.extensions["codyverse.backup"]
        return source

    def run(self, *command: Any) -> tuple[int, str, str]:
        """Run `flask backup` and return its exit code and what it printed."""
        result = self.app.test_cli_runner().invoke(args=["backup", *map(str, command)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stdout, result.stderr

    def create(self) -> Path:
        """Make an archive and return where it is."""
        return creating.create(self.source)[0]

    def names(self) -> list[str]:
        """Return what is in the folder of archives, but for the lock."""
        return sorted(path.name for path in self.archives.iterdir() if path.name != ".lock")

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return every row of every table but the audit trail's, in which each restore leaves an entry."""
        return dict(_rows(self.database))

    def add_learners(self, number: int = 3, lessons: int = 2) -> None:
        """Add learners who completed lessons, and the avatar of one."""
        for job in make_jobs(self.database, number, lessons):
            completions.complete(self.database, cache.of(self.app), job.user_id, job.lesson_id)
        self._add("odd@example.org", ODD_NAME)
        (self.folder / AVATAR).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / AVATAR).write_bytes(b"a picture")

    def add_somebody(self) -> None:
        """Add an account that no archive has yet."""
        self._add("late@example.org", "Late")

    def _add(self, email: str, name: str) -> None:
        with self.database.transaction() as tx:
            accounts.create_user(tx, email=email, password_hash="-", display_name=name, birth_date=date(1990, 12, 10))


def _rows(database: Database) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    found = sa.MetaData()
    with database.read() as reader:
        found.reflect(reader.connection)
        for table in found.sorted_tables:
            if table.name.startswith("audit_"):
                continue
            yield table.name, sorted((tuple(row) for row in reader.execute(sa.select(table))), key=repr)


@contextmanager
def another_database(engine_name: str, folder: Path) -> Iterator[str]:
    """Lend the URL of a database of an engine that has nothing in it."""
    if engine_name == "sqlite":
        yield f"sqlite:///{folder}/another.sqlite3"
        return
    name = f"another_{os.getpid()}_{time.time_ns()}"
    yield postgresql.create(name)
    postgresql._run(postgresql._database("postgres"), f'DROP DATABASE "{name}"')


@contextmanager
def account_with_a_database(password: str, folder: Path) -> Iterator[str]:
    """Lend the URL of an empty database of an account that may do nothing elsewhere."""
    with another_database("postgresql", folder) as url:
        there = sa.make_url(url)
        name = there.database
        literal = password.replace("'", "''")
        postgresql._run(url, f"CREATE ROLE \"{name}\" LOGIN PASSWORD '{literal}'", f'ALTER DATABASE "{name}" OWNER TO "{name}"')
        yield there.set(username=name, password=password).render_as_string(hide_password=False)
        postgresql._run(url, f'REASSIGN OWNED BY "{name}" TO CURRENT_USER', f'DROP OWNED BY "{name}"', f'DROP ROLE "{name}"')
