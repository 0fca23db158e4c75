"""Which engine the installation has."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

import sqlalchemy as sa

from codyverse.database import Database
from codyverse.operations.backup.postgresql import Postgresql
from codyverse.operations.backup.sqlite import Sqlite
from config import Settings

T = TypeVar("T")
Work = Callable[[sa.Connection], T]


class Engine(Protocol):
    """How a database is copied into a file and made from one. All raise Refused, Failed, OSError and the driver's errors."""

    name: str
    member: str  # the name of the file in an archive

    def version(self) -> str:
        """Return the engine's version."""

    def take(self, into: Path, look: Work[T]) -> T:
        """Write all that is in the database at one moment into a new file, and return what the look at that moment returns."""

    def looking(self) -> AbstractContextManager[sa.Connection]:
        """Lend a connection that only reads."""

    def rehearse(self, file: Path, work: Work[T]) -> T:
        """Make a database that nobody sees from a file, work on it, drop it and return what the work returns."""

    def restore(self, file: Path, work: Work[T]) -> T:
        """Put what is in a file, after the work on it, in the place of all that is in the database; or nothing, if it raises."""


def of(database: Database, settings: Settings) -> Engine:
    """Return the engine of the installation's database."""
    return Sqlite(database.url, settings) if database.dialect == Sqlite.name else Postgresql(database.url, settings)
