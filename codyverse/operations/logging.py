"""Log lines of everything in the process: JSON on standard output, a copy in files that take turns, or text on a console.

A line is made where something is logged, in some 50 µs, and written by a thread (see `log_writer`): a request waits for no disk.
A command of `flask` writes on standard error only: standard output is for what it answers, and a file that root made would be
closed to the service.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import click
from flask import Flask

from codyverse.operations import components, log_records
from codyverse.operations.log_files import AppendedFile, RotatedFiles
from codyverse.operations.log_writer import File, LineWriter
from config import Settings

ROOM = 10_000  # lines that wait to be written: 40 MB at the worst, 3 MB of common ones
OUTPUT, ERRORS = 1, 2  # descriptors
FILE_NAME = "codyverse.log"
LOST = "log-lines-lost"  # among the tallies

log = logging.getLogger("codyverse.startup")


class Handler(logging.Handler):
    """Has the lines of the process written."""

    def __init__(self, settings: Settings, descriptor: int) -> None:
        super().__init__()
        files: list[File] = [AppendedFile("the log", descriptor)]
        if settings.log_path and descriptor != ERRORS:
            files.append(RotatedFiles("the file of the log", Path(settings.log_path) / FILE_NAME))
        self.made_for = _what(settings, descriptor)
        self.app: Flask | None = None  # which counts, once there is one
        self.setFormatter(
            log_records.formatter(console=settings.log_format == "console", exception_texts=settings.log_exception_texts)
        )
        self._writer = LineWriter(files, self._told, ROOM)

    def emit(self, record: logging.LogRecord) -> None:
        """Make a line and have it written. Nothing fails with the log."""
        try:
            self._writer.put(f"{self.format(record)}\n")
        except Exception:
            self._told(0, 1)

    def end(self) -> None:
        """Write what waits; the next line begins anew."""
        self._writer.close()

    def _told(self, written: int, lost: int) -> None:
        counts = self.app.extensions.get("codyverse.tallies") if self.app is not None else None
        if lost and counts is not None:
            counts.count(LOST, lost)


def begin(settings: Settings) -> Handler:
    """Have all lines of this process written as the settings say, in place of what said so before; returns what writes them."""
    descriptor = OUTPUT if click.get_current_context(silent=True) is None else ERRORS
    root = logging.getLogger()
    handler = next((each for each in root.handlers if isinstance(each, Handler)), None)
    if handler is None or handler.made_for != _what(settings, descriptor):
        if handler is not None:
            root.removeHandler(handler)
            handler.end()
            handler.close()
        handler = Handler(settings, descriptor)
        root.addHandler(handler)
    logging.getLogger("codyverse").setLevel(settings.log_level)
    logging.getLogger("codyverse.pool").setLevel(logging.WARNING)  # SQLAlchemy tells of every loan there
    return handler


def begin_serving(settings: Settings) -> None:
    """Do so in a server's process, also for exceptions that end one of its threads."""
    begin(settings)

    def ended(raised: threading.ExceptHookArgs) -> None:
        if raised.exc_value is not None and not issubclass(raised.exc_type, SystemExit):
            log.error("a thread ended", exc_info=raised.exc_value)

    threading.excepthook = ended


def end() -> None:
    """Write what waits, in a moment or two; for a process that ends without being told."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, Handler):
            handler.end()


def _what(settings: Settings, descriptor: int) -> tuple[object, ...]:
    return descriptor, settings.log_format, settings.log_path, settings.log_exception_texts


def init_app(app: Flask) -> None:
    """Begin. Comes after components, before every part that may have something to say."""
    handler = begin(app.config["CODYVERSE"])
    handler.app = app
    components.of(app).add("log", handler.end)
