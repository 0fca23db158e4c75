"""Making an archive: a copy of the database as of one moment, and the files of learners that it names."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from codyverse.database import Database
from codyverse.operations.backup import archive, engines, manifest, proof, shelf
from codyverse.operations.backup.manifest import Manifest
from codyverse.operations.backup.proof import Proof
from codyverse.version import VERSION
from config import Settings

_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK)


@dataclass(frozen=True, slots=True)
class Source:
    """What there is to back up: a database, what proves it, and folders in the instance folder."""

    database: Database
    settings: Settings
    proof: Proof
    folders: tuple[str, ...]


def create(source: Source) -> tuple[Path, Manifest]:
    """Make an archive and return where it is and what it says of itself.

    It is whole or not there. Raises Refused, Failed, OSError and the database's errors.
    """
    with shelf.workshop(source.settings) as place:
        return create_in(place, source)


def create_in(place: Path, source: Source) -> tuple[Path, Manifest]:
    """Do the same in a workshop that the caller has."""
    content = place / "content"
    content.mkdir(mode=0o700)
    engine = engines.of(source.database, source.settings)
    created_at = datetime.now(UTC)
    # A learner's file is there before the database names it, and goes after the database names another. So what is there before
    # the copy or after it has all that the copy names, but for a file that comes and goes in between.
    _gather(source, content)
    facts = engine.take(content / engine.member, lambda connection: proof.facts(connection, source.proof))
    _gather(source, content)
    names = [engine.member, *_names(source.folders, content)]
    members = tuple(archive.member(content, name) for name in names)
    described = Manifest(VERSION, engine.name, engine.version(), created_at, facts, members)
    archive.write(place / "archive", described, content)
    return shelf.put(source.settings, place / "archive", created_at), described


def _gather(source: Source, content: Path) -> None:
    """Have the files that are there now, and were not gathered before, beside the copy: as links where that is possible."""
    for name in _names(source.folders, source.settings.instance_path):
        copy = content / name
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError, FileExistsError):
            _link(source.settings.instance_path / name, copy)


def _link(file: Path, copy: Path) -> None:
    try:
        os.link(file, copy)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if not copy.exists():
            shutil.copyfile(file, copy)


def _names(folders: tuple[str, ...], below: Path) -> Iterator[str]:
    for folder in folders:
        for path in sorted((below / folder).rglob("*")):
            name = str(path.relative_to(below))
            # What has another name was put there by somebody else, and could not be restored.
            if path.is_file() and not path.is_symlink() and manifest.is_plain(name):
                yield name
