"""Lines that a thread writes, so that nobody waits for a disk, or for who reads the other end of a pipe.

A line goes into a queue. The thread of the process takes what is there and hands it on in pieces of whole lines, each as large as
the files take at once, so that lines of several processes never mix. Nothing fails with a log: what finds the queue full, or
cannot be written, is lost and counted.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol

EVERY_S = 0.1
CLOSING_S = 2.0  # for the last lines, which a pipe that nobody reads would never take

log = logging.getLogger("codyverse.performance")

Told = Callable[[int, int], None]  # how many lines were written, how many lost


class File(Protocol):
    """Where lines go."""

    def piece_bytes(self) -> int:
        """Return how many bytes it takes at once, as a whole."""

    def append(self, piece: bytes) -> int:
        """Write lines; returns how many of them are whole in the file."""

    def reopen(self) -> None:
        """Go on in a new file, the old one having been moved away. A signal's handler may call this."""

    def close(self) -> None:
        """Close it, to be opened anew if there is more to write."""


class LineWriter:
    """Writes lines of this process into every one of some files."""

    def __init__(self, files: Sequence[File], told: Told, room: int, closing_s: float = CLOSING_S) -> None:
        """Keep `room` lines at the most that wait to be written, and `closing_s` seconds for the last ones."""
        self._files = files
        self._told = told
        self._room = room
        self._closing_s = closing_s
        self._queue: deque[str] = deque()
        self._begins = threading.Lock()
        self._writes = threading.Lock()  # a thread that begins while another one ends waits for it
        self._pid = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def has_room(self) -> bool:
        """Say whether a line may be put; counts one that may not."""
        if self._pid != os.getpid():
            self._begin()
        if len(self._queue) < self._room:
            return True
        self._told(0, 1)
        return False

    def put(self, line: str) -> None:
        """Have a line written, which ends with a line break."""
        if self.has_room():
            self._queue.append(line)

    def reopen(self) -> None:
        """Go on in new files, the old ones having been moved away. A signal's handler may call this: the thread does it."""
        for file in self._files:
            file.reopen()

    def close(self) -> None:
        """Write what is left, and end the thread; the next line begins another one."""
        if self._pid != os.getpid():  # what a parent has is the parent's to write
            return
        thread, self._thread, self._pid = self._thread, None, 0
        self._ended.set()
        if thread is not None and thread is not threading.current_thread():
            atexit.unregister(self.close)
            thread.join(self._closing_s)

    def _begin(self) -> None:
        with self._begins:
            if self._pid == os.getpid():
                return
            if self._pid:  # a fork: these lines are the parent's to write, and a lock of its may be held for ever
                self._queue = deque()
                self._writes = threading.Lock()
            self._ended = threading.Event()
            thread = threading.Thread(target=self._keep_writing, args=(self._ended,), name="log", daemon=True)
            with suppress(RuntimeError):  # no room for a thread: the next line tries again
                thread.start()
                self._thread, self._pid = thread, os.getpid()
                atexit.register(self.close)

    def _keep_writing(self, ended: threading.Event) -> None:
        goes_on = True
        while goes_on:
            goes_on = not ended.wait(EVERY_S)
            with self._writes:
                try:
                    self._write_all()
                except Exception:  # or no line would ever be written again
                    log.exception("a log lost lines")
                if not goes_on:
                    for file in self._files:
                        file.close()

    def _write_all(self) -> None:
        all_lines = written = 0
        try:
            for piece, lines in self._pieces(len(self._queue), min(file.piece_bytes() for file in self._files)):
                all_lines += lines
                written += min([file.append(piece) for file in self._files])
        finally:
            if all_lines:
                self._told(written, all_lines - written)

    def _pieces(self, lines: int, most: int) -> Iterator[tuple[bytes, int]]:
        """Take lines from the queue; yields as many as fit into a piece of so many bytes, and their number."""
        taken: list[str] = []
        size = 0
        for _ in range(lines):
            text = self._queue.popleft()
            longest = len(text) if text.isascii() else 4 * len(text)
            if taken and size + longest >= most:  # one byte is for ending a torn line
                yield _piece(taken)
                taken, size = [], 0
            taken.append(text)
            size += longest
        if taken:
            yield _piece(taken)


def _piece(taken: list[str]) -> tuple[bytes, int]:
    """Return records as they are written, and how many lines they are: a traceback has several."""
    text = "".join(taken)
    return text.encode("utf-8", "replace"), text.count("\n")
