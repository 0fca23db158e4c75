"""What is recorded, and that nothing personal is."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from codyverse.accounts import service as accounts
from codyverse.accounts.models import api_tokens, sessions
from codyverse.accounts.service.signing_in import FAILURES_RECORDED
from codyverse.database import Database
from codyverse.errors import NotFound, WrongCredentials
from codyverse.learning import content
from codyverse.learning.service.catalogue import import_catalogue
from codyverse.operations import audit
from codyverse.operations.audit import verification
from codyverse.operations.audit.chain import audit_entries, audit_head
from codyverse.operations.audit.reading import list_entries
from tests.conftest import Clock, ImportedCatalogue, Learner

Entry = tuple[str, str, str, dict[str, Any]]


@pytest.fixture
def trail(database: Database) -> Callable[[], list[Entry]]:
    """Return what was recorded, the oldest first, in a chain that holds."""

    def read() -> list[Entry]:
        assert verification.verify(database).broken is None
        entries = reversed(list_entries(database, limit=1000))
        return [(entry["action"], entry["actor"], entry["subject"], entry["details"]) for entry in entries]

    return read


def log_in(client: FlaskClient, email: str, password: str) -> int:
    return client.post("/api/v1/auth/login", json={"email": email, "password": password}).status_code


def test_it_works(database: Database, trail: Any, clock: Clock) -> None:
    with database.transaction() as tx:
        audit.record(tx, "role_changed", audit.CLI, audit.account(7), {"role": "admin"})
    clock.advance(seconds=1, microseconds=1)
    with database.transaction() as tx:
        audit.record(tx, "sign_out", audit.account(7), "session:1")
    assert trail() == [
        ("role_changed", "cli", "account:7", {"role": "admin"}),
        ("sign_out", "account:7", "session:1", {}),
    ]
    newest, first = list_entries(database, limit=5)
    assert (first["id"], newest["id"]) == (1, 2)
    assert first["previous_hash"] == "0" * 64
    assert newest["previous_hash"] == first["hash"] != newest["hash"]
    assert newest["recorded_at"] == clock.now


def test_what_is_rolled_back_is_not_recorded(database: Database, trail: Any) -> None:
    with pytest.raises(ZeroDivisionError), database.transaction() as tx:
        audit.record(tx, "role_changed", audit.CLI, audit.account(7))
        1 / 0
    with database.transaction() as tx:
        audit.record(tx, "role_changed", audit.CLI, audit.account(8))
    assert [entry["id"] for entry in list_entries(database, limit=5)] == [1]
    assert len(trail()) == 1


def test_a_transaction_may_record_several(database: Database, trail: Any) -> None:
    with database.transaction() as tx:
        for number in range(3):
            audit.record(tx, "role_changed", audit.CLI, audit.account(number))
    assert [subject for _, _, subject, _ in trail()] == ["account:0", "account:1", "account:2"]


@pytest.mark.parametrize(
    ("action", "actor", "subject"), [("Role changed", "cli", "x"), ("a", "a b", "x"), ("a", "cli", "x" * 81)]
)
def test_names_that_no_filter_would_find_are_refused(database: Database, action: str, actor: str, subject: str) -> None:
    with pytest.raises(ValueError), database.transaction() as tx:
        audit.record(tx, action, actor, subject)


def test_an_account_from_registration_to_its_end_of_session(
    make_learner: Any, client: FlaskClient, rows: Any, trail: Any
) -> None:
    learner: Learner = make_learner()
    who = f"account:{learner.id}"
    assert log_in(client, learner.email, learner.password) == 200
    created = learner.client.post("/api/v1/auth/tokens", json={"name": "robot", "scopes": ["profile:read"]})
    assert created.status_code == 201
    token = created.json["id"]
    assert learner.client.delete(f"/api/v1/auth/tokens/{token}").status_code == 204
    first, second = (row["id"] for row in rows(sessions))
    assert learner.client.delete(f"/api/v1/auth/sessions/{second}").status_code == 204
    assert learner.client.post("/api/v1/auth/logout").status_code == 204
    assert trail() == [
        ("registration", who, who, {"session": first}),
        ("sign_in", who, who, {"session": second}),
        ("token_created", who, f"token:{token}", {"scopes": ["profile:read"]}),
        ("token_revoked", who, f"token:{token}", {}),
        ("session_revoked", who, f"session:{second}", {}),
        ("sign_out", who, f"session:{first}", {}),
    ]


def test_what_was_not_there_to_end_is_not_recorded(learner: Learner, trail: Any) -> None:
    before = trail()
    assert learner.client.delete("/api/v1/auth/sessions/4711").status_code == 404
    assert learner.client.delete("/api/v1/auth/tokens/4711").status_code == 404
    assert trail() == before


def test_a_repeated_request_is_recorded_once(app: Flask, learner: Learner, trail: Any) -> None:
    for _ in range(2):
        answer = app.test_client().post(
            "/api/v1/auth/login",
            json={"email": learner.email, "password": learner.password},
            headers={"Idempotency-Key": "the-same-again"},
        )
        assert answer.status_code == 200
    assert [action for action, *_ in trail()] == ["registration", "sign_in"]


def test_failed_sign_ins(app: Flask, client: FlaskClient, learner: Learner, trail: Any) -> None:
    assert log_in(client, learner.email, "a wrong password") == 401
    assert log_in(client, "Nobody@example.org", "a wrong password") == 401
    assert log_in(client, "nobody@EXAMPLE.org", "a wrong password") == 401
    stranger = audit.email(app.config["CODYVERSE"].secret_key, "nobody@example.org")
    assert trail()[1:] == [
        ("sign_in_failed", "nobody", f"account:{learner.id}", {}),
        ("sign_in_failed", "nobody", stranger, {}),
        ("sign_in_failed", "nobody", stranger, {}),
    ]
    assert audit.email("another key", "nobody@example.org") != stranger


def fail(database: Database, times: int) -> None:
    for number in range(times):
        with pytest.raises(WrongCredentials):
            accounts.log_in(database, None, "key", 30, "", f"stranger{number}@example.org", "a wrong password")


def test_of_failed_sign_ins_so_many_a_minute_are_recorded(database: Database, clock: Clock, trail: Any) -> None:
    fail(database, FAILURES_RECORDED + 3)
    recorded = trail()
    assert len(recorded) == FAILURES_RECORDED
    assert [details for *_, details in recorded] == [{}] * (FAILURES_RECORDED - 1) + [{"last_of_a_minute": True}]
    clock.advance(seconds=59)
    fail(database, 1)
    assert len(trail()) == FAILURES_RECORDED
    clock.advance(seconds=1)
    fail(database, 2)
    assert len(trail()) == FAILURES_RECORDED + 2


def test_a_failed_sign_in_that_cannot_be_recorded_stays_one(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unusable(*_: Any) -> None:
        raise sa.exc.TimeoutError("no connection")

    monkeypatch.setattr(audit, "_record_alone", unusable)
    fail(database, 1)
    assert "not recorded in the audit trail: sign_in_failed of email:" in caplog.text
    assert "stranger0" not in caplog.text


def test_a_role(app: Flask, learner: Learner, database: Database, trail: Any) -> None:
    result = app.test_cli_runner().invoke(args=["accounts", "role", learner.email, "teacher"])
    assert result.exit_code == 0
    accounts.change_role(database, learner.email, "learner", actor="account:4")
    with pytest.raises(NotFound):
        accounts.change_role(database, "nobody@example.org", "admin")
    subject = f"account:{learner.id}"
    assert trail()[1:] == [
        ("role_changed", "cli", subject, {"role": "teacher", "was": "learner"}),
        ("role_changed", "account:4", subject, {"role": "learner", "was": "teacher"}),
    ]


def test_the_catalogue(catalogue: ImportedCatalogue, database: Database, trail: Any) -> None:
    folder = Path(__file__).parent.parent / "content"
    read = content.read(folder)
    import_catalogue(database, read)
    import_catalogue(database, type(read)([course for course in read.courses if course.slug == "machines"]))
    first, second = trail()
    assert first[:3] == second[:3] == ("catalogue_imported", "cli", "catalogue")
    assert first[3]["courses"] == ["counting", "machines"]
    assert first[3]["lessons"]["new"] == len(catalogue.ids)
    assert second[3]["courses"] == ["counting"]
    assert second[3]["lessons"]["retired"] == len([path for path in catalogue.ids if path.startswith("counting/")])


def test_commands_that_change_what_runs(app: Flask, learner: Learner, trail: Any) -> None:
    def flask(*arguments: str) -> None:
        result = app.test_cli_runner().invoke(args=list(arguments))
        assert result.exit_code == 0, result.output

    before = len(trail())
    flask("cache", "clear")
    flask("cache", "invalidate", "catalogue", "course:machines")
    key = app.config["CODYVERSE"].secret_key
    assert trail()[before:] == [
        ("cache_cleared", "cli", "cache", {}),
        ("cache_invalidated", "cli", "cache", {"tags": ["catalogue", "course:machines"]}),
    ]
    if app.config["CODYVERSE"].feature_rate_limit:
        flask("limits", "reset", "--client", str(learner.id))
        flask("limits", "reset", "--email", learner.email)
        flask("limits", "reset", "--address", "192.0.2.1")
        flask("limits", "reset")
        subjects = [f"account:{learner.id}", audit.email(key, learner.email), "address", "everybody"]
        assert [(action, actor, subject) for action, actor, subject, _ in trail()[before + 2 :]] == [
            ("limits_reset", "cli", subject) for subject in subjects
        ]


def test_a_command_goes_on_without_the_database(app: Flask, database: Database, caplog: pytest.LogCaptureFixture) -> None:
    with database.transaction() as tx:
        tx.execute(sa.text("ALTER TABLE audit_entries RENAME TO elsewhere"))
    try:
        result = app.test_cli_runner().invoke(args=["cache", "clear"])
    finally:
        with database.transaction() as tx:
            tx.execute(sa.text("ALTER TABLE elsewhere RENAME TO audit_entries"))
    assert (result.exit_code, "The cache is empty." in result.output) == (0, True)
    assert "not recorded in the audit trail: cache_cleared of cache by cli" in caplog.text


def test_nothing_personal_is_recorded(app: Flask, client: FlaskClient, make_learner: Any, database: Database, rows: Any) -> None:
    learner: Learner = make_learner(email="ophelia@private.example", display_name="Ophelia", birth_date="1987-06-05")
    browser = {"User-Agent": "Browser of Ophelia"}
    client.post("/api/v1/auth/login", json={"email": learner.email, "password": learner.password}, headers=browser)
    log_in(client, learner.email, "a wrong password")
    log_in(client, "desdemona@private.example", "another wrong password")
    learner.client.post("/api/v1/auth/tokens", json={"name": "robot of ophelia", "scopes": ["profile:read"]})
    accounts.change_role(database, learner.email, "teacher")
    app.test_cli_runner().invoke(args=["limits", "reset", "--email", learner.email])
    app.test_cli_runner().invoke(args=["limits", "reset", "--address", "127.0.0.1"])
    recorded = json.dumps(rows(audit_entries) + rows(audit_head), default=str).lower()
    assert "registration" in recorded
    assert rows(api_tokens)
    for secret in ("ophelia", "desdemona", "private", "1987", "browser", "robot", "127.0.0.1", "wrong", "otters"):
        assert secret not in recorded


# The argument that is the action; the last two hand it on.
WHERE = {"audit.record": 1, "audit.note": 1, "audit.note_sparingly": 2, "_open": -1, "_end": -1}


def actions_in(source: str) -> set[str]:
    """Return the actions that calls in the source name as they stand."""
    found = set()
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and call.args:
            called = ast.unparse(call.func)
            action = call.args[WHERE[called]] if called in WHERE else None
            if isinstance(action, ast.Constant) and isinstance(action.value, str):
                found.add(action.value)
    return found


def test_the_document_names_every_action() -> None:
    root = Path(__file__).parent.parent.parent
    sources = [path.read_text("utf-8") for path in (root / "codyverse").rglob("*.py")]
    recorded = {action for source in sources if "audit" in source for action in actions_in(source)}
    rows = re.findall(r"^\| (`.+?) \|", (root / "docs/operations/audit.md").read_text("utf-8"), re.MULTILINE)
    assert {action for row in rows for action in re.findall(r"`(\w+)`", row)} == recorded
