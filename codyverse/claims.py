"""Claims between threads and processes of one host: a lock on one byte of a file a claim.

POSIX record locks vanish when their process ends. They belong to the whole process, so threads are kept apart by a set.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FileClaims:
    """The claims of one file. Two objects for one file in one process would not know of each other: ask `claims_in`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pid = 0
        self._descriptor = -1
        self._held: set[int] = set()
        self._guard = threading.Lock()

    @contextmanager
    def held(self, claim: int) -> Iterator[bool]:
        """Hold the claim (63 bits) for the block, if it is free; yields whether it is. Raises OSError."""
        if not self._take(claim):
            yield False
            return
        try:
            yield True
        finally:
            with self._guard:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, claim)
                self._held.discard(claim)

    def _take(self, claim: int) -> bool:
        with self._guard:
            if self._pid != os.getpid():
                # Never closed: closing any descriptor of the file would end every lock that this process has on it.
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
                self._pid = os.getpid()
                self._held.clear()
            if claim in self._held:
                return False
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, claim)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    return False
                raise
            self._held.add(claim)
            return True


_claims: dict[Path, FileClaims] = {}
_claims_guard = threading.Lock()


def claims_in(path: Path) -> FileClaims:
    """Return the claims of a file, the same object for every caller in this process."""
    with _claims_guard:
        return _claims.setdefault(path, FileClaims(path))
