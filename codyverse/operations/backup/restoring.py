"""Restoring an archive, and trying one without touching anything: both read all of it and prove what it holds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa
from alembic import command

from codyverse import migrations
from codyverse.operations.backup import archive, engines, proof, shelf
from codyverse.operations.backup.creating import Source, create_in
from codyverse.operations.backup.engines import Engine
from codyverse.operations.backup.faults import Damaged, Failed, Refused
from codyverse.operations.backup.manifest import Facts, Manifest
from codyverse.operations.backup.proof import Proof

Work = Callable[[sa.Connection], Facts]


def verify(path: Path) -> Manifest:
    """Read all of an archive and return its manifest. Raises Damaged, Refused."""
    return archive.read(path)


def rehearse(path: Path, source: Source) -> tuple[Manifest, Facts]:
    """Restore an archive where nobody sees it; returns its manifest, and what is in it at this code's revision.

    Raises Damaged, Refused, Failed, OSError and the database's errors.
    """
    with shelf.workshop(source.settings) as place:
        engine = engines.of(source.database, source.settings)
        described = _unpack(path, place, engine)
        return described, engine.rehearse(place / "restored" / engine.member, _bring_up_to_date(described, source.proof))


def restore(path: Path, source: Source, force: bool = False) -> tuple[Facts, Path | None]:
    """Put an archive in the place of what there is; returns what is there now, and the archive of what was there before.

    Raises Refused when there is anything, unless it is forced; and Damaged, Failed, OSError and the database's errors. Whatever
    it raises, the database is what it was.
    """
    with shelf.workshop(source.settings) as place:
        engine = engines.of(source.database, source.settings)
        described = _unpack(path, place, engine)
        try:
            before = _save_what_is_there(place, source, engine, force)
        except (Failed, sa.exc.DatabaseError) as error:
            raise Failed(f"{_first_line(error)} So what is there is not replaced: move it away, and restore again.") from None
        _put_files(source, place / "restored", described)
        found = engine.restore(place / "restored" / engine.member, _bring_up_to_date(described, source.proof))
    return found, before


def _unpack(path: Path, place: Path, engine: Engine) -> Manifest:
    described = archive.read_manifest(path)
    if described.engine != engine.name:
        raise Refused(f"The archive is of {described.engine}, and this installation has {engine.name}.")
    if described.facts.revision not in migrations.known():
        raise Refused(
            f"The archive is at revision {described.facts.revision}, of version {described.version}; this version knows up to "
            f"{migrations.head()}. Install that version."
        )
    described = archive.read(path, place / "restored")
    if engine.member not in {member.name for member in described.members}:
        raise Damaged("The archive has no database.")
    return described


def _bring_up_to_date(described: Manifest, known: Proof) -> Work:
    """Return the work on a restored database: see that it is what the manifest says, migrate it, see that nothing was lost."""

    def work(connection: sa.Connection) -> Facts:
        expected = described.facts
        rows = proof.rows(connection)
        if rows != expected.rows or migrations.current(connection) != expected.revision:
            differing = sorted(name for name in rows.keys() | expected.rows.keys() if rows.get(name) != expected.rows.get(name))
            raise Damaged(f"The database in the archive is not what its manifest says: {', '.join(differing) or 'revision'}.")
        command.upgrade(migrations.configuration(connection), "head")
        found = proof.facts(connection, known)
        if replace(expected, revision=found.revision, rows=found.rows) != found:
            raise Failed(f"The ledger adds up to {found.sums} and not, as in the manifest, to {expected.sums}.")
        return found

    return work


def _save_what_is_there(place: Path, source: Source, engine: Engine, force: bool) -> Path | None:
    with engine.looking() as connection:
        rows = {name: number for name, number in proof.rows(connection).items() if number}
    if not rows:
        return None
    if not force:
        told = ", ".join(f"{number} in {name}" for name, number in sorted(rows.items(), key=lambda one: -one[1])[:3])
        raise Refused(f"The database is not empty ({told}). With --force it is backed up and then replaced.")
    path, _ = create_in(place, source)
    return path


def _first_line(error: Failed | sa.exc.DatabaseError) -> str:
    told = str(error.orig if isinstance(error, sa.exc.DatabaseError) else error)
    return f"What is there cannot be backed up: {told.splitlines()[0].rstrip('.')}."


def _put_files(source: Source, restored: Path, described: Manifest) -> None:
    """Put the files of learners where they belong. None is removed: what no account names is swept away some day."""
    for member in described.members:
        if member.name.split("/")[0] in source.folders:
            target = source.settings.instance_path / member.name
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside = target.with_name(f".{target.name}-restored")
            shutil.copyfile(restored / member.name, beside)
            beside.chmod(0o600)
            beside.rename(target)
    os.sync()  # once for all of them, before the database names them
