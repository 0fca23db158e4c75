"""Files of SQLite that may be lost: one that is broken is made anew, instead of failing until somebody removes it."""

from __future__ import annotations

import fcntl
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

log = logging.getLogger("codyverse.startup")

T = TypeVar("T")


def broken(error: Exception) -> bool:
    """Say whether an error tells that a file is no database, or a malformed one."""
    # The lowest byte is the kind of the error.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """Keep other processes from opening or removing the file during the block. Raises OSError."""
    with Path(f"{path}-opening").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


def mending(path: Path, work: Callable[[], T]) -> T:
    """Return what the work returns; where it finds the file broken, the file is removed, and the work done once more.

    The work opens the file, and lets go of it when it fails so. Raises what the work raises, and OSError.
    """
    try:
        return work()
    except sqlite3.DatabaseError as error:
        if not broken(error):
            raise
    with Path(f"{path}-mending").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        try:
            return work()  # another process may have made it anew in the meantime: that one stays
        except sqlite3.DatabaseError as error:
            if not broken(error):
                raise
            log.warning("%s is broken and is made anew: %s", path.name, type(error).__name__)
        with opening(path):  # or who opens it now would make a journal that is removed, or one for the broken file
            for suffix in ("", "-journal", "-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
        return work()
