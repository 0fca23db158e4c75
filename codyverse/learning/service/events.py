"""Events of learning: lessons that were looked at, time that was spent. Nothing is rewarded for them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from codyverse.database import Database
from codyverse.errors import InvalidInput
from codyverse.learning.models import learning_events, lessons
from codyverse.operations.events import PER_STATEMENT, Event, Events
from codyverse.operations.retry import repeatable

OLDEST = timedelta(days=7)  # for how long clients may be offline
NEWEST = timedelta(minutes=5)  # by how much their clocks may be fast

_STORED = {column.name: column.type for column in learning_events.c if column is not learning_events.c.id}
_users = sa.table("users", sa.column("id"))


def _row(number: int) -> tuple[Any, ...]:
    return (number, *(sa.bindparam(f"{name}_{number}", type_=kind) for name, kind in _STORED.items()))


# Always as many rows, those that are not needed with nothing in them: so it stays one statement, for the cache of SQLAlchemy and
# for those who look for slow ones. The joins leave out lessons that never were and accounts that are gone meanwhile, which would
# otherwise fail all the others.
_sent = (
    sa.values(sa.column("position", sa.Integer), *(sa.column(name, kind) for name, kind in _STORED.items()), name="sent")
    .data([_row(number) for number in range(PER_STATEMENT)])
    .cte()
)
_WRITE = learning_events.insert().from_select(
    list(_STORED),
    # A column that is empty in every row has no type of its own, and only this one can be.
    sa.select(*(sa.cast(_sent.c.seconds, sa.Integer) if name == "seconds" else _sent.c[name] for name in _STORED))
    .join(lessons, lessons.c.id == _sent.c.lesson_id)
    .join(_users, _users.c.id == _sent.c.user_id)
    .order_by(_sent.c.position),
)


def accept(database: Database, events: Events, user_id: int, told: list[dict[str, Any]]) -> dict[str, int]:
    """Queue what a client tells and return how many events were `accepted` and `dropped`.

    Events of lessons that never were are accepted, and left out when they are written: finding out now would take a statement.
    Raises InvalidInput for a time that is in the future or too long ago; then none is accepted.
    """
    now = database.clock()
    faults = {
        f"events.{number}.occurred_at": ["Must not be in the future, nor more than 7 days ago."]
        for number, event in enumerate(told)
        if not now - OLDEST <= event.get("occurred_at", now) <= now + NEWEST
    }
    if faults:
        raise InvalidInput("Some events cannot have happened then.", faults)
    accepted = events.add([_event(user_id, event, now) for event in told])
    return {"accepted": accepted, "dropped": len(told) - accepted}


@repeatable
def write(database: Database, events: list[Event]) -> None:
    """Write up to PER_STATEMENT events, in their order, with one statement. Raises SQLAlchemy's errors."""
    empty = dict.fromkeys(_STORED)
    rows = events + [empty] * (PER_STATEMENT - len(events))
    parameters = {f"{name}_{number}": value for number, row in enumerate(rows) for name, value in row.items()}
    with database.transaction() as tx:
        tx.execute(_WRITE, parameters)


def _event(user_id: int, told: dict[str, Any], now: datetime) -> Event:
    return {
        "user_id": user_id,
        "lesson_id": told["lesson_id"],
        "kind": told["kind"],
        "seconds": told.get("seconds"),
        "occurred_at": told.get("occurred_at", now),
        "received_at": now,
    }
