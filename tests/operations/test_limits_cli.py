# ruff: noqa: F401, F811  (fixtures come by import)
from __future__ import annotations

from typing import Any

import pytest
import time_machine
from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient

from codyverse.operations import limits
from tests.one_engine import cheapest
from tests.operations.limited import choose, chosen, settings, time

LOGIN = "/api/v1/auth/login"


@pytest.fixture
def flask(app: Flask) -> Any:
    def run(*arguments: str) -> Result:
        limits.of(app).meter.leases.give_back()
        return app.test_cli_runner().invoke(args=["limits", *arguments])

    return run


def fail_to_sign_in(client: FlaskClient, email: str, times: int) -> int:
    for _ in range(times):
        answer = client.post(LOGIN, json={"email": email, "password": "a wrong password"})
    return answer.status_code


def test_it_works(flask: Any, learner: Any, time: time_machine.Traveller) -> None:
    learner.client.get("/api/v1/me")

    assert flask("show", "--client", str(learner.id)).output.splitlines() == [
        f"endpoint account:{learner.id} GET /api/v1/me: 99 of 100 left, more in 60 s",
        f"client account:{learner.id}: 999 of 1000 left, more in 900 s",
    ]
    assert flask("show", "--address", "::ffff:127.0.0.1").output.splitlines() == [
        "address address:127.0.0.1: 29998 of 30000 left, more in 900 s",
        "sign-in-address address:127.0.0.1: 99 of 100 left, more in 900 s",
    ]
    assert len(flask("show").output.splitlines()) == 4
    assert flask("show", "--client", "4711").output == "Nothing is counted.\n"


def test_somebody_who_is_locked_out_is_let_in_again(flask: Any, client: FlaskClient, learner: Any) -> None:
    assert fail_to_sign_in(client, learner.email, 6) == 429
    assert fail_to_sign_in(client, "other@example.org", 6) == 429
    shown = flask("show", "--email", learner.email.upper()).output
    assert "sign-in address:127.0.0.1 email:" in shown
    assert "0 of 5 left" in shown
    assert learner.email not in flask("show").output

    assert flask("reset", "--email", learner.email).output == "2 counters forgotten.\n"

    signed_in = client.post(LOGIN, json={"email": learner.email, "password": learner.password})
    assert signed_in.status_code == 200
    assert fail_to_sign_in(client, "other@example.org", 1) == 429


@choose(client="2 per 15 minutes")
def test_a_client_or_everybody_begins_anew(flask: Any, client: FlaskClient, learner: Any) -> None:
    def status() -> int:
        return learner.client.get("/api/v1/me").status_code

    assert [status() for _ in range(3)] == [200, 200, 429]
    assert flask("reset", "--client", str(learner.id)).output == "2 counters forgotten.\n"
    assert [status() for _ in range(3)] == [200, 200, 429]
    assert flask("reset", "--address", "127.0.0.1").exit_code == 0
    assert status() == 429
    assert flask("reset").output == "3 counters forgotten.\n"
    assert [status(), client.get("/api/v1/courses").status_code] == [200, 200]


@pytest.mark.parametrize("command", ["show", "reset"])
def test_what_cannot_be_done_is_said_in_one_line(flask: Any, client: FlaskClient, command: str) -> None:
    client.get("/api/v1/courses")
    for arguments, says in (
        (["--address", "nonsense"], "codyverse: nonsense is no network address.\n"),
        (["--address", "::1", "--client", "1"], "codyverse: Choose one of --client, --address and --email.\n"),
    ):
        result = flask(command, *arguments)
        assert (result.exit_code, result.stderr, result.stdout) == (2, says, "")
    assert flask(command, "--client", "ada").exit_code == 2
    assert flask("show").output != "Nothing is counted.\n"
