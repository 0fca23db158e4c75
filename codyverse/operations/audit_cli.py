"""`flask audit`: read the audit trail, and prove that it is as it was written."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click
import orjson
from flask import Flask

from codyverse.extensions import database
from codyverse.operations import audit
from codyverse.operations.audit import reading, verification
from codyverse.operations.audit.verification import Place
from codyverse.operations.commands import Group

MOST_AT_ONCE = 10_000

group = Group("audit", help="Read and prove the audit trail.")


class _PlaceType(click.ParamType[Place]):
    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        """Return the place that a text names; fails for another text."""
        found = re.fullmatch(r"([1-9][0-9]{0,17}):([0-9a-f]{64})", str(value))
        if not found:
            self.fail(f"{value!r} is no number and hash, as `flask audit verify` prints them.", param, ctx)
        return Place(int(found[1]), bytes.fromhex(found[2]))


@group.command()
@click.option(
    "--noted", type=_PlaceType(), metavar="NUMBER:HASH", help="A head that was printed before, and has to be in the chain."
)
def verify(noted: Place | None) -> None:
    """Compute every hash anew, print how many entries there are and the head; exits 1 and names the first broken entry."""
    found = verification.verify(database, noted)
    if found.broken is not None:
        click.echo(f"entry {found.broken.id} {found.broken.why}")
        raise SystemExit(1)
    click.echo(f"{found.entries} {'entry' if found.entries == 1 else 'entries'}, head {found.last}")


def _matching(pattern: re.Pattern[str]) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    def check(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
        if value is not None and not pattern.fullmatch(value):
            raise click.BadParameter("nothing in the trail is called so.")
        return value

    return check


@group.command("list")
@click.option("--action", metavar="NAME", callback=_matching(audit.ACTION), help="Only this action, such as sign_in_failed.")
@click.option("--actor", metavar="WHO", callback=_matching(audit.PARTY), help="Only what account:17, cli or nobody did.")
@click.option(
    "--subject",
    metavar="WHAT",
    callback=_matching(audit.PARTY),
    help="Only what was done to account:17, session:4 and the like.",
)
@click.option(
    "--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), metavar="TIME", help="Only from this time on, in UTC."
)
@click.option("--limit", type=click.IntRange(1, MOST_AT_ONCE), default=20, show_default=True, help="How many entries.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with hashes.")
def list_(action: str | None, actor: str | None, subject: str | None, since: datetime | None, limit: int, as_json: bool) -> None:
    """Print entries, the newest first: number, time, action, actor, subject and details."""
    if since is not None:
        since = since.replace(tzinfo=UTC)
    entries = reading.list_entries(database, action=action, actor=actor, subject=subject, since=since, limit=limit)[:limit]
    if as_json:
        click.echo(orjson.dumps(entries, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z).decode())
    elif not entries:
        click.echo("There is no such entry.")
    for entry in [] if as_json else entries:
        at = entry["recorded_at"].isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")
        details = orjson.dumps(entry["details"]).decode()
        click.echo(f"{entry['id']}  {at}  {entry['action']}  {entry['actor']}  {entry['subject']}  {details}")


def init_app(app: Flask) -> None:
    """Register `flask audit`."""
    app.cli.add_command(group)
