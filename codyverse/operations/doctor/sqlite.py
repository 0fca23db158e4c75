"""Checks of a database that is a file of SQLite."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from codyverse.operations.doctor.check import Finding, Group, fault, ok, skipped, warning
from codyverse.operations.doctor.database import REACHABLE
from codyverse.operations.doctor.deployment import Deployment

OLDEST = (3, 35, 0)  # the first with RETURNING
NETWORKS = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs", "fuse.glusterfs", "ocfs2", "gfs")
LARGEST_LOOKED_AT = 2_000_000_000  # bytes that are read within the time of a check
LARGEST_JOURNAL = 256_000_000


def _not_here(it: Deployment) -> str:
    return "" if it.database.dialect == "sqlite" else "The database is a server."


group = Group("database", _not_here)

GROUPS = (group,)


@group.check(
    "library-version",
    "SQLite is new enough",
    why="Statements of ours use what older ones do not know.",
    mend="A newer Python, or a newer libsqlite3 of the system.",
)
def library_version(it: Deployment) -> Finding:
    """Look at the library that Python brings."""
    version = sqlite3.sqlite_version
    return ok(version) if sqlite3.sqlite_version_info >= OLDEST else fault(f"It is {version}.")


@group.check(
    "local-file",
    "The file lies on a disk of this machine",
    why="Network file systems lose the locks by which SQLite keeps processes apart: the file breaks.",
    mend="CODYVERSE_INSTANCE_PATH on a local disk, or PostgreSQL.",
)
def local_file(it: Deployment) -> Finding:
    """Look at the kind of its file system."""
    kind = it.machine.file_system(_file(it))
    return fault(f"It lies on {kind}.") if kind.startswith(NETWORKS) else ok(kind)


@group.check(
    "journal",
    "The file has a write-ahead log",
    why="Otherwise every write keeps all readers waiting, and every reader the writers.",
    mend="Stop what holds the file open, and start the service: it switches the log on where the file system lets it.",
    needs=REACHABLE,
)
def journal(it: Deployment) -> Finding:
    """Ask a connection of ours, which has tried to switch it on."""
    mode = _first(it, "PRAGMA journal_mode")
    return ok() if mode == "wal" else fault(f"Its journal is of the kind {mode}.")


@group.check(
    "journal-size",
    "The write-ahead log is small",
    why="It grows while a reader never ends, and every read looks through it.",
    mend="Find the process that reads without end (a backup, an open shell) and end it.",
)
def journal_size(it: Deployment) -> Finding:
    """Look at its size."""
    log = Path(f"{_file(it)}-wal")
    size = log.stat().st_size if log.exists() else 0
    return warning(f"It has {size / 1e6:.0f} MB.") if size > LARGEST_JOURNAL else ok()


@group.check(
    "integrity",
    "The file is whole",
    why="A broken page goes unnoticed until somebody needs it, and by then the backups hold it too.",
    mend="flask backup restore of the newest backup that is whole.",
    needs=REACHABLE,
    within_s=60.0,
)
def integrity(it: Deployment) -> Finding:
    """Read every page, and look for rows that refer to nothing."""
    size = _file(it).stat().st_size
    if size > LARGEST_LOOKED_AT:
        return skipped(f"It has {size / 1e9:.0f} GB: run PRAGMA quick_check and PRAGMA foreign_key_check at a quiet hour.")
    try:
        told = _first(it, "PRAGMA quick_check(1)")
        lost = _first(it, "PRAGMA foreign_key_check")
    except sa.exc.DatabaseError as error:
        return fault(f"It is not: {error.orig}.")
    if told != "ok":
        return fault(f"It is not: {next(iter(str(told).splitlines()))}.")
    return fault(f"Rows of {lost} refer to rows that are not there.") if lost is not None else ok()


@group.check(
    "one-host",
    "One host serves",
    why="Every host has a file of its own: accounts and rewards would depend on whom the balancer asks.",
    mend="PostgreSQL for several hosts; without them, no CODYVERSE_REDIS_URL.",
)
def one_host(it: Deployment) -> Finding:
    """Look for Redis, which several hosts need and one does not."""
    return warning("There is a Redis, which only several hosts need.") if it.settings.redis_url else ok()


def _file(it: Deployment) -> Path:
    return Path(it.database.url.database or "").absolute()


def _first(it: Deployment, statement: str) -> Any:
    with it.database.read() as reader:
        return reader.execute(sa.text(statement)).scalar()
