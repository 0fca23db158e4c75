# ruff: noqa: F401, F811  (fixtures come by import)
from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask
from flask.testing import FlaskClient

from codyverse import create_app
from codyverse.accounts.models import users
from codyverse.database import Database
from codyverse.errors import PROBLEM_TYPE
from codyverse.operations import limits
from codyverse.operations.limits.addresses import counted
from tests.conftest import ENGINES
from tests.one_engine import cheapest
from tests.operations.limited import START, choose, chosen, settings, time

COURSES = "/api/v1/courses"
HEADERS = ("RateLimit-Policy", "RateLimit", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


def counters(app: Flask) -> dict[str, int]:
    """The entries of the present windows, by the part of the key that says who and where."""
    limits.of(app).meter.leases.give_back()
    storage = limits.of(app).tiers
    return {
        "/".join(name.split("/")[2:-3]): storage.get_sliding_window(name, int(name.split("/")[-2]) * 60)[2]
        for name in storage.names()
    }


@choose(endpoint="3 per minute")
def test_it_works(client: FlaskClient, app: Flask, time: time_machine.Traveller) -> None:
    answers = [client.get(COURSES) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["RateLimit"] for answer in answers] == [
        '"endpoint";r=2;t=60',
        '"endpoint";r=1;t=60',
        '"endpoint";r=0;t=61',
        '"endpoint";r=0;t=61',
    ]
    refused = answers[-1]
    assert refused.content_type == "application/problem+json"
    assert refused.json == {
        "type": f"{PROBLEM_TYPE}too-many-requests",
        "title": "Too many requests",
        "status": 429,
        "detail": "Too many requests. Try again in 61 seconds.",
        "request_id": refused.headers["X-Request-ID"],
    }
    assert refused.headers["RateLimit-Policy"] == '"endpoint";q=3;w=60'
    assert refused.headers["Retry-After"] == "61"
    assert refused.headers["X-RateLimit-Limit"] == "3"
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert refused.headers["X-RateLimit-Reset"] == str(int(START) + 61)
    assert "Retry-After" not in answers[2].headers
    assert counters(app) == {
        "address:127.0.0.1/address": 4,
        "address:127.0.0.1/client": 4,
        "address:127.0.0.1/GET /api/v1/courses": 3,
    }

    time.shift(60)
    assert client.get(COURSES).status_code == 429
    time.shift(1)
    assert client.get(COURSES).status_code == 200


@choose(endpoint="3 per minute")
def test_each_operation_is_counted_for_itself(client: FlaskClient) -> None:
    for _ in range(4):
        client.get(COURSES)

    assert client.head(COURSES).status_code == 429
    assert client.get(COURSES + "/?").status_code == 404
    assert client.post("/api/v1/auth/login", json={}).status_code == 422
    assert client.get("/api/v1/courses/nothing").status_code == 404
    assert client.get("/api/v1/courses/nothing-else").headers["RateLimit"].startswith('"endpoint";r=1')


@choose(client="5 per 15 minutes")
def test_the_policy_that_leaves_least_is_told(client: FlaskClient, time: time_machine.Traveller) -> None:
    answers = [client.get(f"/api/v1/courses/{'a' * i}") for i in range(1, 7)]

    assert [answer.headers["RateLimit"] for answer in answers[:3]] == [f'"client";r={r};t=900' for r in (4, 3, 2)]
    assert answers[0].headers["RateLimit-Policy"] == '"client";q=5;w=900'
    assert answers[-1].status_code == 429


@choose(client="30 per 15 minutes")
def test_accounts_behind_one_address_are_several_clients(make_learner: Any, app: Flask) -> None:
    learners = [make_learner() for _ in range(2)]

    assert {learner.client.get("/api/v1/me").status_code for learner in learners for _ in range(30)} == {200}
    assert [learner.client.get("/api/v1/me").status_code for learner in learners] == [429, 429]
    assert counters(app)[f"account:{learners[0].id}/client"] == 30
    assert app.test_client().get(COURSES).status_code == 200


@choose(client="3 per 15 minutes")
def test_a_token_is_counted_with_its_account_and_a_made_up_one_with_its_address(learner: Any, app: Flask) -> None:
    token = learner.client.post("/api/v1/auth/tokens", json={"name": "t", "scopes": ["profile:read"]}).json["token"]
    program = app.test_client()

    def status(secret: str) -> int:
        return program.get("/api/v1/me", headers={"Authorization": f"Bearer {secret}"}).status_code

    assert [status(token) for _ in range(3)] == [200, 200, 429]
    assert learner.client.get("/api/v1/me").status_code == 429
    assert [status(f"cv_made-up-{i}") for i in range(4)] == [401, 401, 401, 429]


@choose(client="3 per 15 minutes", endpoint="3 per minute")
def test_readers_without_an_account_do_not_use_up_what_others_sign_in_with(learner: Any, app: Flask) -> None:
    reader = app.test_client()
    assert [reader.get(COURSES).status_code for _ in range(5)] == [200, 200, 200, 429, 429]
    account = {"email": learner.email, "password": learner.password}
    assert {app.test_client().post("/api/v1/auth/login", json=account).status_code for _ in range(6)} == {200}


@choose(address="5 per 15 minutes")
def test_the_ceiling_of_an_address_comes_before_everything(learner: Any, app: Flask, database: Database) -> None:
    for _ in range(4):
        learner.client.get("/api/v1/me")
    before = counters(app)
    statements: list[str] = []
    sa.event.listen(database.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))

    refused = learner.client.get("/api/v1/me")

    assert statements == []
    assert refused.status_code == 429
    assert refused.headers["RateLimit-Policy"] == '"address";q=5;w=900'
    assert counters(app) == before


