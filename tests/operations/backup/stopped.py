"""`flask backup`, which stops at a place that is named, and waits there to be killed: `python -m … PLACE COMMAND…`."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any, NoReturn

from alembic import command

from codyverse import create_app
from codyverse.operations.backup import archive, creating, restoring, shelf, sqlite


def stop(*arguments: Any, **named: Any) -> NoReturn:
    os.write(1, b"stopped\n")  # click has put something of its own in the place of sys.stdout
    while True:
        signal.pause()


def copy_half(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    source.backup(target, pages=20, progress=stop)


def stop_at(place: str) -> None:
    owner, name, instead = {
        "before the copy": (creating.engines, "of", stop),
        "in the copy": (sqlite, "_copy", copy_half),
        "after the copy": (archive, "member", stop),
        "in the archive": (archive, "_head", stop),
        "after the archive": (shelf, "put", stop),
        "after the name": (shelf, "sync", stop),
        "before the files": (restoring, "_put_files", stop),
        "in the files": (Path, "rename", stop),
        "in the migration": (command, "upgrade", stop),
        "before the checks": (restoring.proof, "facts", stop),
    }[place]
    setattr(owner, name, instead)


def stop_after_saving(place: str) -> None:
    """What is there is backed up before it is replaced, by way of some of the same places."""
    save = restoring._save_what_is_there

    def saved(*arguments: Any) -> Path | None:
        path = save(*arguments)
        stop_at(place)
        return path

    restoring._save_what_is_there = saved


def main() -> None:
    place, *arguments = sys.argv[1:]
    app = create_app()
    if arguments[0] == "restore":
        stop_after_saving(place)
    else:
        stop_at(place)
    app.test_cli_runner().invoke(args=["backup", *arguments], catch_exceptions=False)
    print("ended", flush=True)


if __name__ == "__main__":
    main()
