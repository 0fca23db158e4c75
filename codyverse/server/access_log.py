"""The access log: one JSON line a request, written off the request's path.

A request only makes its line, in a microsecond, and puts it into a queue. A thread writes some at a time, as many as the system
hands over as a whole, so that the lines of several processes never mix: PIPE_BUF bytes to a pipe; to a file, which Linux locks
for each write, more.

Nothing waits for the log and nothing fails with it. What finds the queue full, or cannot be written, is lost and counted.
"""

from __future__ import annotations

import logging
import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from gunicorn import glogging

from codyverse.operations import components, tallies
from codyverse.server.access_lines import LONGEST_AGENT, LONGEST_PATH, line, masked
from config import Settings

OFF, STANDARD_OUTPUT = ("", "off"), "-"
EVERY_S = 0.1
FILE_PIECE_BYTES = 65_536
QUEUE = 20_000  # lines, some 10 MB; twice what a worker makes in that time at its best
CLOSING_S = 2.0  # for the last lines, which a pipe that nobody reads would never take

WRITTEN, DROPPED = "access-log:written", "access-log:dropped"

log = logging.getLogger("codyverse.performance")

Count = Callable[[str, float], None]


class AccessLog:
    """The access log of one process."""

    def __init__(
        self,
        path: str,
        addresses: str,
        count: Count,
        write: Callable[[int, bytes], int] = os.write,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._file = _File(path, write)
        self._shown = _SHOWN[addresses]
        self._count = count
        self._clock = clock
        self._queue: deque[str] = deque()
        self._begins = threading.Lock()
        self._pid = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def note(
        self, method: str, path: str, status: int, sent_bytes: int, seconds: float, address: str, request_id: str, agent: str
    ) -> None:
        """Have a request written, in a moment."""
        if self._pid != os.getpid():
            self._begin()
        if len(self._queue) >= QUEUE:
            self._count(DROPPED, 1)
            return
        try:
            path, agent, shown = path[:LONGEST_PATH], agent[:LONGEST_AGENT], self._shown(address)
            made = line(self._clock(), method, path, status, sent_bytes, seconds, shown, request_id, agent, self._pid)
        except Exception:  # nothing fails with the log
            log.exception("the access log lost a line")
            self._count(DROPPED, 1)
        else:
            self._queue.append(made)

    def reopen(self) -> None:
        """Go on in a new file, the old one having been moved away. A signal's handler may call this: the thread does it."""
        self._file.reopens = True

    def close(self) -> None:
        """Write what is left, within CLOSING_S."""
        thread, self._thread, self._pid = self._thread, None, 0
        self._ended.set()
        if thread is not None:
            thread.join(CLOSING_S)

    def _begin(self) -> None:
        with self._begins:
            if self._pid == os.getpid():
                return
            if self._pid:  # a fork: these lines are the parent's to write
                self._queue = deque()
            self._ended = threading.Event()
            thread = threading.Thread(target=self._keep_writing, args=(self._ended,), name="access-log", daemon=True)
            with suppress(RuntimeError):  # no room for a thread: the next request tries again
                thread.start()
                self._thread, self._pid = thread, os.getpid()

    def _keep_writing(self, ended: threading.Event) -> None:
        goes_on = True
        while goes_on:
            goes_on = not ended.wait(EVERY_S)
            try:
                self._write_all()
            except Exception:  # or no line would ever be written again
                log.exception("the access log lost lines")
        self._file.close()

    def _write_all(self) -> None:
        all_lines = written = 0
        for piece, lines in self._pieces(len(self._queue), self._file.piece_bytes()):
            all_lines += lines
            written += self._file.append(piece)
        for name, amount in ((WRITTEN, written), (DROPPED, all_lines - written)):
            if amount:
                self._count(name, amount)

    def _pieces(self, lines: int, most: int) -> Iterator[tuple[bytes, int]]:
        """Take lines from the queue; yields as many as fit into a piece of so many bytes, and their number."""
        taken: list[str] = []
        size = 0
        for _ in range(lines):
            text = self._queue.popleft()
            longest = len(text) if text.isascii() else 2 * len(text)  # all that clients send is Latin-1
            if taken and size + longest >= most:  # one byte is for ending a torn line
                yield "".join(taken).encode(), len(taken)
                taken, size = [], 0
            taken.append(text)
            size += longest
        if taken:
            yield "".join(taken).encode(), len(taken)


class _File:
    """Where the lines go."""

    def __init__(self, path: str, write: Callable[[int, bytes], int]) -> None:
        self.reopens = False
        self._path = path
        self._write = write
        self._descriptor = -1
        self._is_torn = self._fails = False

    def piece_bytes(self) -> int:
        """Return how many bytes are written as a whole."""
        with suppress(OSError):
            if stat.S_ISREG(os.fstat(self._opened()).st_mode):
                return FILE_PIECE_BYTES
        return select.PIPE_BUF

    def append(self, piece: bytes) -> int:
        """Write lines; returns how many of them are whole in the file."""
        torn = b"\n" if self._is_torn else b""
        try:
            written = self._write(self._opened(), torn + piece)
        except OSError as error:
            if not self._fails:
                log.warning("the access log cannot be written: %s", error.strerror)
            self._fails = True
            return 0
        self._fails = False
        self._is_torn = not (torn + piece)[:written].endswith(b"\n")  # on a disk with room for no more
        return piece[: max(0, written - len(torn))].count(b"\n")

    def close(self) -> None:
        """Close it, to be opened anew if there is more to write."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _opened(self) -> int:
        """Return the descriptor. Raises OSError."""
        if self._path == STANDARD_OUTPUT:
            return 1
        if self.reopens:
            self.reopens = False
            self.close()
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        return self._descriptor


def _nothing(address: str) -> str:
    return ""


_SHOWN: dict[str, Callable[[str], str]] = {"full": str, "masked": masked, "none": _nothing}


class Logger(glogging.Logger):  # type: ignore[misc]
    """Gunicorn's logger, with our access log in its workers.

    `access_log` is gunicorn's own until `begin`, as in the master; then it is an AccessLog, or None when the log is off.
    """

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> None:
        """Note a request that was answered by way of WSGI, or that could not be parsed."""
        if isinstance(self.access_log, AccessLog):
            self.access_log.note(
                environ.get("REQUEST_METHOD") or "",
                getattr(req, "path", None) or "",
                int(str(resp.status)[:3]) if resp.status else 0,
                resp.sent,
                request_time.total_seconds(),
                environ.get("REMOTE_ADDR") or "",
                environ.get("codyverse.request_id") or "",
                environ.get("HTTP_USER_AGENT") or "",
            )
        elif self.access_log is not None:
            super().access(resp, req, environ, request_time)

    def reopen_files(self) -> None:
        """Hear that files were moved away (SIGUSR1)."""
        super().reopen_files()
        if isinstance(self.access_log, AccessLog):
            self.access_log.reopen()


def make(settings: Settings, count: Count) -> AccessLog | None:
    """Return the access log that the settings describe, None when they want none."""
    if settings.access_log in OFF:
        return None
    return AccessLog(settings.access_log, settings.access_log_addresses, count)


def begin(worker: Any) -> None:
    """Have a worker of gunicorn's write the access log, and close it with the application's parts."""
    application = getattr(worker, "application", worker.wsgi)  # our own worker wraps it
    made = worker.log.access_log = make(application.config["CODYVERSE"], tallies.of(application).count)
    if made is not None:
        components.of(application).add("access-log", made.close)