@choose(client="2 per 15 minutes", address="8 per 15 minutes")
def test_what_needs_no_client_counts_against_the_address_only(client: FlaskClient, app: Flask) -> None:
    for path in ("/static/missing.css", "/nothing/here", "/api/v1/nothing"):
        assert client.get(path).status_code == 404
    assert client.options(COURSES).status_code == 200
    assert counters(app) == {"address:127.0.0.1/address": 4}

    for _ in range(4):
        client.get("/nothing/here")
    assert client.get("/nothing/here").status_code == client.get("/static/missing.css").status_code == 429
    assert "text/html" in client.get("/", headers={"Accept": "text/html"}).content_type


@choose(address="1 per 15 minutes")
def test_health_is_free(client: FlaskClient, app: Flask) -> None:
    for path in ("/livez", "/readyz", "/health") * 3:
        answer = client.get(path)
        assert answer.status_code == 200
        assert not set(HEADERS) & set(answer.headers.keys())
    assert counters(app) == {}


@choose(address="1 per 15 minutes", client="1 per 15 minutes", sign_in="1 per 15 minutes", feature_rate_limit=False)
def test_switched_off_nothing_is_counted_and_nothing_said(client: FlaskClient, app: Flask, tmp_path: Path) -> None:
    for _ in range(3):
        wrong = client.post("/api/v1/auth/login", json={"email": "a@example.org", "password": "wrong"})
        assert wrong.status_code == 401
        assert not set(HEADERS) & set(wrong.headers.keys())
    assert not list(tmp_path.glob("limits*"))
    result = app.test_cli_runner().invoke(args=["limits", "show"])
    assert (result.exit_code, result.stderr) == (2, "codyverse: Limits are switched off: CODYVERSE_FEATURE_RATE_LIMIT.\n")


@choose(upload="2 per minute")
def test_uploads_have_a_limit_of_their_own(app: Flask) -> None:
    @limits.uploads
    def put(name: str) -> str:
        return name

    @limits.uploads
    def post() -> str:
        return ""

    app.add_url_rule("/api/v1/upload/<name>", "put", put, methods=["PUT"])
    app.add_url_rule("/api/v1/upload", "post", post, methods=["PUT"])
    client = app.test_client()

    assert client.put("/api/v1/upload/one").headers["RateLimit-Policy"] == '"upload";q=2;w=60'
    assert client.put("/api/v1/upload").status_code == 200
    assert client.put("/api/v1/upload/two").status_code == 429
    assert client.get(COURSES).status_code == 200


@choose(client="2 per 15 minutes")
def test_two_applications_share_nothing_but_their_counters(client: FlaskClient, app: Flask, tmp_path: Path) -> None:
    same = create_app(app.config["CODYVERSE"])
    other = create_app(
        dataclasses.replace(app.config["CODYVERSE"], instance_path=tmp_path / "other", limit_client="1 per minute")
    )
    assert client.get(COURSES).status_code == same.test_client().get(COURSES).status_code == 200
    assert same.test_client().get(COURSES).status_code == 429
    assert other.test_client().get(COURSES).headers["RateLimit-Policy"] == '"client";q=1;w=60'
    assert client.get(COURSES).headers["RateLimit-Policy"] == '"client";q=2;w=900'
    for each in (same, other):
        each.extensions["codyverse.database"].close()


