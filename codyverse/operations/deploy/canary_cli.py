"""`flask deploy canary`: how many visitors get the new version, and what becomes of it."""

from __future__ import annotations

import dataclasses

import click
import orjson
from flask import Flask
from flask.cli import with_appcontext

from codyverse.extensions import database
from codyverse.operations import audit
from codyverse.operations.commands import CommandError, Group
from codyverse.operations.deploy import request_times, runtime
from codyverse.operations.deploy.canary import Canary, NotKept, Track
from codyverse.operations.deploy.group import group
from codyverse.operations.deploy.judgement import Tolerance
from codyverse.operations.deploy.request_times import RequestTimes
from codyverse.operations.deploy.runtime import Runtime
from codyverse.operations.deploy.watching import Watch


class _Percentages(Group):
    """A group in which a number is a command too."""

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return the command of this name. Raises CommandError for a number that is no percentage."""
        if not (name.isascii() and name.isdigit()):
            return super().get_command(ctx, name)
        if int(name) > 100:
            raise CommandError(f"{name} is no percentage.")
        return _sending(name)


canary = _Percentages(
    "canary",
    subcommand_metavar="0..100|COMMAND",
    help="Send a percentage of visitors to the canary, or do as a COMMAND says.",
)
group.add_command(canary)


def _sending(percent: str) -> click.Command:
    @click.command(percent, help=f"Send {percent} % of visitors to the canary.")
    @runtime.option
    @with_appcontext
    def send(address: str) -> None:
        _set(address, int(percent))

    return send


@canary.command()
@runtime.option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def status(address: str, as_json: bool) -> None:
    """Print the percentage, and of both versions the servers that are up, requests, errors and mean time.

    Requests are counted from HAProxy's last reload on. The time, until an answer begins, is the mean of the last 1,024 answers.
    """
    found = Canary(Runtime(address))
    percent, tracks = found.percent(), found.tracks()
    if as_json:
        figures = {"percent": percent, **{name: dataclasses.asdict(track) for name, track in tracks.items()}}
        click.echo(orjson.dumps(figures, option=orjson.OPT_INDENT_2).decode())
        return
    click.echo(f"{percent} % of visitors go to the canary")
    click.echo(f"{'':8}{'up':>8}{'requests':>12}{'errors':>10}{'mean ms':>10}")
    for name, track in tracks.items():
        up = f"{track.up}/{track.servers}"
        click.echo(f"{name:8}{up:>8}{track.requests:>12}{_share_of_errors(track):>10}{track.mean_ms:>10}")


@canary.command()
@runtime.option
def promote(address: str) -> None:
    """Send everybody to the canary, also who was on stable."""
    _set(address, 100)


@canary.command()
@runtime.option
def rollback(address: str) -> None:
    """Send everybody to stable, also who was on the canary."""
    _set(address, 0)


@canary.command()
@runtime.option
@click.option("--for", "seconds", type=click.FloatRange(1, 86_400), default=300, show_default=True, help="Seconds to watch.")
@click.option("--window", type=click.FloatRange(1, 3600), default=60, show_default=True, help="Seconds that are compared.")
@click.option(
    "--errors", type=click.FloatRange(0, 100), default=1, show_default=True, help="Percent of errors more than stable has."
)
@click.option("--slower", type=click.FloatRange(1, 100), default=1.5, show_default=True, help="Multiple of stable's p95.")
@click.option(
    "--log", default=request_times.ADDRESS, show_default=True, metavar="HOST:PORT", help="Where HAProxy sends its log lines."
)
def watch(address: str, seconds: float, window: float, errors: float, slower: float, log: str) -> None:
    """Compare the canary with stable, and roll it back when it is worse.

    Exits 0 when it was well to the end, 1 when it was rolled back or cannot be watched any more, 2 when too few requests came to
    tell.
    """
    with RequestTimes(log) as times:
        outcome = Watch(Canary(Runtime(address)), times, window, Tolerance(errors / 100, slower)).run(seconds)
    if outcome.was_rolled_back:
        _record(0, by_watch=True)
    click.echo(outcome.line)
    if not outcome.is_well:
        raise SystemExit(1)


def _set(address: str, percent: int) -> None:
    try:
        Canary(Runtime(address)).set_percent(percent)
    except NotKept:  # visitors go there all the same
        _record(percent)
        raise
    _record(percent)
    whom = {0: "Everybody goes to stable.", 100: "Everybody goes to the canary."}
    click.echo(whom.get(percent, f"{percent} % of visitors go to the canary."))


def _record(percent: int, **more: bool) -> None:
    audit.note(database, "canary_changed", audit.CLI, "canary", {"percent": percent, **more})


def _share_of_errors(track: Track) -> str:
    return f"{track.errors / track.requests:.2%}" if track.requests else "-"


def init_app(app: Flask) -> None:
    """Register `flask deploy canary`."""
    app.cli.add_command(group)
