"""The folder of archives: their names, which is the newest, which may go, and a place to work beside them.

Nothing but a whole archive ever has an archive's name: what is unfinished lies in the workshop, which the next command empties
when one was killed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from codyverse.operations.backup.faults import Refused
from config import Settings

_NAME = re.compile(r"codyverse-(\d{8}T\d{6}\.\d{3})Z\.tar\.gz", re.ASCII)
_MOMENT = "%Y%m%dT%H%M%S.%f"
_WORKSHOP = ".work-"


class Archived(NamedTuple):
    """An archive in the folder."""

    created_at: datetime
    path: Path


def folder(settings: Settings) -> Path:
    """Return where this installation keeps its archives."""
    chosen = settings.backup_path
    return Path(chosen).expanduser().absolute() if chosen else settings.instance_path / "backups"


def archives(settings: Settings) -> list[Archived]:
    """Return the archives, the oldest first. Raises OSError when the folder cannot be read."""
    where = folder(settings)
    if not where.exists():
        return []
    return sorted(Archived(moment, path) for path in where.iterdir() if (moment := _moment(path.name)) is not None)


def newest(settings: Settings) -> float | None:
    """Return when the newest archive was made, in seconds since 1970, None when there is none. Raises OSError."""
    found = archives(settings)
    return found[-1].created_at.timestamp() if found else None


def name(moment: datetime) -> str:
    """Return the name of an archive, to the millisecond: two of them are never made at once."""
    return f"codyverse-{moment.astimezone(UTC).strftime(_MOMENT)[:-3]}Z.tar.gz"


def find(settings: Settings, named: str) -> Path:
    """Return the archive that an operator named: by its path, or by its name in the folder."""
    inside = folder(settings) / named
    return inside if Path(named).name == named and inside.exists() else Path(named).absolute()


def outdated(found: Iterable[Archived], daily: int, weekly: int) -> list[Archived]:
    """Return what may go when the newest of so many days, and of so many weeks, stay: those that have one. The newest stays."""
    newest_first = sorted(found, reverse=True)
    kept = {
        *newest_first[:1],
        *_newest_of_each(newest_first, daily, lambda moment: moment.date()),
        *_newest_of_each(newest_first, weekly, lambda moment: moment.isocalendar()[:2]),
    }
    return [one for one in reversed(newest_first) if one not in kept]


@contextmanager
def workshop(settings: Settings) -> Iterator[Path]:
    """Lend an empty folder beside the archives, to one command at a time. Raises Refused to others, and OSError."""
    where = folder(settings)
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (where / ".lock").open("w") as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("Another `flask backup` command is at work in this folder. Try again when it is done.") from None
        for left_over in where.glob(f"{_WORKSHOP}*"):
            shutil.rmtree(left_over, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=where, prefix=_WORKSHOP) as place:  # mode 0700
            yield Path(place)


def put(settings: Settings, finished: Path, moment: datetime) -> Path:
    """Give a finished archive its name, by which it is there after a loss of power too. Raises Refused and OSError."""
    path = folder(settings) / name(moment)
    if path.exists():  # whoever holds the workshop is alone here
        raise Refused(f"There is an archive of this moment, {path.name}. Is the clock right?")
    finished.rename(path)
    sync(path.parent)
    return path


def sync(path: Path) -> None:
    """Write what a folder lists to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _moment(name: str) -> datetime | None:
    found = _NAME.fullmatch(name)
    try:
        return datetime.strptime(found[1], _MOMENT).replace(tzinfo=UTC) if found else None
    except ValueError:  # digits that are no date
        return None


def _newest_of_each(newest_first: list[Archived], number: int, period: Callable[[datetime], object]) -> list[Archived]:
    newest_of: dict[object, Archived] = {}
    for one in newest_first:
        newest_of.setdefault(period(one.created_at), one)
    return list(newest_of.values())[:number]
