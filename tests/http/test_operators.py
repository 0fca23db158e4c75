from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from codyverse.accounts.service import change_role
from codyverse.database import Database
from tests.conftest import Learner

STATEMENTS = "/api/v1/operations/statements"


@pytest.fixture
def operator(make_learner: Callable[..., Learner], database: Database) -> Learner:
    operator = make_learner()
    change_role(database, operator.email, "admin")
    return operator


def token(learner: Learner, *scopes: str) -> dict[str, str]:
    created = learner.client.post("/api/v1/auth/tokens", json={"name": "t", "scopes": scopes})
    assert created.status_code == 201
    return {"Authorization": f"Bearer {created.json['token']}"}


def test_it_works(operator: Learner) -> None:
    for _ in range(3):
        operator.client.get("/api/v1/me/ledger")
    response = operator.client.get(STATEMENTS)

    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    found = next(one for one in response.json["items"] if "FROM ledger_entries" in one["statement"])
    assert (found["calls"], found["errors"]) == (3, 0)
    assert found["total_ms"] >= found["max_ms"] >= found["p95_ms"] > 0
    totals = [one["total_ms"] for one in response.json["items"]]
    assert totals == sorted(totals, reverse=True)


def test_no_value_is_shown(operator: Learner, client: FlaskClient) -> None:
    client.post("/api/v1/auth/login", json={"email": operator.email, "password": operator.password})
    client.get("/api/v1/courses?q=something-rare")
    for value in (operator.email, "something-rare", "Ada"):
        assert value not in operator.client.get(STATEMENTS).text


def test_order_and_limit(operator: Learner) -> None:
    calls = [one["calls"] for one in operator.client.get(f"{STATEMENTS}?by=calls&limit=3").json["items"]]
    assert len(calls) == 3
    assert calls == sorted(calls, reverse=True)
    for query in ("by=rows", "limit=0", "limit=501", "cursor=x"):
        assert operator.client.get(f"{STATEMENTS}?{query}").status_code == 422, query


def test_only_operators_may(
    operator: Learner, make_learner: Callable[..., Learner], database: Database, client: FlaskClient
) -> None:
    learner, teacher = make_learner(), make_learner()
    change_role(database, teacher.email, "teacher")

    assert client.get(STATEMENTS).status_code == 401
    for somebody in (learner, teacher):
        assert somebody.client.get(STATEMENTS).status_code == 403
        assert client.get(STATEMENTS, headers=token(somebody, "operations:read")).status_code == 403
    assert client.get(STATEMENTS, headers=token(operator, "profile:read", "learning:read")).status_code == 403
    assert client.get(STATEMENTS, headers=token(operator, "operations:read")).status_code == 200


def test_who_is_no_operator_any_more_may_not(operator: Learner, database: Database, client: FlaskClient) -> None:
    headers = token(operator, "operations:read")
    change_role(database, operator.email, "learner")

    assert operator.client.get(STATEMENTS).status_code == 403
    assert client.get(STATEMENTS, headers=headers).status_code == 403
    assert operator.client.get("/api/v1/me").json["role"] == "learner"
