"""`flask accounts` and `flask avatars`: what accounts may do, and the files of their avatars."""

from __future__ import annotations

import click
from flask import Flask, current_app

from codyverse.accounts import avatars, service
from codyverse.accounts.models import ROLES
from codyverse.extensions import database
from codyverse.operations.commands import Group

accounts_group = Group("accounts", help="Say what accounts may do.")
group = Group("avatars", help="Keep the files of avatars in order.")


@accounts_group.command()
@click.argument("email")
@click.argument("role", type=click.Choice(ROLES))
def role(email: str, role: str) -> None:
    """Give an account a role, from its next request on; an admin is an operator."""
    service.change_role(database, email, role)
    click.echo(f"{email.lower()} is {role} now")


@group.command()
def sweep() -> None:
    """Remove files that no account names any more and that are older than a day."""
    swept = service.sweep_avatars(database, avatars.storage(current_app.config["CODYVERSE"].instance_path))
    click.echo(f"{swept.removed} {'file' if swept.removed == 1 else 'files'} removed, {swept.kept} in use")


def init_app(app: Flask) -> None:
    """Register the commands."""
    app.cli.add_command(accounts_group)
    app.cli.add_command(group)
