"""The access log: one JSON line a request, written off the request's path.

A request only makes its line, in a microsecond; the rest is `log_writer`'s.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gunicorn import glogging

from codyverse.operations import components, tallies
from codyverse.operations.log_files import AppendedFile, RotatedFiles
from codyverse.operations.log_writer import File, LineWriter
from codyverse.server.access_lines import LONGEST_AGENT, LONGEST_PATH, line, masked
from config import Settings

OFF, STANDARD_OUTPUT = ("", "off"), "-"
NAME, FILE_NAME = "the access log", "access.log"
QUEUE = 20_000  # lines, some 10 MB; twice what a worker makes at its best before they are written

WRITTEN, DROPPED = "access-log:written", "access-log:dropped"

log = logging.getLogger("codyverse.performance")

Count = Callable[[str, float], None]


class AccessLog(LineWriter):
    """The access log of one process."""

    def __init__(
        self, file: File, addresses: str, count: Count, slow_ms: float = math.inf, clock: Callable[[], float] = time.time
    ) -> None:
        """Mark requests that take `slow_ms` or longer."""
        super().__init__([file], self._count_lines, QUEUE)
        self._shown = _SHOWN[addresses]
        self._count = count
        self._slow_s = slow_ms / 1000
        self._clock = clock

    def note(
        self, method: str, path: str, status: int, sent_bytes: int, seconds: float, address: str, request_id: str, agent: str
    ) -> None:
        """Have a request written, in a moment."""
        if not self.has_room():
            return
        try:
            path, agent, shown = path[:LONGEST_PATH], agent[:LONGEST_AGENT], self._shown(address)
            is_slow = seconds >= self._slow_s
            made = line(self._clock(), method, path, status, sent_bytes, seconds, shown, request_id, agent, self._pid, is_slow)
        except Exception:  # nothing fails with the log
            log.exception("the access log lost a line")
            self._count(DROPPED, 1)
        else:
            self._queue.append(made)

    def _count_lines(self, written: int, lost: int) -> None:
        for name, amount in ((WRITTEN, written), (DROPPED, lost)):
            if amount:
                self._count(name, amount)


def _nothing(address: str) -> str:
    return ""


_SHOWN: dict[str, Callable[[str], str]] = {"full": str, "masked": masked, "none": _nothing}


class Logger(glogging.Logger):  # type: ignore[misc]
    """Gunicorn's logger, with our access log in its workers.

    `access_log` is gunicorn's own until `begin`, as in the master; then it is an AccessLog, or None when the log is off.
    """

    def setup(self, cfg: Any) -> None:
        """Have gunicorn's own lines written where all others are, unless its settings name another place."""
        super().setup(cfg)
        if cfg.errorlog == "-" and not (cfg.logconfig or cfg.logconfig_dict or cfg.logconfig_json):
            for handler in [each for each in self.error_log.handlers if type(each) is logging.StreamHandler]:
                self.error_log.removeHandler(handler)
            self.error_log.propagate = True

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
    return AccessLog(_file(settings), settings.access_log_addresses, count, settings.slow_request_ms)


def _file(settings: Settings) -> File:
    if settings.access_log != STANDARD_OUTPUT:
        return AppendedFile(NAME, settings.access_log)
    if settings.log_path:
        return RotatedFiles(NAME, Path(settings.log_path) / FILE_NAME)
    return AppendedFile(NAME, 1)


def begin(worker: Any) -> None:
    """Have a worker of gunicorn's write the access log, and close it with the application's parts."""
    application = getattr(worker, "application", worker.wsgi)  # our own worker wraps it
    made = worker.log.access_log = make(application.config["CODYVERSE"], tallies.of(application).count)
    if made is not None:
        components.of(application).add("access-log", made.close)
