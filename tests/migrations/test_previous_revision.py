"""Old code on a new schema: while a version is rolled out both run, so a migration must leave the old one's statements as good.

Expand, then contract: a migration may add what old code need not know. What old code knows goes one release later.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from codyverse import migrations
from tests.migrations.test_migrations import value_for

SCRIPTS = ScriptDirectory.from_config(migrations.configuration())
REVISIONS = [script.revision for script in SCRIPTS.walk_revisions()][::-1]
PAIRS = list(itertools.pairwise(REVISIONS))

Migration = Callable[[sa.Connection], None]


def to(revision: str) -> Migration:
    """Return the migration forwards to a revision."""
    return lambda connection: command.upgrade(migrations.configuration(connection), revision)


def known(connection: sa.Connection) -> sa.MetaData:
    """Return the tables as the code of this schema's time knows them."""
    found = sa.MetaData()
    found.reflect(connection)
    found.remove(found.tables["alembic_version"])
    return found


def use(connection: sa.Connection, tables: sa.MetaData) -> dict[str, str]:
    """Insert, change and delete a row of every table, with the columns that the code knows and no others; leave nothing behind.

    Return for each statement why it failed, or nothing. Some always fail: a ledger's entry is never changed.
    """
    outcomes: dict[str, str] = {}
    rows = {table: {column.name: value_for(column, table) for column in table.columns} for table in tables.sorted_tables}

    def tried(what: str, table: sa.Table, statement: sa.Insert | sa.Update | sa.Delete) -> None:
        try:
            with connection.begin_nested():
                assert connection.execute(statement).rowcount == 1, "no row"
                if what != "delete":
                    assert read(connection, table) == rows[table], "something else was read than written"
            outcomes[f"{what} {table.name}"] = ""
        except (AssertionError, DBAPIError) as error:
            outcomes[f"{what} {table.name}"] = str(error)

    everything = connection.begin_nested()
    for table, row in rows.items():
        tried("insert", table, table.insert().values(row))
        tried("update", table, table.update().values({name: row[name] for name in row if not table.columns[name].identity}))
    for table in reversed(rows):
        tried("delete", table, table.delete())
    everything.rollback()
    return outcomes


def read(connection: sa.Connection, table: sa.Table) -> dict[str, object]:
    """Return the only row, in the kinds of values that were written."""

    def as_written(value: object) -> object:
        if isinstance(value, memoryview):
            return bytes(value)
        return value.replace(tzinfo=value.tzinfo or UTC) if isinstance(value, datetime) else value

    return {name: as_written(value) for name, value in connection.execute(sa.select(table)).one()._mapping.items()}


def changed_for_old_code(connection: sa.Connection, before: sa.MetaData) -> list[str]:
    """Return what the schema no longer has as it was `before`: tables, columns and their types."""
    now = known(connection)
    compiled = connection.dialect.type_compiler_instance.process
    wrong = []
    for table in before.sorted_tables:
        if table.name not in now.tables:
            wrong.append(f"{table.name} is gone")
            continue
        for column in table.columns:
            other = now.tables[table.name].columns.get(column.name)
            if other is None:
                wrong.append(f"{column} is gone")
            elif compiled(other.type) != compiled(column.type):
                wrong.append(f"{column} was {compiled(column.type)} and is {compiled(other.type)}")
    return wrong


@contextmanager
def schema_at(database, revision: str) -> Iterator[sa.Connection]:
    """Lend a connection to an empty database at a revision; afterwards all is as it was."""

    class Undone(Exception):
        pass

    with pytest.raises(Undone), database.transaction() as tx:
        command.downgrade(migrations.configuration(tx.connection), revision)
        yield tx.connection
        raise Undone


def check(connection: sa.Connection, migrate: Migration) -> None:
    """Raise AssertionError when old code would not do after the migration what it did before."""
    tables = known(connection)
    before = use(connection, tables)
    assert all(before[f"insert {table.name}"] == "" for table in tables.sorted_tables), before
    migrate(connection)
    wrong = changed_for_old_code(connection, tables)
    assert not wrong, "; ".join(wrong)
    after = use(connection, tables)
    refused = [f"{what}: {why}" for what, why in after.items() if why and not before[what]]
    assert not refused, "; ".join(refused)


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_old_code_runs_on_the_next_schema(database, before, after):
    with schema_at(database, before) as connection:
        check(connection, to(after))


def test_old_code_runs_on_the_newest_schema(database):
    """What the pairs say one by one, for who left out a release."""
    with schema_at(database, REVISIONS[0]) as connection:
        check(connection, to("head"))


def test_there_is_something_to_compare():
    assert PAIRS
    assert PAIRS[-1][1] == migrations.head()


def good(do: Operations) -> None:
    do.add_column("users", sa.Column("nickname", sa.String(10), nullable=True))
    do.add_column("users", sa.Column("score", sa.Integer, nullable=False, server_default="0"))
    do.create_table("badges", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(10), nullable=False))
    do.create_index("ix_users_score", "users", ["score"])


def column_without_default(do: Operations) -> None:
    do.execute("DROP TABLE learning_events")
    do.create_table(
        "learning_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), primary_key=True),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("lesson_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("seconds", sa.Integer),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("device", sa.String(20), nullable=False),
    )


def table_dropped(do: Operations) -> None:
    do.drop_table("learning_events")


def column_dropped(do: Operations) -> None:
    do.drop_column("users", "avatar_name")


def column_renamed(do: Operations) -> None:
    do.execute("ALTER TABLE users RENAME COLUMN avatar_name TO picture_name")


def type_changed(do: Operations) -> None:
    do.drop_column("learning_events", "seconds")
    do.add_column("learning_events", sa.Column("seconds", sa.String(10), nullable=True))


def rule_tightened(do: Operations) -> None:
    do.drop_column("users", "avatar_name")
    do.execute("ALTER TABLE users ADD COLUMN avatar_name VARCHAR(32) CHECK (length(avatar_name) > 20)")


def test_a_good_migration_passes(database):
    with schema_at(database, "head") as connection:
        check(connection, lambda migrated: good(Operations(MigrationContext.configure(migrated))))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (column_without_default, "(?i)insert learning_events: .*not.null"),
        (table_dropped, "learning_events is gone"),
        (column_dropped, "users.avatar_name is gone"),
        (column_renamed, "users.avatar_name is gone"),
        (type_changed, r"learning_events.seconds was INTEGER and is VARCHAR\(10\)"),
        (rule_tightened, "(?i)insert users: .*check constraint"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bad_migration_is_found(database, bad, said):
    def migrate(connection: sa.Connection) -> None:
        bad(Operations(MigrationContext.configure(connection)))

    with schema_at(database, "head") as connection, pytest.raises(AssertionError, match=said):
        check(connection, migrate)
