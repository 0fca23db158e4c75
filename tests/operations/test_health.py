# ruff: noqa: F401, F811  (fixtures come by import)
"""`/livez`, `/readyz` and `/health`: what they ask, what they tell, and whom."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from codyverse import migrations
from codyverse.accounts import service as accounts
from codyverse.database import Database
from codyverse.operations import components
from codyverse.version import VERSION
from tests.conftest import Learner
from tests.operations.made import Make, make
from tests.parallel import in_parallel
from tests.server import Server
from tests.statements import Statements

PEER = {"REMOTE_ADDR": "192.0.2.7"}
TOLD_TO_ALL = {"status", "version", "features"}
DETAILS = {"environment", "components"}


@pytest.fixture
def failing(make: Make) -> FlaskClient:
    """An application with `/fail`, and a window that does not end during a test."""
    app = make(readyz_errors_s=600.0, readyz_errors_least=10)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.add_url_rule("/fail", "fail", lambda: 1 / 0)
    app.add_url_rule("/busy", "busy", lambda: ("busy", 503))
    return app.test_client()


def statuses(client: FlaskClient) -> tuple[int, int, int]:
    live, ready, health = (client.get(path).status_code for path in ("/livez", "/readyz", "/health"))
    return live, ready, health


def ask(client: FlaskClient, path: str, times: int) -> None:
    for _ in range(times):
        client.get(path)


def test_it_works(client: FlaskClient) -> None:
    assert statuses(client) == (200, 200, 200)
    health = client.get("/health").json
    assert health is not None
    assert set(health) == TOLD_TO_ALL | DETAILS
    assert (health["status"], health["version"], health["environment"]) == ("ok", VERSION, "testing")
    database = health["components"]["database"]
    assert (database["status"], database["revision"]) == ("ok", migrations.head())
    assert {each["status"] for each in health["components"].values()} == {"ok", "off"}  # there is no Redis


def test_a_process_that_is_told_to_stop_is_not_ready(app: Flask, client: FlaskClient, statements: Statements) -> None:
    components.of(app).drain()
    with statements.at_most(0):
        assert client.get("/readyz").json == {"status": "unavailable"}
    assert statuses(client) == (200, 503, 503)
    health = client.get("/health").json
    assert health is not None
    assert health["components"]["process"] == {"status": "draining"}
    assert health["components"]["database"]["status"] == "ok"
    assert client.get("/api/v1/courses").status_code == 200  # what still comes is answered


def test_a_thousand_asks_are_one_statement(make: Make, database: Database) -> None:
    app = make(readyz_database_s=60.0)
    sent: list[str] = []
    sa.event.listen(app.extensions["codyverse.database"].engine, "before_cursor_execute", lambda *told: sent.append(told[2]))
    client = app.test_client()
    client.get("/readyz")
    sent.clear()
    client.get("/readyz")
    assert in_parallel(8, lambda: [app.test_client().get("/readyz").status_code for _ in range(125)]) == [[200] * 125] * 8
    assert client.get("/health").status_code == 200
    assert sent == []


def test_a_look_at_the_database_is_one_statement(client: FlaskClient, statements: Statements) -> None:
    client.get("/readyz")
    with statements.at_most(1):
        assert client.get("/readyz").status_code == 200


def test_a_database_that_is_behind_is_not_ready_and_one_that_is_ahead_is(
    app: Flask, client: FlaskClient, database: Database
) -> None:
    def say(revision: str) -> None:
        with database.transaction() as tx:
            tx.execute(sa.text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})

    head = migrations.head()
    assert head is not None
    older = min(migrations.known())
    assert statuses(client) == (200, 200, 200)
    say(older)
    assert statuses(client) == (200, 503, 503)
    health = client.get("/health").json
    assert health is not None
    found = health["components"]["database"]
    assert (found["reason"], found["revision"], found["revision_expected"]) == ("schema is not current", older, head)
    say("9999")  # a newer version has migrated already, for both
    assert statuses(client) == (200, 200, 200)
    say(head)


def test_most_answers_being_errors_is_not_ready(failing: FlaskClient) -> None:
    ask(failing, "/fail", 9)
    assert statuses(failing) == (200, 200, 200)  # too few to say
    ask(failing, "/fail", 1)
    assert statuses(failing) == (200, 503, 503)
    health = failing.get("/health").json
    assert health is not None
    assert health["components"]["answers"] == {"status": "unavailable", "answers": 10, "errors": 10}
    ask(failing, "/nothing", 9)
    assert statuses(failing) == (200, 503, 503)  # 10 of 19
    ask(failing, "/nothing", 1)
    assert statuses(failing) == (200, 200, 200)  # half of them are not most


def test_a_503_of_ours_is_no_error(failing: FlaskClient) -> None:
    ask(failing, "/busy", 30)
    assert statuses(failing) == (200, 200, 200)


def test_health_counts_for_nothing(failing: FlaskClient) -> None:
    ask(failing, "/fail", 10)
    for path in ("/livez", "/readyz", "/health"):
        ask(failing, path, 20)
    assert statuses(failing) == (200, 503, 503)


def test_errors_are_forgotten(failing: FlaskClient) -> None:
    ask(failing, "/fail", 10)
    answers = failing.application.extensions["codyverse.health"].readiness.answers
    now = answers._clock()
    answers._clock = lambda: now + 601
    assert statuses(failing) == (200, 200, 200)


def test_with_a_share_of_1_errors_are_no_reason(make: Make) -> None:
    app = make(readyz_errors_share=1.0, readyz_errors_least=1)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.add_url_rule("/fail", "fail", lambda: 1 / 0)
    client = app.test_client()
    ask(client, "/fail", 5)
    assert client.get("/readyz").status_code == 200


def test_a_change_is_logged_once(app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "codyverse.startup"):
        ask(client, "/readyz", 2)
        components.of(app).draining = True
        ask(client, "/readyz", 2)
        components.of(app).draining = False
        ask(client, "/readyz", 2)
    assert [record.getMessage() for record in caplog.records] == ["not ready: draining", "ready again"]


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("sent", "is_told"),
    [
        ({}, True),
        ({"REMOTE_ADDR": "127.0.0.2"}, True),
        ({"REMOTE_ADDR": "::1", "HTTP_HOST": "[::1]:8000"}, True),
        ({"HTTP_HOST": "localhost:8000"}, True),
        (PEER, False),
        ({"REMOTE_ADDR": ""}, False),
        ({"REMOTE_ADDR": "unix"}, False),
        ({"HTTP_HOST": "codyverse.example"}, False),  # a proxy that says nothing, or another site's name for this machine
        ({"HTTP_X_FORWARDED_FOR": "127.0.0.1"}, False),
        ({"HTTP_X_FORWARDED_FOR": ""}, False),
        ({"HTTP_X_FORWARDED_PROTO": "https"}, False),
        ({"HTTP_X_FORWARDED_HOST": "localhost"}, False),
        ({"HTTP_X_FORWARDED_PORT": "443"}, False),
        ({"HTTP_X_REAL_IP": "127.0.0.1"}, False),
        ({"HTTP_FORWARDED": "for=127.0.0.1"}, False),
        ({"HTTP_VIA": "1.1 proxy"}, False),
    ],
)
def test_the_machine_itself_sees_figures(client: FlaskClient, sent: dict[str, str], is_told: bool) -> None:
    health = client.get("/health", environ_overrides=sent).json
    assert health is not None
    assert set(health) == TOLD_TO_ALL | (DETAILS if is_told else set())


@pytest.mark.parametrize("sent", [{}, {"HTTP_X_FORWARDED_FOR": "127.0.0.1"}, {"HTTP_X_FORWARDED_FOR": "192.0.2.7"}])
def test_behind_a_proxy_nobody_is_the_machine_itself(make: Make, sent: dict[str, str]) -> None:
    health = make(trusted_proxies=1).test_client().get("/health", environ_overrides=sent).json
    assert health is not None
    assert set(health) == TOLD_TO_ALL


def test_operators_see_figures_from_anywhere(learner: Learner, make_learner: Any, database: Database) -> None:
    operator: Learner = make_learner()
    accounts.change_role(database, operator.email, "admin")
    seen = [set(each.client.get("/health", environ_overrides=PEER).json) for each in (operator, learner)]
    assert seen == [TOLD_TO_ALL | DETAILS, TOLD_TO_ALL]


def test_an_operators_token_needs_its_scope(learner: Learner, database: Database, client: FlaskClient) -> None:
    accounts.change_role(database, learner.email, "admin")
    seen = []
    for scope in ("operations:read", "profile:read"):
        made = learner.client.post("/api/v1/auth/tokens", json={"name": scope, "scopes": [scope]})
        headers = {"Authorization": f"Bearer {made.json['token']}"}  # type: ignore[index]
        seen.append(set(client.get("/health", headers=headers, environ_overrides=PEER).json))  # type: ignore[arg-type]
    assert seen == [TOLD_TO_ALL | DETAILS, TOLD_TO_ALL]


def test_guesses_are_counted_and_still_answered(make: Make) -> None:
    app = make(limit_address="5 per day")
    client = app.test_client()
    looked_up: list[str] = []
    sa.event.listen(app.extensions["codyverse.database"].engine, "before_cursor_execute", lambda *told: looked_up.append(told[2]))
    for number in range(20):
        headers = {"Authorization": f"Bearer guess-{number}"}
        assert client.get("/health", headers=headers, environ_overrides=PEER).status_code == 200
    assert sum("api_tokens" in statement for statement in looked_up) == 5


def test_without_a_database_operators_are_nobody_in_particular(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    def fail(*args: Any) -> Any:
        raise sa.exc.OperationalError("SELECT", {}, Exception("password=hunter2"))

    monkeypatch.setattr(database, "read", fail)
    answer = client.get("/health", headers={"Authorization": "Bearer guess"}, environ_overrides=PEER)
    assert answer.status_code == 503
    assert answer.json is not None
    assert set(answer.json) == TOLD_TO_ALL
    assert "hunter2" not in answer.text
    assert client.get("/health").json["components"]["database"]["reason"] == "unreachable"  # type: ignore[index]


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_on_the_real_server(database_url: str, tmp_path: Path) -> None:
    with Server(tmp_path, database_url) as server:
        here = requests.get(f"{server.url}/health", timeout=30).json()
        forwarded = requests.get(f"{server.url}/health", timeout=30, headers={"X-Forwarded-For": "127.0.0.1"}).json()
    assert set(here) == TOLD_TO_ALL | DETAILS
    assert set(forwarded) == TOLD_TO_ALL
