"""Checks of the database that are the same for every engine, and of the connections to it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from codyverse import connections, migrations
from codyverse.database import UNUSABLE, metadata
from codyverse.operations.doctor.check import Finding, Group, fault, ok, skipped, warning
from codyverse.operations.doctor.deployment import Deployment

SHOWN = 5

group = Group("database")
pool = Group("pool")

GROUPS = (group, pool)

REACHABLE, CURRENT = "reachable", "migrations"


@group.check(
    REACHABLE,
    "The database answers",
    why="Nothing that anybody does here works without it.",
    mend="Start it, and compare CODYVERSE_DATABASE_URL with its address, account and name.",
    within_s=15.0,
)
def reachable(it: Deployment) -> Finding:
    """Ask it for a number."""
    try:
        with it.database.read() as reader:
            reader.execute(sa.select(1))
    except UNUSABLE as error:
        cause = getattr(error, "orig", None) or error
        return fault(f"It does not: {next(iter(str(cause).splitlines()), type(cause).__name__).rstrip('.')}.")
    return ok()


@group.check(
    CURRENT,
    "The schema is this version's",
    why="The service calls itself not ready with an older one, and requests would fail.",
    mend="flask db upgrade, before the new version is started.",
    needs=REACHABLE,
)
def schema_is_current(it: Deployment) -> Finding:
    """Compare the database's revision with the newest one that the code knows."""
    with it.database.read() as reader:
        at = migrations.current(reader.connection)
    if at == migrations.head():
        return ok()
    if at is not None and at not in migrations.known():
        return warning(f"It is at {at}, a newer version's: this one is about to be replaced, or was put back.")
    return fault(f"It is at {at or 'nothing'}; the newest revision is {migrations.head()}.")


@group.check(
    "schema",
    "Tables and columns are those of the code",
    why="A change that was made by hand shows when a request needs what is not there.",
    mend="Undo by hand what was done by hand: `flask db revision` writes the difference down.",
    needs=CURRENT,
)
def schema(it: Deployment) -> Finding:
    """Compare tables and columns with the models; tables of somebody else's are left alone."""
    with it.database.read() as reader:
        differences = compare_metadata(MigrationContext.configure(reader.connection), metadata)
    found = [text for one in differences for text in _told(one)]
    return fault(f"{_listed(found)}.") if found else ok()


@group.check(
    "indexes",
    "Every index and every rule of uniqueness is there",
    why="Without the one, requests read whole tables; without the other, a reward is given twice.",
    mend="Create it by hand as the migrations do; a rule of uniqueness after the rows that break it are gone.",
    needs=CURRENT,
)
def indexes(it: Deployment) -> Finding:
    """Compare their names with the models'."""
    with it.database.read() as reader:
        inspector = sa.inspect(reader.connection)
        missing = [name for table in metadata.sorted_tables for name in sorted(_wanted(table) - _names(inspector, table.name))]
    return fault(f"Missing: {_listed(missing)}.") if missing else ok()


@pool.check(
    "pool-room",
    "The database has room for every connection that the workers may open",
    why="Under load, which is when it matters, requests would be refused; gunicorn does not start without room.",
    mend="A smaller CODYVERSE_DATABASE_POOL_SIZE, fewer workers, more max_connections; PgBouncer (docs/operations/scaling.md).",
    needs=REACHABLE,
    within_s=15.0,
)
def pool_room(it: Deployment) -> Finding:
    """Compare workers × pool, and one worker more while one is replaced, with what the server has for accounts like ours."""
    size = it.settings.database_pool_size
    room = connections.most_connections(it.settings)
    if room is None:
        return skipped("Nobody counts connections to a file.")
    needed = (it.plan.workers + 1) * size
    if needed > room:
        return fault(f"{it.plan.workers} workers and one more, with {size} each, may open {needed}; there are {room}.")
    return ok(f"{needed} of {room}")


@pool.check(
    "pool-threads",
    "Every thread of a worker can have a connection",
    why="Threads that wait for each other's connections answer late, and in the end with 503.",
    mend="CODYVERSE_DATABASE_POOL_SIZE at least the number of threads, CODYVERSE_DATABASE_POOL_KEPT at the most the size.",
)
def pool_threads(it: Deployment) -> Finding:
    """Compare the pool's sizes with the threads."""
    size, kept = it.settings.database_pool_size, it.settings.database_pool_kept
    if size < it.plan.threads:
        return fault(f"{it.plan.threads} threads share {size} connections.")
    return warning(f"{kept} connections are to be kept of {size}.") if kept > size else ok()


def _wanted(table: sa.Table) -> set[str]:
    unique = {str(rule.name) for rule in table.constraints if isinstance(rule, sa.UniqueConstraint) and rule.name}
    return {str(index.name) for index in table.indexes} | unique


def _names(inspector: sa.Inspector, table: str) -> set[str]:
    return {str(one["name"]) for one in (*inspector.get_indexes(table), *inspector.get_unique_constraints(table))}


def _told(difference: Any) -> list[str]:
    """Return what a difference of Alembic's means, for tables and columns."""
    if isinstance(difference, list):
        return [text for one in difference for text in _told(one)]
    kind = difference[0]
    if kind == "add_table":
        return [f"{difference[1].name} is missing"]
    if kind in ("add_column", "remove_column"):
        return [f"{difference[2]}.{difference[3].name} {'is missing' if kind == 'add_column' else 'is not known'}"]
    if kind.startswith("modify_"):
        return [f"{difference[2]}.{difference[3]} differs in its {kind.removeprefix('modify_')}"]
    return []


def _listed(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