@choose(client="3 per 15 minutes")
def test_without_the_file_the_process_counts(app: Flask, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    client = app.test_client()
    (tmp_path / "limits.sqlite3").mkdir()

    assert [client.get(COURSES).status_code for _ in range(4)] == [200, 200, 200, 429]
    tier, process = limits.of(app).tiers.tiers
    assert (tier.failures, process.failures) == (1, 0)
    assert [record.getMessage() for record in caplog.records if record.name == "codyverse.limits"] == [
        "limits are no longer counted by: the host (OperationalError)"
    ]


def test_counting_does_not_make_public_answers_private(learner: Any) -> None:
    answer = learner.client.get("/api/v1/openapi.json")

    assert answer.status_code == 200
    assert "private" not in answer.headers.get("Cache-Control", "")
    assert "Cookie" not in answer.headers.get("Vary", "")


@pytest.mark.parametrize(
    ("text", "client"),
    [
        ("192.0.2.1", "address:192.0.2.1"),
        ("::ffff:192.0.2.1", "address:192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "address:2001:db8:1:2::"),
        ("2001:DB8:1:2::", "address:2001:db8:1:2::"),
        ("2001:db8:1:3::1", "address:2001:db8:1:3::"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "address:2001:db8:1:2::"),
        ("2001:db8:1:ffff::1", "address:2001:db8:1:ffff::"),
        ("fe80::1%eth0", "address:fe80::"),
        ("", "address:unknown"),
        ("unknown", "address:unknown"),
        ("192.0.2.1/../../x", "address:unknown"),
    ],
)
def test_addresses_are_counted_by_who_has_them(text: str, client: str) -> None:
    assert counted(text) == client


@choose(client="1 per 15 minutes")
def test_nobody_is_a_new_client_by_another_address_of_the_same_network(client: FlaskClient) -> None:
    def status(address: str) -> int:
        return client.get(COURSES, environ_base={"REMOTE_ADDR": address}).status_code

    assert [status("2001:db8::1"), status("2001:db8::2"), status("2001:db8:0:1::1")] == [200, 429, 200]
    assert [status("192.0.2.1"), status("::ffff:192.0.2.1"), status("192.0.2.2")] == [200, 429, 200]
    spoofed = {"X-Forwarded-For": "198.51.100.1", "Forwarded": "for=198.51.100.1", "X-Real-IP": "198.51.100.1"}
    assert client.get(COURSES, environ_base={"REMOTE_ADDR": "192.0.2.1"}, headers=spoofed).status_code == 429


def test_a_classroom_meets_no_limit(make_learner: Any, time: time_machine.Traveller, rows: Any) -> None:
    """40 learners behind one address, one request a second each, for three minutes."""
    classroom = [make_learner() for _ in range(40)]
    seen = set()
    for _ in range(180):
        time.shift(1)
        seen |= {learner.client.get("/api/v1/me").status_code for learner in classroom}

    assert seen == {200}
    assert len(rows(users)) == 40


def test_the_document_tells_of_limits_everywhere(client: FlaskClient) -> None:
    document = client.get("/api/v1/openapi.json").json
    components = document["components"]["responses"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method == "parameters":
                continue
            assert operation["responses"]["429"] == {"$ref": "#/components/responses/TOO_MANY_REQUESTS"}, (path, method)
            for status, response in operation["responses"].items():
                described = components[response["$ref"].rpartition("/")[2]] if "$ref" in response else response
                assert set(HEADERS) <= set(described["headers"]), (path, method, status)
                assert ("Retry-After" in described["headers"]) == (status == "429")


@pytest.mark.parametrize("engine_name", ENGINES, indirect=True)
def test_while_the_database_is_away_what_does_not_need_it_answers(learner: Any, app: Flask, database: Database) -> None:
    def away(*arguments: Any) -> None:
        raise sa.exc.OperationalError("", None, OSError())

    sa.event.listen(database.engine, "before_cursor_execute", away)

    assert learner.client.get("/api/v1/openapi.json").status_code == 200
    assert learner.client.get("/api/v1/me").status_code == 503
    assert counters(app)["address:127.0.0.1/client"] == 2
