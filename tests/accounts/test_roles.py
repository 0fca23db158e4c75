from __future__ import annotations

from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from codyverse.accounts.models import ROLES, sessions, users
from tests.conftest import Clock, Learner


@pytest.fixture
def role(app: Flask) -> Any:
    def run(*arguments: str) -> Result:
        return app.test_cli_runner().invoke(args=["accounts", "role", *arguments])

    return run


def test_it_works(role: Any, learner: Learner, rows: Any, clock: Clock) -> None:
    clock.advance(minutes=1)
    for name in (*ROLES, "admin"):
        result = role(learner.email.upper(), name)
        assert (result.exit_code, result.output) == (0, f"{learner.email} is {name} now\n")
        assert learner.client.get("/api/v1/me").json["role"] == name

    (row,) = rows(users)
    assert (row["role"], row["updated_at"]) == ("admin", clock.now)
    assert [row["revoked_at"] for row in rows(sessions)] == [None]


def test_others_stay_what_they_are(role: Any, make_learner: Any, rows: Any) -> None:
    first, second = make_learner(), make_learner()
    role(first.email, "teacher")
    assert {row["id"]: row["role"] for row in rows(users)} == {first.id: "teacher", second.id: "learner"}


def test_nobody_has_this_address(role: Any) -> None:
    result = role("nobody@example.org", "admin")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "codyverse: There is no account with this e-mail address.\n"


def test_roles_that_are_none(role: Any, learner: Learner, rows: Any) -> None:
    assert role(learner.email, "emperor").exit_code == 2
    assert role(learner.email).exit_code == 2
    assert rows(users)[0]["role"] == "learner"
