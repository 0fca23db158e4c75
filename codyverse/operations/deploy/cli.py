"""`flask deploy haproxy`: HAProxy's configuration for the servers that are named."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click
from flask import Flask, current_app

from codyverse.operations.commands import CommandError
from codyverse.operations.deploy import haproxy as generation
from codyverse.operations.deploy.addresses import Address
from codyverse.operations.deploy.canary import MAP_NAME
from codyverse.operations.deploy.group import group
from codyverse.operations.deploy.haproxy import Plan
from codyverse.operations.deploy.runtime import SOCKET
from codyverse.operations.proxies import is_host

PORTS = range(1, 65536)


@group.command()
@click.option("--server", "servers", multiple=True, metavar="HOST:PORT[,weight=N]", help="An application server.")
@click.option("--canary", "canaries", multiple=True, metavar="HOST:PORT[,weight=N]", help="A server of the new version.")
@click.option("--strategy", default="roundrobin", show_default=True, help="roundrobin, leastconn or weighted.")
@click.option("--bind", metavar="ADDRESS:PORT", help="Where clients come in.  [default: *:443 with a certificate, else *:80]")
@click.option("--certificate", default="", metavar="PATH", help="Certificate and key in one PEM file, for HTTPS and HTTP/2.")
@click.option("--plain", metavar="ADDRESS:PORT", help="Where the application redirects to HTTPS.  [default: *:80]")
@click.option("--socket", default=SOCKET, show_default=True, metavar="PATH", help="The runtime socket.")
@click.option("--folder", default="/etc/haproxy", show_default=True, metavar="PATH", help=f"Folder of {MAP_NAME}.")
@click.option("--metrics", default="8405", show_default=True, metavar="PORT", help="Port of 127.0.0.1 for /metrics and checks.")
@click.option("--concurrency", default="500", show_default=True, metavar="N", help="Requests a server has at once; more wait.")
@click.option("--host", default="localhost", show_default=True, metavar="NAME", help="Host that checks ask for.")
@click.option("--user", default="haproxy", show_default=True, metavar="NAME", help="Account to become; empty: none.")
@click.option("--dns", is_flag=True, help="Look names of servers up again while HAProxy runs, for containers.")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Write there, and not to standard output.")
def haproxy(
    servers: tuple[str, ...],
    canaries: tuple[str, ...],
    strategy: str,
    bind: str | None,
    certificate: str,
    plain: str | None,
    socket: str,
    folder: str,
    metrics: str,
    concurrency: str,
    host: str,
    user: str,
    dns: bool,
    output: Path | None,
) -> None:
    """Write haproxy.cfg, after HAProxy has checked it where there is one.

    The servers need CODYVERSE_TRUSTED_PROXIES=1. An address may ask for twice what CODYVERSE_LIMIT_ADDRESS allows before HAProxy
    itself refuses it.
    """
    settings = current_app.config["CODYVERSE"]
    if not is_host(host):
        raise CommandError(f"{host!r} is no name of a host.")
    if plain and not certificate:
        raise CommandError("--plain stands beside a --certificate only.")
    plan = Plan(
        servers=tuple(generation.server(f"s{number}", text) for number, text in enumerate(servers, 1)),
        canaries=tuple(generation.server(f"c{number}", text) for number, text in enumerate(canaries, 1)),
        strategy=strategy,
        bind=str(Address.of(bind or ("*:443" if certificate else "*:80"), any_host=True)),
        plain=str(Address.of(plain or "*:80", any_host=True)),
        certificate=certificate and generation.path("The certificate", certificate),
        socket=generation.path("The socket", socket),
        folder=generation.path("The folder", folder),
        metrics_port=generation.number("The port of the metrics", metrics, PORTS),
        concurrency=generation.number("--concurrency", concurrency, range(1, 10_001)),
        user=user,
        host=host,
        dns=dns,
        shield=generation.shield(settings.limit_address) if settings.feature_rate_limit else None,
    )
    generation.check(plan)
    installed = generation.find()
    if installed:
        generation.verify(installed, plan)
    _deliver(plan, output)
    checked = "HAProxy has checked the configuration." if installed else "It is not checked: HAProxy is not installed here."
    click.echo(checked, err=True)


def _deliver(plan: Plan, output: Path | None) -> None:
    text = generation.render(plan)
    if output is None:
        click.echo(text, nl=False)
        return
    if plan.canaries:
        _write_map(Path(plan.folder, MAP_NAME))
    _write(output, text)


def _write_map(path: Path) -> None:
    """Write the map with which nobody goes to the canary, unless there is one: a rollout may be under way."""
    if path.exists():
        return
    if path.parent.is_dir():
        _write(path, generation.initial_map())
    else:
        click.echo(
            f"There is no {path.parent} here: HAProxy needs {path} with the line {generation.initial_map().strip()!r}.", err=True
        )


def _write(path: Path, text: str) -> None:
    try:
        _replace(path, text)
    except OSError as error:  # which names the file that was to take its place
        raise CommandError(f"{click.format_filename(path)} cannot be written: {error.strerror}.") from None


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all: HAProxy may be told to read it at any moment. It holds no secrets."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), path.stat().st_mode & 0o777 if path.exists() else 0o644)
            os.rename(file.name, path)  # noqa: PTH104  (a rename is what makes it atomic)
        except BaseException:
            os.unlink(file.name)  # noqa: PTH108
            raise


def init_app(app: Flask) -> None:
    """Register `flask deploy haproxy`."""
    app.cli.add_command(group)
