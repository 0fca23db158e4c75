"""`flask db`: the schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import alembic.util
import click
from alembic import command
from alembic.config import Config
from flask import Flask

from codyverse import migrations
from codyverse.extensions import database
from codyverse.operations.commands import CommandError, Group

CLAIM = 0x636F6479_6D696772  # any number will do that nothing else claims

group = Group("db", help="Bring the database's schema to a revision.")


@contextmanager
def _alembic() -> Iterator[Config]:
    """Lend Alembic a transaction: a migration that fails leaves nothing half done."""
    try:
        with database.transaction() as tx:
            database.take_time(tx)
            database.take_turns(tx, CLAIM)  # two hosts that are started at once
            yield migrations.configuration(tx.connection)
    except alembic.util.CommandError as error:
        raise CommandError(str(error)) from None


@group.command()
@click.argument("revision", default="head")
def upgrade(revision: str) -> None:
    """Go forward to a revision, the newest unless one is named."""
    with _alembic() as configured:
        command.upgrade(configured, revision)
    _show()


@group.command()
@click.argument("revision")
def downgrade(revision: str) -> None:
    """Go back to a revision, such as 0001; `base` removes every table and what is in it."""
    with _alembic() as configured:
        command.downgrade(configured, revision)
    _show()


@group.command()
def status() -> None:
    """Say where the database is; exits 1 when it is not at the newest revision."""
    if not _show():
        raise SystemExit(1)


@group.command()
@click.argument("message")
def revision(message: str) -> None:
    """Write a new migration from the difference between models and database."""
    with _alembic() as configured:
        newest = migrations.head()
        command.revision(configured, message, autogenerate=True, rev_id=f"{int(newest or 0) + 1:04}")


def _show() -> bool:
    with database.read() as reader:
        at = migrations.current(reader.connection)
    current = at == migrations.head()
    click.echo(f"{database.dialect}: at {at or 'nothing'}, {'current' if current else f'newest is {migrations.head()}'}")
    return current


def init_app(app: Flask) -> None:
    """Register `flask db`."""
    app.cli.add_command(group)
