"""`flask cache`: how well it works, and how to have it forget."""

from __future__ import annotations

from typing import Any

import click
import orjson
from flask import Flask, current_app

from codyverse.extensions import database
from codyverse.operations import audit, cache, tallies
from codyverse.operations.commands import Group

TIERS = {"l1": "L1 process", "l2": "L2 host", "l3": "L3 cluster"}

group = Group("cache", help="Show, empty and outdate the cache.")


@group.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def stats(as_json: bool) -> None:
    """Print hits, misses, evictions, entries and bytes of every tier, of all processes of this host together.

    What a process counted within the last two seconds may be missing.
    """
    figures = _figures()
    if as_json:
        click.echo(orjson.dumps(figures, option=orjson.OPT_INDENT_2).decode())
        return
    click.echo(f"{'':12}{'hits':>12}{'misses':>12}{'hit rate':>10}{'evicted':>10}{'entries':>10}{'bytes':>14}")
    for name, title in TIERS.items():
        tier = figures["tiers"][name]
        rate = "-" if tier["hit_rate"] is None else f"{tier['hit_rate']:.1%}"
        click.echo(
            f"{title:12}{tier['hits']:>12}{tier['misses']:>12}{rate:>10}{tier['evictions']:>10}{tier['entries']:>10}{tier['bytes']:>14}"
        )
    others = (f"{figures[name]} {name}" for name in ("loaded", "late", "outdated"))
    click.echo(", ".join(others))


@group.command()
def clear() -> None:
    """Forget everything that is cached, on every host."""
    cache.of(current_app).clear()
    audit.note(database, "cache_cleared", audit.CLI, "cache")
    click.echo("The cache is empty.")


@group.command()
@click.argument("tags", nargs=-1, required=True, metavar="TAG...")
def invalidate(tags: tuple[str, ...]) -> None:
    """Outdate what was read under TAGs such as `catalogue`, `course:first-steps` and `account:17`, on every host."""
    cache.of(current_app).invalidate(*tags)
    audit.note(database, "cache_invalidated", audit.CLI, "cache", {"tags": tags})
    click.echo(f"Outdated: {', '.join(tags)}")


def _figures() -> dict[str, Any]:
    counts = tallies.of(current_app).totals("cache:")

    def count(name: str) -> int:
        return int(counts.get(f"cache:{name}", 0))

    tiers = {}
    for name, size in cache.of(current_app).sizes().items():
        hits, misses = count(f"hit:{name}"), count(f"miss:{name}")
        tiers[name] = {
            "hits": hits,
            "misses": misses,
            "hit_rate": round(hits / (hits + misses), 4) if hits + misses else None,
            "evictions": count(f"evicted:{name}"),
            "failures": count(f"failed:{name}"),
            "entries": size.entries,
            "bytes": size.bytes,
        }
    return {"tiers": tiers, "loaded": count("loaded"), "late": count("late"), "outdated": count("outdated")}


def init_app(app: Flask) -> None:
    """Register `flask cache`."""
    app.cli.add_command(group)
