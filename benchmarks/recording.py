"""What a request really sends to the database: recorded from the service, so that no twin is ever out of date.

Of a recorded parameter everything that belongs to the one request is replaced by a slot, which the twin fills for each of its own
requests: the learner, the lesson, the key, the present time, and what an earlier statement returned.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

LESSON = "lesson"
Rows = list[tuple[Any, ...]]


@dataclass
class Statement:
    """One statement as the driver got it."""

    sql: str
    parameters: Any
    many: bool
    in_transaction: bool
    rows: Rows = field(default_factory=list)
    seconds: float = 0.0
    ends_transaction: bool = False


@contextmanager
def recorded(engine: sa.Engine, keep_rows: bool = False) -> Iterator[list[Statement]]:
    """Collect the statements that the engine runs inside the block; with the rows only where the driver can go back to them."""
    found: list[Statement] = []

    def before(
        connection: sa.Connection, cursor: Any, sql: str, parameters: Any, context: Any, executemany: bool
    ) -> tuple[str, Any]:
        driver: Any = connection.connection.driver_connection
        # SQLAlchemy turns many rows into one statement where it can; that one has the parameters of all.
        many = executemany and isinstance(parameters, list)
        found.append(Statement(sql, parameters, many, not getattr(driver, "autocommit", False)))
        found[-1].seconds = -time.perf_counter()
        return sql, parameters

    def after(connection: sa.Connection, cursor: Any, sql: str, parameters: Any, context: Any, executemany: bool) -> None:
        found[-1].seconds += time.perf_counter()
        if keep_rows and cursor.description is not None:
            found[-1].rows = cursor.fetchall()
            if found[-1].rows:
                cursor.scroll(0, mode="absolute")

    def commit(connection: sa.Connection) -> None:
        if found and found[-1].in_transaction:
            found[-1].ends_transaction = True

    listeners = (("before_cursor_execute", before), ("after_cursor_execute", after), ("commit", commit))
    for name, listener in listeners:
        sa.event.listen(engine, name, listener, retval=listener is before)
    try:
        yield found
    finally:
        for name, listener in listeners:
            sa.event.remove(engine, name, listener)


def script(statements: list[Statement], known: dict[Any, str], began: datetime) -> list[dict[str, Any]]:
    """Return the statements as the twin reads them; `known` names the slots of values, `began` is when the request was sent."""
    found = []
    for number, statement in enumerate(statements):
        each = statement.parameters if statement.many else [statement.parameters]
        found.append(
            {
                "sql": statement.sql,
                "many": statement.many,
                "in_transaction": statement.in_transaction,
                "ends_transaction": statement.ends_transaction,
                "parameters": [
                    {name: _slot(name, value, known, statements[:number], began) for name, value in (parameters or {}).items()}
                    for parameters in each
                ],
            }
        )
    return found


def _slot(name: str, value: Any, known: dict[Any, str], earlier: list[Statement], began: datetime) -> tuple[str, Any]:
    if isinstance(value, datetime):
        return "now", round((value - began.astimezone(UTC)).total_seconds())
    plain = bytes(value.adapted) if hasattr(value, "adapted") else value  # psycopg2's Binary
    if isinstance(plain, int | bytes) and not isinstance(plain, bool) and plain in known:
        slot = known[plain]
        if slot != LESSON or LESSON in name:  # ids of lessons are small numbers, and others have the same value
            return slot, None
    for number, statement in enumerate(earlier):
        # Only of what a writing statement returned: a number that was read may be equal by chance.
        if statement.rows and statement.in_transaction and "RETURNING" in statement.sql:
            for column, returned in enumerate(statement.rows[0]):
                if value == returned and isinstance(value, int):
                    return "returned", (number, column, "")
                if isinstance(value, str) and value.endswith(f":{returned}"):
                    return "returned", (number, column, value.removesuffix(str(returned)))
    return "value", plain
