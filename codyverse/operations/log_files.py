"""The files of a log: one that is appended to, or a few that take turns (report row R20: 20 MB, five of them)."""

from __future__ import annotations

import logging
import os
import select
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from concurrent_log_handler import ConcurrentRotatingFileHandler

PIECE_BYTES = 65_536  # to a file, which Linux locks for each write; a pipe takes PIPE_BUF as a whole
LARGEST_BYTES, FILES = 20_000_000, 5

log = logging.getLogger("codyverse.performance")


class AppendedFile:
    """One file, or a descriptor that others have opened."""

    def __init__(self, name: str, path: str | int, write: Callable[[int, bytes], int] = os.write) -> None:
        """Append to `path`; `name` is what a line about the file calls it."""
        self._path = path
        self._write = write
        self._descriptor = -1
        self._is_torn = self._reopens = False
        self._faults = _Faults(name)

    def piece_bytes(self) -> int:
        """Return how many bytes are written as a whole."""
        with suppress(OSError):
            if stat.S_ISREG(os.fstat(self._opened()).st_mode):
                return PIECE_BYTES
        return select.PIPE_BUF

    def append(self, piece: bytes) -> int:
        """Write lines; returns how many of them are whole in the file."""
        torn = b"\n" if self._is_torn else b""
        try:
            written = self._write(self._opened(), torn + piece)
        except OSError as error:
            self._faults.tell(error)
            return 0
        self._faults.are_over()
        self._is_torn = not (torn + piece)[:written].endswith(b"\n")  # on a disk with room for no more
        return piece[: max(0, written - len(torn))].count(b"\n")

    def reopen(self) -> None:
        """Go on in a new file; a signal's handler may call this."""
        self._reopens = True

    def close(self) -> None:
        """Close it, to be opened anew if there is more to write."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _opened(self) -> int:
        """Return the descriptor. Raises OSError."""
        if isinstance(self._path, int):
            return self._path
        if self._reopens:
            self._reopens = False
            self.close()
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        return self._descriptor


class RotatedFiles:
    """A file that becomes `.1` when it is full, that one `.2`, and so on, whichever of the processes that write it fills it."""

    def __init__(self, name: str, path: Path, largest_bytes: int = LARGEST_BYTES, files: int = FILES) -> None:
        """Write `path`; no file grows beyond so many bytes, and there are so many at the most, this one among them."""
        self._folder = path.parent
        self._piece_bytes = min(PIECE_BYTES, largest_bytes)
        self._handler = _Rotating(path, mode="a+", maxBytes=largest_bytes, backupCount=files - 1, chmod=0o640)
        self._faults = _Faults(name)

    def piece_bytes(self) -> int:
        """Return how many bytes are written as a whole."""
        return self._piece_bytes

    def append(self, piece: bytes) -> int:
        """Write lines; returns how many of them are whole in the file."""
        try:
            self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._handler.emit(logging.makeLogRecord({"msg": piece}))
        except (OSError, RuntimeError) as error:  # RuntimeError: the lock cannot be had
            self._faults.tell(error)
            return 0
        self._faults.are_over()
        return self._handler.lines

    def reopen(self) -> None:
        """Do nothing: a file that was moved away is noticed."""

    def close(self) -> None:
        """Close it, to be opened anew if there is more to write."""
        self._handler.close()


class _Rotating(ConcurrentRotatingFileHandler):
    """Rotation, and the lock between processes, are its parent's. What it writes are pieces of whole lines, and in one go."""

    lines = 0  # of the last piece that are whole in the file

    def format(self, record: logging.LogRecord) -> Any:
        """Return the piece as it is."""
        return record.msg

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802  (its parent's name)
        """Say whether the piece would make the file too large; the parent would ask that of the next one."""
        size_bytes = self._size_bytes()
        return size_bytes > 0 and size_bytes + len(record.msg) >= self.maxBytes  # one byte is for ending a torn line

    def doRollover(self) -> None:  # noqa: N802  (its parent's name)
        """Have the files change places; first end what a process began that was killed meanwhile. The lock is held."""
        path, first = Path(self.baseFilename), Path(f"{self.baseFilename}.1")
        for left in path.parent.glob(f"{path.name}.rotate.*"):
            if first.exists():
                left.unlink()
            else:
                left.rename(first)
        super().doRollover()

    def do_write(self, msg: Any) -> None:
        """Write a piece. What a full disk takes of a line is taken back. Raises OSError."""
        self.lines = 0
        if self.stream is None or self.stream.closed:
            self.stream = self.do_open()
        descriptor = self.stream.fileno()
        size_bytes = os.fstat(descriptor).st_size
        if size_bytes and os.pread(descriptor, 1, size_bytes - 1) != b"\n":  # a process was killed while it wrote
            msg = b"\n" + msg
        written = os.write(descriptor, msg)
        whole_bytes = msg[:written].rfind(b"\n") + 1
        if whole_bytes < written:
            os.ftruncate(descriptor, size_bytes + whole_bytes)
        self.lines = msg[:whole_bytes].removeprefix(b"\n").count(b"\n")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (its parent's name)
        """Raise what its parent caught."""
        raise  # noqa: PLE0704

    def _size_bytes(self) -> int:
        with suppress(OSError):
            return Path(self.baseFilename).stat().st_size
        return 0


class _Faults:
    """Tells once that a file cannot be written, and again only after it could."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._told = False

    def tell(self, error: OSError | RuntimeError) -> None:
        if not self._told:
            log.warning("%s cannot be written: %s", self._name, getattr(error, "strerror", None) or type(error).__name__)
        self._told = True

    def are_over(self) -> None:
        self._told = False
