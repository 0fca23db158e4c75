"""`flask deploy drain` and `undrain`: one server leaves, and comes back, without a lost request."""

from __future__ import annotations

import click
from flask import Flask

from codyverse.operations.deploy import drain as draining
from codyverse.operations.deploy import runtime
from codyverse.operations.deploy.group import group
from codyverse.operations.deploy.runtime import Runtime

_wait = click.option(
    "--wait", "wait_s", type=click.FloatRange(0, 3600), default=40, show_default=True, help="Seconds that it may take."
)


@group.command()
@runtime.option
def servers(address: str) -> None:
    """Print a line for every server: backend, name, HOST:PORT, state and requests in progress, with tabs between them."""
    for row in draining.servers(Runtime(address)):
        if not row.is_spare:
            click.echo("\t".join((row.backend, row.name, row.address, row.status, str(row.sessions + row.waiting))))


@group.command()
@click.argument("where", metavar="HOST:PORT")
@_wait
@click.option("--force", "is_forced", is_flag=True, help="Even when no other server is up.")
@runtime.option
def drain(where: str, wait_s: float, is_forced: bool, address: str) -> None:
    """Send a server nothing new, and wait until it has answered what it had; exits 1 when that takes longer."""
    draining.drain(Runtime(address), where, wait_s, is_forced)
    click.echo(f"{where} is drained.")


@group.command()
@click.argument("where", metavar="HOST:PORT")
@_wait
@runtime.option
def undrain(where: str, wait_s: float, address: str) -> None:
    """Put a server back, and wait until HAProxy's checks find it ready; exits 1 when they do not."""
    draining.undrain(Runtime(address), where, wait_s)
    click.echo(f"{where} is up.")


def init_app(app: Flask) -> None:
    """Register `flask deploy drain` and `undrain`."""
    app.cli.add_command(group)
