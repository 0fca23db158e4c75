"""Where alerts stand, what became of them and what is still to be told, in the journal: a new evaluator goes on from there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import orjson

from codyverse.operations.alerts.messages import Message
from codyverse.operations.alerts.states import Standing
from codyverse.operations.journal import Connection, Journal

MOST_EVENTS = 1000
MOST_WAITING = 1000  # messages of one channel; the oldest go first


class AlertEvent(NamedTuple):
    """An alert that began to fire, or was resolved."""

    at: float  # Unix time
    name: str
    state: Literal["firing", "resolved"]
    value: float | None


class Waiting(NamedTuple):
    """A message that is to be sent through a channel."""

    id: int
    message: Message
    made_at: float
    due_at: float
    tries: int


@dataclass
class Change:
    """What a tick brought."""

    standings: Mapping[str, Standing]
    moment: float
    sums: Mapping[str, float]
    oldest: float  # reading that is kept
    events: list[AlertEvent] = field(default_factory=list)
    messages: list[tuple[str, Message]] = field(default_factory=list)  # and the channel of each


class Store:
    """The alerts' part of the journal. What writes raises `journal.UNUSABLE`."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def standings(self) -> dict[str, Standing]:
        """Return where each alert stands that ever did anything."""

        def work(file: Connection) -> dict[str, Standing]:
            rows = file.execute("SELECT name, state, since, value, untrue_since FROM alert_states").fetchall()
            return {name: Standing(*standing) for name, *standing in rows}

        return self._journal.read(work, {})

    def readings(self) -> list[tuple[float, dict[str, float]]]:
        """Return the sums of counters that were read, with their moments."""

        def work(file: Connection) -> list[tuple[float, dict[str, float]]]:
            return [(at, orjson.loads(sums)) for at, sums in file.execute("SELECT at, sums FROM readings ORDER BY at")]

        return self._journal.read(work, [])

    def events(self, limit: int) -> list[AlertEvent]:
        """Return what happened, the newest first."""

        def work(file: Connection) -> list[AlertEvent]:
            rows = file.execute("SELECT at, name, state, value FROM alert_events ORDER BY id DESC LIMIT ?", (limit,)).fetchall()
            return [AlertEvent(*row) for row in rows]

        return self._journal.read(work, [])

    def save(self, change: Change) -> int:
        """Keep all that a tick brought, or nothing; returns how many messages had to make room for new ones."""

        def work(file: Connection) -> int:
            _save_standings(file, change.standings)
            file.execute("INSERT OR REPLACE INTO readings VALUES (?, ?)", (change.moment, orjson.dumps(change.sums).decode()))
            file.execute("DELETE FROM readings WHERE at < ? OR at > ?", (change.oldest, change.moment))
            file.executemany("INSERT INTO alert_events VALUES (NULL, ?, ?, ?, ?)", change.events)
            last = "(SELECT max(id) FROM alert_events)"
            file.execute(f"DELETE FROM alert_events WHERE id <= {last} - ?", (MOST_EVENTS,))  # noqa: S608  (a constant)
            return _save_messages(file, change.messages, change.moment)

        return self._journal.write(work)

    def next_message(self, channel: str) -> Waiting | None:
        """Return the message that a channel is to send next: who hears that an alert cleared has heard that it fired."""

        def work(file: Connection) -> Waiting | None:
            row = file.execute(
                "SELECT id, key, body, made_at, due_at, tries FROM outbox WHERE channel = ? ORDER BY id LIMIT 1", (channel,)
            ).fetchone()
            if row is None:
                return None
            number, key, body, made_at, due_at, tries = row
            return Waiting(number, Message.of({**orjson.loads(body), "key": key}), made_at, due_at, tries)

        return self._journal.read(work, None)

    def forget_message(self, waiting: Waiting) -> None:
        """Forget a message that was sent or given up."""
        self._journal.write(lambda file: file.execute("DELETE FROM outbox WHERE id = ?", (waiting.id,)))

    def put_off_message(self, waiting: Waiting, due_at: float) -> None:
        """Have a message sent again later."""
        values = (due_at, waiting.tries + 1, waiting.id)
        self._journal.write(lambda file: file.execute("UPDATE outbox SET due_at = ?, tries = ? WHERE id = ?", values))

    def forget_channels_but(self, channels: Iterable[str]) -> None:
        """Forget what waits for a channel that is not set up any more."""
        kept = orjson.dumps(list(channels)).decode()
        self._journal.write(
            lambda file: file.execute("DELETE FROM outbox WHERE channel NOT IN (SELECT value FROM json_each(?))", (kept,))
        )

    def undelivered(self) -> int:
        """Return how many messages wait though they were to be sent before."""

        def work(file: Connection) -> int:
            late = "SELECT count(*) FROM outbox WHERE channel IN (SELECT channel FROM outbox WHERE tries > 0)"
            found: int = file.execute(late).fetchone()[0]
            return found

        return self._journal.read(work, 0)


def _save_standings(file: Connection, standings: Mapping[str, Standing]) -> None:
    file.execute("DELETE FROM alert_states")
    file.executemany(
        "INSERT INTO alert_states (name, state, since, value, untrue_since) VALUES (?, ?, ?, ?, ?)",
        [(name, each.state, each.since, each.value, each.untrue_since) for name, each in standings.items()],
    )


def _save_messages(file: Connection, messages: list[tuple[str, Message]], now: float) -> int:
    dropped = 0
    for channel, message in messages:
        row = (channel, message.key, orjson.dumps(message.fields()).decode(), now, now)
        file.execute("INSERT INTO outbox VALUES (NULL, ?, ?, ?, ?, ?, 0)", row)
        newest = "SELECT id FROM outbox WHERE channel = ? ORDER BY id DESC LIMIT ?"
        made_room = file.execute(
            f"DELETE FROM outbox WHERE channel = ? AND id NOT IN ({newest})",  # noqa: S608  (a constant)
            (channel, channel, MOST_WAITING),
        )
        dropped += made_room.rowcount
    return dropped
