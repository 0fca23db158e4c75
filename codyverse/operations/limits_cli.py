"""`flask limits`: look at the counters, and let somebody in again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import limits as counting
from flask import Flask, current_app
from limits import RateLimitItem

from codyverse.extensions import database
from codyverse.operations import audit, limits
from codyverse.operations.commands import CommandError, Group
from codyverse.operations.limits import addresses
from codyverse.operations.limits.headers import POLICIES, Standing, standing

group = Group("limits", help="Show and forget what was counted against clients.")


@dataclass(frozen=True, slots=True)
class Counter:
    """One counter: its key, and what flask-limiter or the limits of signing in made it from."""

    key: str
    policy: str
    client: str
    scope: str
    item: RateLimitItem

    def standing(self, storage: limits.tiers.Tiers) -> Standing:
        """Return how the client stands."""
        return standing(self.policy, self.item, storage.get_sliding_window(self.key, self.item.get_expiry()))


def _whom(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--email", metavar="TEXT", help="Attempts to sign in with this e-mail address."),
        click.option("--address", metavar="A", help="The client with this network address."),
        click.option("--client", type=click.IntRange(min=1), metavar="ID", help="The account with this number."),
    ):
        command = option(command)
    return command


@group.command()
@_whom
def show(client: int | None, address: str | None, email: str | None) -> None:
    """Print the counters of all clients or of one: limit, client, what is left, seconds until there is more."""
    storage = _limits().tiers
    rows = [(c, c.standing(storage)) for c in _counters(client, address, email)]
    if not rows:
        click.echo("Nothing is counted.")
    for counter, told in rows:
        where = f" {counter.scope}" if counter.scope not in (*POLICIES, "all") else ""
        click.echo(f"{counter.policy} {counter.client}{where}: {told.remaining} of {told.quota} left, more in {told.wait_s} s")


@group.command()
@_whom
def reset(client: int | None, address: str | None, email: str | None) -> None:
    """Forget the counters of all clients or of one, failed attempts to sign in included."""
    storage = _limits().tiers
    found = _counters(client, address, email)
    for counter in found:
        storage.clear_sliding_window(counter.key, counter.item.get_expiry())
    audit.note(database, "limits_reset", audit.CLI, _subject(client, address, email), {"counters": len(found)})
    click.echo(f"{len(found)} {'counter' if len(found) == 1 else 'counters'} forgotten.")


def _limits() -> limits.Limits:
    found = limits.of(current_app)
    if found is None:
        raise CommandError("Limits are switched off: CODYVERSE_FEATURE_RATE_LIMIT.")
    return found


def _counters(client: int | None, address: str | None, email: str | None) -> list[Counter]:
    """Return the counters of everybody, or of the one client that the options name. Raises CommandError."""
    if sum(option is not None for option in (client, address, email)) > 1:
        raise CommandError("Choose one of --client, --address and --email.")
    all_of_them = [_parsed(name) for name in _limits().tiers.names()]
    if client is not None:
        return [c for c in all_of_them if c.client == f"account:{client}"]
    if address is not None:
        counted = addresses.counted(address)
        if counted == addresses.UNKNOWN:
            raise CommandError(f"{address} is no network address.")
        return [c for c in all_of_them if c.client == counted]
    if email is not None:
        account = _limits().sign_in.account(email)
        return [c for c in all_of_them if account in (c.client, c.scope)]
    return all_of_them


def _subject(client: int | None, address: str | None, email: str | None) -> str:
    if client is not None:
        return audit.account(client)
    if email is not None:
        return audit.email(current_app.config["CODYVERSE"].secret_key, email)
    return "everybody" if address is None else "address"  # which one is personal data


def _parsed(key: str) -> Counter:
    """Return the counter of a key: `LIMITER/client/account:17/GET /api/v1/me/100/1/minute`."""
    _, prefix, client, *scope, amount, multiples, unit = key.split("/")
    name = "/".join(scope)
    policy = prefix if prefix.startswith("sign-in") else name if name in POLICIES else "endpoint"
    item: Any = counting.parse(f"{amount} per {multiples} {unit}")
    return Counter(key, policy, client, name, item)


def init_app(app: Flask) -> None:
    """Register `flask limits`."""
    app.cli.add_command(group)
