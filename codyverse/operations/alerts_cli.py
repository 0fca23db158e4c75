"""`flask alerts`: where alerts stand, what they did, whether somebody hears of them, and the same rules for Prometheus."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any

import click
import orjson
from flask import Flask, current_app

from codyverse.operations import alerts
from codyverse.operations.alerts import channels, promql
from codyverse.operations.alerts.channels import Undelivered
from codyverse.operations.alerts.rules import BadRules, Rule
from codyverse.operations.commands import CommandError, Group

group = Group("alerts", help="Show alerts, try how they are told, and write their rules for Prometheus.")


def _rules() -> tuple[Rule, ...]:
    try:
        return alerts.rules_of(current_app)
    except BadRules as error:
        raise CommandError(str(error)) from None


def _needs_rules(command: Callable[..., None]) -> Callable[..., None]:
    @wraps(command)
    def checked(*arguments: Any, **named: Any) -> None:
        _rules()
        command(*arguments, **named)

    return checked


@group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@_needs_rules
def list_(as_json: bool) -> None:
    """Print where every alert stands, those that fire first."""
    order = {"firing": 0, "pending": 1, "inactive": 2}
    found = sorted(alerts.states(current_app), key=lambda each: order[each.state])
    if as_json:
        click.echo(orjson.dumps([each._asdict() for each in found], option=orjson.OPT_INDENT_2).decode())
        return
    click.echo(f"{'alert':24}{'severity':10}{'state':10}{'since (UTC)':21}{'value':>12}{'threshold':>12}")
    for each in found:
        since = _time(each.since) if each.since else "-"
        click.echo(
            f"{each.name:24}{each.severity:10}{each.state:10}{since:21}{_number(each.value):>12}{_number(each.threshold):>12}"
        )


@group.command()
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="The newest so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def history(limit: int, as_json: bool) -> None:
    """Print what alerts did, the newest first."""
    found = alerts.history(current_app, limit)
    if as_json:
        click.echo(orjson.dumps([each._asdict() for each in found], option=orjson.OPT_INDENT_2).decode())
        return
    for each in found:
        click.echo(f"{_time(each.at):21}{each.state:10}{each.name:24}{_number(each.value):>12}")
    if not found:
        click.echo("No alert has fired.")


@group.command()
@click.argument("name")
def test(name: str) -> None:
    """Tell everybody who hears of alerts that NAME fires, as a test; exit code 1 when that fails somewhere."""
    rule = {rule.name: rule for rule in _rules()}.get(name)
    if rule is None:
        raise CommandError(f"There is no alert {name!r}; `flask alerts list` names them.")
    ways = channels.of_settings(current_app.config["CODYVERSE"])
    if not ways:
        raise CommandError(
            "Nobody hears of alerts: set CODYVERSE_ALERTS_WEBHOOK_URL, or CODYVERSE_SMTP_URL and _ALERTS_EMAIL_TO."
        )
    now = time.time()
    message = alerts.sender(current_app).message(str(uuid.uuid4()), now, rule.name, "test", None, rule)
    failed = False
    for channel in ways:
        try:
            channel.send(message, now)
            click.echo(f"{channel.name}: delivered")
        except Undelivered as error:
            failed = True
            click.echo(f"{channel.name}: not delivered: {error}", err=True)
    if failed:
        raise SystemExit(1)


@group.command()
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write there, and not to standard output."
)
def rules(output: Path | None) -> None:
    """Write the rules as Prometheus reads them."""
    text = promql.render(_rules())
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, "utf-8")
        click.echo(f"Written: {click.format_filename(output)}", err=True)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def init_app(app: Flask) -> None:
    """Register `flask alerts`."""
    app.cli.add_command(group)
