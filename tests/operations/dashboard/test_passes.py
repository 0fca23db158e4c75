from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import time_machine
from flask.testing import FlaskClient

from codyverse.accounts.service import change_role
from codyverse.database import Database
from codyverse.http import auth
from codyverse.operations.breaker import BreakerOpen
from codyverse.operations.dashboard import passes
from tests.conftest import Learner
from tests.one_engine import cheapest  # noqa: F401  (a fixture)

PAGE = "/operations"


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Have the database not say who sends a request."""

    def fail() -> Any:
        raise BreakerOpen("database", 1.0)

    return lambda: monkeypatch.setattr(auth, "_find_caller", fail)


@pytest.fixture
def watching(operator: Learner) -> Iterator[FlaskClient]:
    assert operator.client.get(PAGE).status_code == 200
    yield operator.client


def test_who_was_let_in_looks_on_while_the_database_is_away(watching: FlaskClient, away: Callable[[], None]) -> None:
    away()
    assert watching.get(PAGE).status_code == 200
    assert watching.get("/operations/history").status_code == 200
    with watching.get("/operations/live") as response:
        assert "event: sections" in response.text


def test_signing_out_takes_it_away(watching: FlaskClient) -> None:
    assert watching.get_cookie("codyverse-operations", path=PAGE) is not None
    assert watching.post("/api/v1/auth/logout").status_code == 204
    assert watching.get_cookie("codyverse-operations", path=PAGE) is None


def test_nobody_else_does(client: FlaskClient, learner: Learner, operator: Learner, away: Callable[[], None]) -> None:
    learner.client.get(PAGE)
    away()
    for somebody in (client, learner.client, operator.client):  # the last one never looked before
        assert somebody.get(PAGE).status_code == 503


def test_a_pass_opens_nothing_else(watching: FlaskClient, away: Callable[[], None]) -> None:
    away()
    assert watching.get("/metrics").status_code == 503
    assert watching.get("/api/v1/operations/statements").status_code == 503
    cookie = watching.get_cookie("codyverse-operations", path=PAGE)
    assert cookie is not None
    assert (cookie.path, cookie.http_only, cookie.same_site) == (PAGE, True, "Strict")


def test_a_pass_opens_nothing_while_the_database_can_be_asked(
    watching: FlaskClient, operator: Learner, database: Database
) -> None:
    change_role(database, operator.email, "learner")
    assert watching.get(PAGE).status_code == 403


@pytest.mark.parametrize("forged", ["", "operator", "operator.awX6pw.AOv9G6eJn0K1irXTsWEoStlzZ3A", "\u00e9"])
def test_a_forged_pass_opens_nothing(client: FlaskClient, away: Callable[[], None], forged: str) -> None:
    away()
    client.set_cookie("codyverse-operations", forged, path=PAGE)
    assert client.get(PAGE).status_code == 503


def test_a_pass_ends(watching: FlaskClient, away: Callable[[], None]) -> None:
    away()
    cookie = watching.get_cookie("codyverse-operations", path=PAGE)
    assert cookie is not None
    for after_s, status in ((passes.FOR_S - 5, 200), (passes.FOR_S + 5, 503)):
        with time_machine.travel(time.time() + after_s, tick=False):
            client = watching.application.test_client()
            client.set_cookie("codyverse-operations", cookie.value, path=PAGE)
            assert client.get(PAGE).status_code == status
