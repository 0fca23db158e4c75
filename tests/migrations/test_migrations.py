"""Every migration, up and down, on both engines, with a row in every table."""

from datetime import UTC, date, datetime

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from codyverse import migrations
from codyverse.database import UtcDateTime, metadata
from tests.parallel import in_parallel

SCRIPTS = list(reversed(list(ScriptDirectory.from_config(migrations.configuration()).walk_revisions())))


def test_the_migrations_make_the_models(database):
    with database.read() as reader:
        differences = compare_metadata(MigrationContext.configure(reader.connection), metadata)
    assert differences == []


def test_migrations_are_numbered_in_one_line():
    assert [script.revision for script in SCRIPTS] == [f"{i + 1:04}" for i in range(len(SCRIPTS))]
    assert [script.down_revision for script in SCRIPTS] == [None, *(script.revision for script in SCRIPTS[:-1])]


def fill(connection: sa.Connection) -> dict[str, int]:
    """Put a row into every table that is empty, and count the rows of all."""
    found = sa.MetaData()
    found.reflect(connection)
    rows = count(connection)
    for table in found.sorted_tables:
        if rows.get(table.name) == 0:
            connection.execute(table.insert().values({column.name: value_for(column, table) for column in table.columns}))
    return count(connection)


def value_for(column: sa.Column, table: sa.Table):
    for constraint in table.constraints:
        if isinstance(constraint, sa.CheckConstraint) and f"_{column.name}" in str(constraint.name or ""):
            allowed = str(constraint.sqltext).split("'")
            if len(allowed) > 1:
                return allowed[1]
    kind = column.type
    if isinstance(kind, sa.JSON):
        return []
    if isinstance(kind, sa.Boolean):
        return True
    if isinstance(kind, sa.DateTime):
        return datetime(2026, 11, 24, tzinfo=UTC)
    if isinstance(kind, sa.Date):
        return date(2010, 1, 1)
    if isinstance(kind, sa.LargeBinary):
        return b"x" * 32
    return 1 if isinstance(kind, sa.Integer) else "1"


def count(connection: sa.Connection) -> dict[str, int]:
    names = [name for name in sa.inspect(connection).get_table_names() if name != "alembic_version"]
    return {name: connection.execute(sa.select(sa.func.count()).select_from(sa.table(name))).scalar_one() for name in names}


@pytest.mark.parametrize("position", range(len(SCRIPTS)), ids=[script.revision for script in SCRIPTS])
def test_up_and_down_with_data(database, position):
    before = SCRIPTS[position - 1].revision if position else "base"
    with database.transaction() as tx:
        command.downgrade(migrations.configuration(tx.connection), before)
    with database.transaction() as tx:
        kept = fill(tx.connection)
        command.upgrade(migrations.configuration(tx.connection), SCRIPTS[position].revision)
        assert {name: number for name, number in count(tx.connection).items() if name in kept} == kept
    with database.transaction() as tx:
        assert all(fill(tx.connection).values())
    with database.transaction() as tx:
        command.downgrade(migrations.configuration(tx.connection), before)
        assert count(tx.connection) == kept
        command.upgrade(migrations.configuration(tx.connection), "head")


def test_a_failing_migration_leaves_nothing(database):
    with database.transaction() as tx:
        command.downgrade(migrations.configuration(tx.connection), "base")
    with pytest.raises(ZeroDivisionError), database.transaction() as tx:
        command.upgrade(migrations.configuration(tx.connection), "head")
        1 / 0
    with database.read() as reader:
        assert migrations.current(reader.connection) is None
        assert count(reader.connection) == {}


def test_two_hosts_that_upgrade_at_once_take_turns(app, database):
    with database.transaction() as tx:
        command.downgrade(migrations.configuration(tx.connection), "base")
    results = in_parallel(2, lambda: app.test_cli_runner().invoke(args=["db", "upgrade"]).exit_code)
    assert results == [0, 0]
    with database.read() as reader:
        assert migrations.current(reader.connection) == migrations.head()


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_the_cli_says_where_the_database_is(app):
    runner = app.test_cli_runner()
    assert runner.invoke(args=["db", "status"]).output == f"sqlite: at {migrations.head()}, current\n"
    assert runner.invoke(args=["db", "downgrade", "base"]).exit_code == 0
    behind = runner.invoke(args=["db", "status"])
    assert (behind.exit_code, behind.output) == (1, f"sqlite: at nothing, newest is {migrations.head()}\n")
    assert app.test_client().get("/readyz").status_code == 503
    assert runner.invoke(args=["db", "upgrade"]).exit_code == 0
    assert app.test_client().get("/readyz").status_code == 200
    unknown = runner.invoke(args=["db", "upgrade", "9999"])
    assert unknown.exit_code == 2
    assert unknown.output.startswith("codyverse: ") and unknown.output.count("\n") == 1


def test_times_are_stored_in_utc_only():
    for table in metadata.tables.values():
        for column in table.columns:
            assert not isinstance(column.type, sa.DateTime), f"{column} must be UtcDateTime"
            assert isinstance(column.type, UtcDateTime) == column.name.endswith("_at"), f"{column} ends in _at or is no time"
