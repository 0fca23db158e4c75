"""`flask db slow`: what the statements of all processes of this host took."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable

import click
import orjson
from flask import Flask, current_app
from flask.cli import with_appcontext

from codyverse.migrations import cli as migrations_cli
from codyverse.operations import statements, tallies
from codyverse.operations.statements import Figures

HEADS = ("calls", "total ms", "p95 ms", "max ms", "rows", "errors", "slow", "fingerprint")
SMALLEST_WIDTH = 40  # characters of a statement, however narrow the terminal


@click.command()
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many fingerprints.")
@click.option("--by", type=click.Choice(list(statements.ORDERS)), default="total", show_default=True, help="What comes first.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with whole fingerprints.")
@click.option("--reset", is_flag=True, help="Begin every figure anew.")
@with_appcontext
def slow(limit: int, by: str, as_json: bool, reset: bool) -> None:
    """Print what the statements of all processes of this host took, by fingerprint: their text without values."""
    counts = tallies.of(current_app)
    if reset:
        statements.reset(counts)
        click.echo("Every figure begins anew.")
        return
    found = statements.figures(counts, by)[:limit]
    if as_json:
        click.echo(orjson.dumps([dataclasses.asdict(one) for one in found], option=orjson.OPT_INDENT_2).decode())
    elif not found:
        click.echo("No statement has run.")
    else:
        click.echo("\n".join(_table(found)))


def _table(found: list[Figures]) -> Iterable[str]:
    rows = [HEADS, *(_row(one) for one in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    rest = max(SMALLEST_WIDTH, shutil.get_terminal_size((160, 24)).columns - sum(widths) - 2 * len(HEADS))
    texts = ("statement", *(one.statement for one in found))
    for row, text in zip(rows, texts, strict=True):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join((*cells, text if len(text) <= rest else f"{text[: rest - 1]}…"))


def _row(one: Figures) -> tuple[str, ...]:
    times = (f"{ms:.1f}" for ms in (one.total_ms, one.p95_ms, one.max_ms))
    return (str(one.calls), *times, str(one.rows), str(one.errors), str(one.slow), one.fingerprint)


def init_app(app: Flask) -> None:
    """Register `flask db slow`. Comes after the group itself."""
    migrations_cli.group.add_command(slow)
