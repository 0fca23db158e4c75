"""Whatever is done to the chain by who may change the tables is found; and nobody else can change them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import DBAPIError, IntegrityError

from codyverse.database import Database
from codyverse.operations import audit
from codyverse.operations.audit import verification
from codyverse.operations.audit.chain import audit_entries as entries
from codyverse.operations.audit.chain import audit_head as head
from codyverse.operations.audit.chain import entry_hash
from codyverse.operations.audit.verification import Broken, Place
from tests.parallel import in_parallel

ENTRIES = 10


def write(database: Database, number: int = ENTRIES) -> None:
    for _ in range(number):
        with database.transaction() as tx:
            audit.record(tx, "role_changed", audit.CLI, audit.account(3), {"role": "admin", "was": "learner"})


@contextmanager
def tampering(database: Database) -> Iterator[sa.Connection]:
    """Lend a connection to somebody whom no trigger stops; afterwards the triggers are back."""
    with database.transaction() as tx:
        if database.dialect == "sqlite":
            found = tx.execute(
                sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_entries'")
            )
            triggers = found.all()
            for name, _ in triggers:
                tx.execute(sa.text(f"DROP TRIGGER {name}"))
            yield tx.connection
            for _, statement in triggers:
                tx.execute(sa.text(statement))
        else:
            tx.execute(sa.text("SET LOCAL session_replication_role = replica"))
            yield tx.connection


def row(connection: sa.Connection, id: int) -> dict[str, Any]:
    return dict(connection.execute(sa.select(entries).where(entries.c.id == id)).one()._mapping)


def put(connection: sa.Connection, at: int, **values: Any) -> None:
    connection.execute(entries.update().where(entries.c.id == at).values(**values))


def rehashed(changed: dict[str, Any]) -> dict[str, Any]:
    """Return the row with the hash that fits it, as somebody would who knows how it is made."""
    inputs = {name: value for name, value in changed.items() if name not in ("hash", "previous_hash")}
    return changed | {"hash": entry_hash(**inputs, previous=bytes(changed["previous_hash"]))}


def change(name: str, value: Any) -> Callable[[sa.Connection], None]:
    def tamper(connection: sa.Connection) -> None:
        put(connection, 4, **{name: value})

    return tamper


def move_in_time(connection: sa.Connection) -> None:
    put(connection, 4, recorded_at=row(connection, 4)["recorded_at"] + timedelta(microseconds=1))


def change_and_hash(connection: sa.Connection) -> None:
    put(connection, 4, **rehashed(row(connection, 4) | {"actor": "account:9"}))


def write_the_rest_anew(connection: sa.Connection) -> None:
    """Change an entry and all hashes after it, but forget the head."""
    changed = rehashed(row(connection, 4) | {"actor": "account:9"})
    for id in range(4, ENTRIES + 1):
        put(connection, id, **changed)
        if id < ENTRIES:
            changed = rehashed(row(connection, id + 1) | {"previous_hash": changed["hash"]})


def remove(*ids: int) -> Callable[[sa.Connection], None]:
    def tamper(connection: sa.Connection) -> None:
        connection.execute(entries.delete().where(entries.c.id.in_(ids)))

    return tamper


def remove_and_close_up(connection: sa.Connection) -> None:
    """Remove an entry and number those after it anew."""
    remove(4)(connection)
    for id in range(5, ENTRIES + 1):
        put(connection, id, id=id - 1)


def swap(connection: sa.Connection) -> None:
    put(connection, 4, id=99)
    put(connection, 5, id=4)
    put(connection, 99, id=5)


def swap_what_they_say(connection: sa.Connection) -> None:
    one, other = row(connection, 4), row(connection, 5)
    put(connection, 4, subject="account:4", recorded_at=other["recorded_at"])
    put(connection, 5, subject=one["subject"], recorded_at=one["recorded_at"])


def added(connection: sa.Connection, id: int, previous: Any) -> None:
    fields = {name: row(connection, 4)[name] for name in ("recorded_at", "action", "actor", "subject", "details")}
    connection.execute(entries.insert().values(rehashed({"id": id, **fields, "previous_hash": bytes(previous), "hash": b""})))


def add_behind(connection: sa.Connection) -> None:
    added(connection, ENTRIES + 1, row(connection, ENTRIES)["hash"])


def add_before(connection: sa.Connection) -> None:
    added(connection, 0, b"\1" * 32)


def move_head_back(connection: sa.Connection) -> None:
    connection.execute(head.update().values(last_id=7, hash=row(connection, 7)["hash"]))


TAMPERINGS: dict[str, tuple[Callable[[sa.Connection], None], int, str]] = {
    "action": (change("action", "sign_in"), 4, "was changed"),
    "actor": (change("actor", "account:9"), 4, "was changed"),
    "subject": (change("subject", "account:9"), 4, "was changed"),
    "details": (change("details", "{}"), 4, "was changed"),
    "details written in another way": (change("details", '{"was":"learner","role":"admin"}'), 4, "was changed"),
    "time": (move_in_time, 4, "was changed"),
    "hash": (change("hash", b"\1" * 32), 4, "was changed"),
    "previous hash": (change("previous_hash", b"\1" * 32), 4, "does not follow the one before it"),
    "changed and hashed": (change_and_hash, 5, "does not follow the one before it"),
    "changed and hashed to the end": (write_the_rest_anew, ENTRIES, "is not the one that the head names"),
    "one removed": (remove(4), 4, "is missing"),
    "the first removed": (remove(1), 1, "is missing"),
    "the last removed": (remove(ENTRIES), ENTRIES, f"is missing, as all up to {ENTRIES}"),
    "the end removed": (remove(8, 9, 10), 8, f"is missing, as all up to {ENTRIES}"),
    "all removed": (remove(*range(ENTRIES + 1)), 1, f"is missing, as all up to {ENTRIES}"),
    "removed and closed up": (remove_and_close_up, 4, "does not follow the one before it"),
    "swapped": (swap, 4, "does not follow the one before it"),
    "contents swapped": (swap_what_they_say, 4, "was changed"),
    "added behind": (add_behind, ENTRIES + 1, "was added behind the head"),
    "added before": (add_before, 0, "stands before the first"),
    "head moved back": (move_head_back, 8, "was added behind the head"),
    "head removed": (lambda connection: connection.execute(head.delete()) and None, 1, "was added behind the head"),
}


@pytest.mark.parametrize("kind", TAMPERINGS)
def test_tampering_is_found(app: Flask, database: Database, kind: str) -> None:
    tamper, at, why = TAMPERINGS[kind]
    write(database)
    assert verification.verify(database).broken is None
    with tampering(database) as connection:
        tamper(connection)
    assert verification.verify(database).broken == Broken(at, why)
    result = app.test_cli_runner().invoke(args=["audit", "verify"])
    assert (result.exit_code, result.output) == (1, f"entry {at} {why}\n")


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)  # whose columns hold anything
@pytest.mark.parametrize("value", ["x'00ff'", "'rubbish'", "17", "1.5"])
@pytest.mark.parametrize("column", ["recorded_at", "action", "details", "previous_hash", "hash"])
def test_a_value_of_another_kind_is_found(database: Database, column: str, value: str) -> None:
    write(database)
    with tampering(database) as connection:
        connection.exec_driver_sql(f"UPDATE audit_entries SET {column} = {value} WHERE id = 4")
    found = verification.verify(database)
    assert found.broken is not None
    assert (found.broken.id, found.entries) == (4, 3)


def test_a_chain_written_anew_as_a_whole_is_found_by_what_was_noted(app: Flask, database: Database) -> None:
    write(database)
    noted = verification.verify(database).last
    write(database)
    assert verification.verify(database, noted).broken is None
    last = verification.verify(database).last
    assert verification.verify(database, last).broken is None
    with tampering(database) as connection:
        connection.execute(entries.delete())
        connection.execute(head.delete())
    write(database, ENTRIES - 1)
    assert verification.verify(database).broken is None
    assert verification.verify(database, noted).broken == Broken(10, "is missing, as all up to 10, which was noted")
    write(database, 1)
    with tampering(database) as connection:
        changed = rehashed(row(connection, 10) | {"actor": "account:9"})
        put(connection, 10, **changed)
        connection.execute(head.update().values(hash=changed["hash"]))
    assert verification.verify(database).broken is None
    assert verification.verify(database, noted).broken == Broken(10, "is not the one that was noted")
    result = app.test_cli_runner().invoke(args=["audit", "verify", "--noted", str(noted)])
    assert (result.exit_code, result.output) == (1, "entry 10 is not the one that was noted\n")


@pytest.mark.parametrize("statement", ["UPDATE audit_entries SET actor = 'cli'", "DELETE FROM audit_entries WHERE id = 10"])
def test_entries_are_never_changed_or_removed(database: Database, statement: str) -> None:
    write(database)
    with pytest.raises(DBAPIError, match="audit entries are never changed or removed"), database.transaction() as tx:
        tx.execute(sa.text(statement))
    assert verification.verify(database).entries == ENTRIES


@pytest.mark.parametrize("engine_name", ["postgresql"], indirect=True)
def test_nor_all_at_once(database: Database) -> None:
    write(database, 1)
    with pytest.raises(DBAPIError, match="audit entries are never changed or removed"), database.transaction() as tx:
        tx.execute(sa.text("TRUNCATE audit_entries"))


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
@pytest.mark.parametrize("at", ["id", "previous_hash"])
def test_nor_replaced(database: Database, at: str) -> None:
    write(database)
    with database.transaction() as tx:
        other = row(tx.connection, 4) | {"id": 99, "previous_hash": b"\1" * 32, "hash": b"\2" * 32}
        other[at] = row(tx.connection, 4)[at]
    with pytest.raises(DBAPIError, match="audit entries are never changed or removed"), database.transaction() as tx:
        tx.execute(entries.insert().prefix_with("OR REPLACE").values(other))
    assert verification.verify(database).broken is None


def test_a_chain_does_not_fork(database: Database) -> None:
    write(database)
    with pytest.raises(IntegrityError), database.transaction() as tx:
        added(tx.connection, ENTRIES + 1, row(tx.connection, 4)["previous_hash"])


def test_an_empty_chain_holds(database: Database) -> None:
    assert verification.verify(database) == (0, Place(0, bytes(32)), None)


def test_longer_than_a_statement_reads(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "_NEXT", verification._NEXT.limit(3))
    write(database)
    assert verification.verify(database).entries == ENTRIES
    with tampering(database) as connection:
        remove(7)(connection)
    assert verification.verify(database).broken == Broken(7, "is missing")


def test_what_is_added_during_the_proof_is_no_fault(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    write(database)
    before = verification._fault

    def add_meanwhile(checked: sa.Row[Any], last: Place) -> str | None:
        if checked.id in (4, ENTRIES):
            in_parallel(1, lambda: write(database, 2))
        return before(checked, last)

    monkeypatch.setattr(verification, "_NEXT", verification._NEXT.limit(3))
    monkeypatch.setattr(verification, "_fault", add_meanwhile)
    found = verification.verify(database)
    assert found.broken is None
    assert found.entries == ENTRIES + 4
