"""`flask backup`: make archives of the installation, prove them, and go back to one."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import Any

import click
import orjson
import sqlalchemy.exc
from flask import Flask, current_app
from flask.cli import AppGroup

from codyverse.operations import audit, cache
from codyverse.operations.backup import archive, creating, restoring, shelf
from codyverse.operations.backup.creating import Source
from codyverse.operations.backup.faults import Damaged, Failed, Refused
from codyverse.operations.backup.manifest import Facts, Manifest
from codyverse.operations.backup.proof import Proof
from codyverse.operations.commands import CommandError
from config import Settings


class BackupFailed(CommandError):
    """What was begun and did not succeed; nothing was changed."""

    exit_code = 1


class Group(AppGroup):
    """Commands that exit with 2 for what they refuse, and with 1 for what they could not do."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. Raises CommandError."""
        try:
            return super().invoke(ctx)
        except Refused as error:
            raise CommandError(str(error)) from None
        except Failed as error:
            raise BackupFailed(str(error)) from None
        except OSError as error:
            raise BackupFailed(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.") from None
        except sqlalchemy.exc.DBAPIError as error:
            raise BackupFailed(f"The database cannot be used: {error.orig}") from None


group = Group("backup", help="Make archives of database and avatars, prove them, and go back to one.")


@group.command()
def create() -> None:
    """Make an archive of the database and the avatars as of now; the service may run."""
    path, described = creating.create(_source())
    click.echo(f"{path.name}: {path.stat().st_size} bytes, {_told(described.facts)}")
    if described.facts.difference:
        click.echo(f"Its ledger differs from the balances by {described.facts.difference}: see `flask ledger verify`.", err=True)


@group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_(as_json: bool) -> None:
    """Print the archives, the oldest first."""
    found = [_line(one) for one in shelf.archives(_settings())]
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    elif not found:
        click.echo(f"No archives in {shelf.folder(_settings())}.")
    for line in found if not as_json else ():
        click.echo(f"{line['name']}  {line['bytes']:>14}  {line['engine']:<10}  {line['revision']:<8}  {line['rows']:>12} rows")


@group.command()
@click.argument("named", required=False, metavar="[ARCHIVE]")
@click.option("--deep", is_flag=True, help="Restore it where nobody sees it, migrate it, and recompute every balance.")
def verify(named: str | None, deep: bool) -> None:
    """Read all of ARCHIVE, the newest unless one is named, and compare it with its manifest; exits 1 if it is not good."""
    path = _newest() if named is None else shelf.find(_settings(), named)
    if not deep:
        described = restoring.verify(path)
        click.echo(f"{path.name}: {len(described.members)} files are what they were, {_told(described.facts)}")
        return
    described, found = restoring.rehearse(path, _source())
    click.echo(f"{path.name}: can be restored, {_told(found)}{_migrated(described, found)}")
    if found.difference:
        raise SystemExit(1)


@group.command()
@click.argument("named", metavar="ARCHIVE")
@click.option("--force", is_flag=True, help="Replace what is there, after an archive of it was made.")
def restore(named: str, force: bool) -> None:
    """Put ARCHIVE, a path or a name in the folder, in the place of the database. Stop the service first.

    An archive of an older version is migrated. Whatever fails, the database is what it was.
    """
    path, source = shelf.find(_settings(), named), _source()
    found, before = restoring.restore(path, source, force)
    if before is not None:
        click.echo(f"What was there before is in {before.name}.")
    cache.of(current_app).clear()  # workers that run know nothing of the new rows
    details = {"archive": path.name, "before": before.name if before else None}
    audit.note(source.database, "backup_restored", audit.CLI, "database", details)
    click.echo(f"Restored: {_told(found)}")


@group.command()
@click.option("--keep-daily", type=click.IntRange(0), default=7, show_default=True, metavar="N", help="Days of which one stays.")
@click.option(
    "--keep-weekly", type=click.IntRange(0), default=4, show_default=True, metavar="N", help="Weeks of which one stays."
)
def prune(keep_daily: int, keep_weekly: int) -> None:
    """Remove archives but the newest of each of the last days, and weeks, that have one. The newest of all always stays."""
    settings = _settings()
    with shelf.workshop(settings):
        found = shelf.archives(settings)
        gone = shelf.outdated(found, keep_daily, keep_weekly)
        for one in gone:
            one.path.unlink()
            click.echo(f"removed {one.path.name}")
    click.echo(f"{len(gone)} removed, {len(found) - len(gone)} kept")


def _settings() -> Settings:
    settings: Settings = current_app.config["CODYVERSE"]
    return settings


def _source() -> Source:
    source: Source = current_app.extensions["codyverse.backup"]
    return source


def _newest() -> Path:
    found = shelf.archives(_settings())
    if not found:
        raise Refused(f"There are no archives in {shelf.folder(_settings())}.")
    return found[-1].path


def _line(one: shelf.Archived) -> dict[str, Any]:
    line = {
        "name": one.path.name,
        "bytes": one.path.stat().st_size,
        "created_at": one.created_at.astimezone(UTC).isoformat(timespec="milliseconds"),
    }
    try:
        described = archive.read_manifest(one.path)
    except (Damaged, Refused):
        return {**line, "engine": "damaged", "version": "-", "revision": "-", "rows": 0}
    facts = described.facts
    return {
        **line,
        "engine": described.engine,
        "version": described.version,
        "revision": facts.revision,
        "rows": sum(facts.rows.values()),
    }


def _told(facts: Facts) -> str:
    sums = ", ".join(f"{amount} {currency}" for currency, amount in sorted(facts.sums.items()))
    return f"revision {facts.revision}, {sum(facts.rows.values())} rows, {sums}, difference {facts.difference}"


def _migrated(described: Manifest, found: Facts) -> str:
    return f" (migrated from {described.facts.revision})" if described.facts.revision != found.revision else ""


def init_app(app: Flask, proof: Proof, folders: tuple[str, ...]) -> None:
    """Register `flask backup`, with what proves the ledger and the folders in the instance folder that hold learners' files."""
    app.extensions["codyverse.backup"] = Source(app.extensions["codyverse.database"], app.config["CODYVERSE"], proof, folders)
    app.cli.add_command(group)
