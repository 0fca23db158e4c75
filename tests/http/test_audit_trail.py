from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from codyverse.accounts.service import change_role
from codyverse.database import Database
from codyverse.operations import audit
from tests.conftest import Clock, Learner

AUDIT = "/api/v1/operations/audit"


@pytest.fixture
def operator(make_learner: Callable[..., Learner], database: Database) -> Learner:
    operator = make_learner()
    change_role(database, operator.email, "admin")
    return operator


def test_it_works(operator: Learner) -> None:
    response = operator.client.get(AUDIT)
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    newest, first = response.json["items"]
    assert response.json["next_cursor"] is None
    assert newest == {
        "id": 2,
        "recorded_at": "2026-11-24T12:00:00Z",
        "action": "role_changed",
        "actor": "cli",
        "subject": f"account:{operator.id}",
        "details": {"role": "admin", "was": "learner"},
        "previous_hash": first["hash"],
        "hash": newest["hash"],
    }
    assert len(newest["hash"]) == 64
    assert (first["id"], first["action"]) == (1, "registration")


def test_pages(operator: Learner, database: Database) -> None:
    for number in range(10):
        with database.transaction() as tx:
            audit.record(tx, "cache_cleared", audit.CLI, "cache", {"number": number})
    seen, query = [], "?limit=5&action=cache_cleared"
    cursor = ""
    while cursor is not None:
        page = operator.client.get(f"{AUDIT}{query}" + (f"&cursor={cursor}" if cursor else "")).json
        seen += [item["details"]["number"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert seen == list(range(10))[::-1]
    elsewhere = operator.client.get(f"{AUDIT}?limit=1").json["next_cursor"]
    assert operator.client.get(f"/api/v1/me/ledger?cursor={elsewhere}").status_code == 422


def test_filters(operator: Learner, database: Database, clock: Clock) -> None:
    clock.advance(hours=1)
    with database.transaction() as tx:
        audit.record(tx, "cache_cleared", audit.CLI, "cache")

    def actions(query: str) -> list[str]:
        response = operator.client.get(f"{AUDIT}?{query}")
        assert response.status_code == 200, response.text
        return [item["action"] for item in response.json["items"]]

    assert actions("action=registration") == ["registration"]
    assert actions("actor=cli") == ["cache_cleared", "role_changed"]
    assert actions(f"actor=account:{operator.id}") == ["registration"]
    assert actions("subject=cache") == ["cache_cleared"]
    assert actions("since=2026-11-24T12:30:00Z") == ["cache_cleared"]
    assert actions("since=2026-11-24T13:30:00%2B01:00&actor=cli") == ["cache_cleared"]


BAD = (
    "limit=0",
    "limit=101",
    "cursor=x",
    "since=yesterday",
    "since=2026-11-24T12:00:00",
    "since=0001-01-01T00:00:00%2B23:59",
    "action=A",
    "actor=a%00",
    "x=1",
)


@pytest.mark.parametrize("query", [*BAD, f"subject={'a' * 81}"])
def test_bad_input(operator: Learner, query: str) -> None:
    assert operator.client.get(f"{AUDIT}?{query}").status_code == 422


def test_only_operators_may(operator: Learner, learner: Learner, client: FlaskClient, database: Database) -> None:
    def token(owner: Learner, *scopes: str) -> dict[str, str]:
        created: Any = owner.client.post("/api/v1/auth/tokens", json={"name": "t", "scopes": scopes})
        return {"Authorization": f"Bearer {created.json['token']}"}

    assert client.get(AUDIT).status_code == 401
    assert learner.client.get(AUDIT).status_code == 403
    assert client.get(AUDIT, headers=token(learner, "operations:read")).status_code == 403
    assert client.get(AUDIT, headers=token(operator, "profile:read")).status_code == 403
    assert client.get(AUDIT, headers=token(operator, "operations:read")).status_code == 200
