from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from codyverse.database import Database
from codyverse.operations import audit
from codyverse.operations.audit import verification
from tests.conftest import Clock


@pytest.fixture
def flask(app: Flask) -> Any:
    return lambda *arguments: app.test_cli_runner().invoke(args=["audit", *arguments])


def write(database: Database, action: str, actor: str, subject: str, **details: Any) -> None:
    with database.transaction() as tx:
        audit.record(tx, action, actor, subject, details)


def test_verify(flask: Any, database: Database) -> None:
    assert flask("verify").output == f"0 entries, head 0:{'0' * 64}\n"
    write(database, "cache_cleared", "cli", "cache")
    head = verification.verify(database).last
    assert flask("verify").output == f"1 entry, head {head}\n"
    write(database, "cache_cleared", "cli", "cache")
    again = flask("verify", "--noted", str(head))
    assert (again.exit_code, again.output) == (0, f"2 entries, head {verification.verify(database).last}\n")
    for wrong in ("1", "0:" + "0" * 64, f"1:{'0' * 63}", f"1:{'G' * 64}"):
        assert flask("verify", "--noted", wrong).exit_code == 2


def test_list(flask: Any, database: Database, clock: Clock) -> None:
    assert flask("list").output == "There is no such entry.\n"
    write(database, "role_changed", "cli", "account:7", role="admin")
    clock.advance(days=1)
    write(database, "sign_in", "account:7", "account:7", session=3)
    lines = [
        '2  2026-11-25 12:00:00Z  sign_in  account:7  account:7  {"session":3}',
        '1  2026-11-24 12:00:00Z  role_changed  cli  account:7  {"role":"admin"}',
    ]
    assert flask("list").output.splitlines() == lines
    assert flask("list", "--limit", "1").output.splitlines() == lines[:1]
    assert flask("list", "--action", "role_changed").output.splitlines() == lines[1:]
    assert flask("list", "--actor", "account:7").output.splitlines() == lines[:1]
    assert flask("list", "--subject", "account:7").output.splitlines() == lines
    assert flask("list", "--since", "2026-11-25").output.splitlines() == lines[:1]
    assert flask("list", "--since", "2026-11-25T12:00:01").output == "There is no such entry.\n"
    assert json.loads(flask("list", "--actor", "nobody", "--json").output) == []
    newest, first = json.loads(flask("list", "--json").output)
    assert newest["previous_hash"] == first["hash"]
    assert newest["recorded_at"] == "2026-11-25T12:00:00Z"
    assert newest["details"] == {"session": 3}


@pytest.mark.parametrize(
    "arguments", [["--limit", "0"], ["--limit", "10001"], ["--since", "yesterday"], ["--actor", "a\udcff"], ["--action", "A"]]
)
def test_bad_input(flask: Any, arguments: list[str]) -> None:
    assert flask("list", *arguments).exit_code == 2


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)  # whose columns hold anything
@pytest.mark.parametrize("change", ["details = 'kaputt'", "hash = 99999999999999", "details = CAST(x'ff' AS TEXT)"])
def test_what_somebody_has_broken_is_named_and_shown(flask: Any, database: Database, change: str) -> None:
    for _ in range(2):
        write(database, "cache_cleared", "cli", "cache")
    with database.transaction() as tx:
        for (trigger,) in tx.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).fetchall():
            tx.execute(sa.text(f"DROP TRIGGER {trigger}"))
        tx.execute(sa.text(f"UPDATE audit_entries SET {change} WHERE id = 2"))
    found = flask("verify")
    assert (found.exit_code, found.output.split()[:2]) == (1, ["entry", "2"])
    shown = flask("list")
    assert shown.exception is None or isinstance(shown.exception, SystemExit), shown.exception
