"""`flask ledger`: the proof of every balance."""

from __future__ import annotations

import click
from flask import Flask

from codyverse.extensions import database
from codyverse.operations.commands import Group
from codyverse.rewards import verification

SHOWN = 20

group = Group("ledger", help="Check what learners earned.")


@group.command()
def verify() -> None:
    """Recompute every balance from its entries and print the difference; exits 1 unless it is zero."""
    found = verification.verify(database)
    for one in found.differences[:SHOWN]:
        click.echo(f"user {one.user_id}: {one.stored} {one.currency} stored, entries add up to {one.entries_sum}")
    if len(found.differences) > SHOWN:
        click.echo(f"… and {len(found.differences) - SHOWN} more")
    click.echo(f"difference {found.total} ({found.entries} entries, {found.wallets} wallets)")
    if found.total:
        raise SystemExit(1)


def init_app(app: Flask) -> None:
    """Register `flask ledger`."""
    app.cli.add_command(group)
