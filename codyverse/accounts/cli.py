"""`flask avatars`: the files of avatars."""

from __future__ import annotations

import click
from flask import Flask, current_app

from codyverse.accounts import avatars, service
from codyverse.extensions import database
from codyverse.operations.commands import Group

group = Group("avatars", help="Keep the files of avatars in order.")


@group.command()
def sweep() -> None:
    """Remove files that no account names any more and that are older than a day."""
    swept = service.sweep_avatars(database, avatars.storage(current_app.config["CODYVERSE"].instance_path))
    click.echo(f"{swept.removed} {'file' if swept.removed == 1 else 'files'} removed, {swept.kept} in use")


def init_app(app: Flask) -> None:
    """Register `flask avatars`."""
    app.cli.add_command(group)
