"""The server with the routes of `watched`."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.server import Server


def watched(folder: Path, sqlite_template: Path, *arguments: str, **settings: str) -> Server:
    """Return a server on an empty database."""
    database = shutil.copy(sqlite_template, folder / "test.sqlite3")
    worker = ("--worker-class", "tests.front.watched_worker.Worker", "tests.front.watched:app")
    return Server(folder, f"sqlite:///{database}", *arguments, *worker, **settings)


def log_of(folder: Path) -> str:
    """Return what the server has written."""
    return (folder / "server.log").read_text("utf-8", "replace")
