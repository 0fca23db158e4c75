# ruff: noqa: F401, F811  (fixtures come by import)
from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import time_machine
from flask import Flask
from flask.testing import FlaskClient

from codyverse.accounts.models import sessions, users
from codyverse.operations import limits
from tests.one_engine import cheapest
from tests.operations.limited import choose, chosen, settings, time
from tests.redis import redis_server
from tests.server import Server

LOGIN = "/api/v1/auth/login"
REGISTER = "/api/v1/auth/register"
PLENTY = "1000000 per minute"


def log_in(client: FlaskClient, email: str, password: str = "a wrong password", address: str = "192.0.2.1") -> Any:
    return client.post(LOGIN, json={"email": email, "password": password}, environ_base={"REMOTE_ADDR": address})


def counted(app: Flask, policy: str) -> list[int]:
    storage = limits.of(app).tiers
    return [storage.get_sliding_window(name, 900)[2] for name in storage.names() if name.startswith(f"LIMITER/{policy}/")]


def test_it_works(app: Flask, client: FlaskClient, learner: Any, rows: Any, time: time_machine.Traveller) -> None:
    answers = [log_in(client, learner.email) for _ in range(6)]

    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    refused = answers[-1]
    assert refused.json["detail"] == "Too many attempts to sign in. Try again in 901 seconds."
    assert refused.headers["RateLimit-Policy"] == '"sign-in";q=5;w=900'
    assert refused.headers["RateLimit"] == '"sign-in";r=0;t=901'
    assert refused.headers["Retry-After"] == "901"
    assert learner.email not in refused.text
    assert log_in(client, learner.email.upper(), learner.password).status_code == 429
    assert (counted(app, "sign-in"), counted(app, "sign-in-account")) == ([5], [5])
    assert len(rows(sessions)) == 1

    time.shift(901)
    assert log_in(client, learner.email, learner.password).status_code == 200
    assert len(rows(sessions)) == 2


def test_another_address_is_let_in(client: FlaskClient, learner: Any) -> None:
    for _ in range(6):
        log_in(client, learner.email)

    assert log_in(client, learner.email, learner.password).status_code == 429
    assert log_in(client, learner.email, learner.password, "192.0.2.2").status_code == 200


def test_success_clears_its_own_counter(app: Flask, client: FlaskClient, learner: Any, make_learner: Any) -> None:
    other = make_learner()
    for _ in range(4):
        log_in(client, learner.email)
        log_in(client, other.email)
    assert log_in(client, learner.email, learner.password).status_code == 200

    assert sorted(counted(app, "sign-in")) == [4]  # the other one's
    assert sorted(counted(app, "sign-in-account")) == [4, 4]
    assert [log_in(client, learner.email).status_code for _ in range(6)] == [401] * 5 + [429]
    assert [log_in(client, other.email).status_code for _ in range(2)] == [401, 429]


def test_success_costs_nothing(app: Flask, client: FlaskClient, learner: Any) -> None:
    assert {log_in(client, learner.email, learner.password).status_code for _ in range(8)} == {200}
    assert counted(app, "sign-in") == []
    assert counted(app, "sign-in-account") == [0]
    assert sorted(counted(app, "sign-in-address")) == [0, 1]  # the registration came from another address


def test_an_account_that_does_not_exist_is_limited_like_one_that_does(client: FlaskClient, learner: Any) -> None:
    real = [log_in(client, learner.email) for _ in range(6)]
    made_up = [log_in(client, "nobody@example.org") for _ in range(6)]

    assert [(answer.status_code, answer.json.keys()) for answer in real] == [
        (answer.status_code, answer.json.keys()) for answer in made_up
    ]


@choose(sign_in_account="7 per hour")
def test_an_account_is_limited_from_anywhere(app: Flask, client: FlaskClient, learner: Any, time: Any) -> None:
    answers = [log_in(client, learner.email, address=f"192.0.2.{i}") for i in range(9)]

    assert [answer.status_code for answer in answers] == [401] * 7 + [429] * 2
    assert answers[-1].headers["RateLimit-Policy"] == '"sign-in-account";q=7;w=3600'
    assert sorted(counted(app, "sign-in")) == [0, 0, 1, 1, 1, 1, 1, 1, 1]  # no password was tried by the last two


@choose(endpoint=PLENTY, client=PLENTY)
def test_one_address_is_stopped_over_a_thousand_accounts(app: Flask, client: FlaskClient) -> None:
    answers = [log_in(client, f"learner{i}@example.org") for i in range(1000)]

    assert [answer.status_code for answer in answers] == [401] * 100 + [429] * 900
    assert answers[-1].headers["RateLimit-Policy"] == '"sign-in-address";q=100;w=900'
    assert counted(app, "sign-in-address") == [100]


@choose(sign_in_address="3 per 15 minutes")
def test_registrations_count_against_the_address(client: FlaskClient, rows: Any, make_learner: Any) -> None:
    details = {"password": "seven quiet otters", "display_name": "Ada", "birth_date": "1990-12-10"}

    def register(email: str) -> int:
        return client.post(REGISTER, json=details | {"email": email}).status_code

    assert [register("a@example.org") for _ in range(4)] == [201, 409, 409, 429]
    assert register("b@example.org") == 429
    assert client.post(LOGIN, json={"email": "a@example.org", "password": "seven quiet otters"}).status_code == 429
    assert len(rows(users)) == 1


def test_what_is_refused_before_the_password_does_not_count(app: Flask, client: FlaskClient, learner: Any) -> None:
    for _ in range(3):
        assert client.post(LOGIN, json={"email": learner.email}).status_code == 422
        bad_key = client.post(
            LOGIN, json={"email": learner.email, "password": "x" * 9}, headers={"Idempotency-Key": "with space"}
        )
        assert bad_key.status_code == 400
    assert counted(app, "sign-in") == []


def try_passwords(url: str, number: int) -> Counter[int]:
    def attempt(i: int) -> int:
        body = {"email": "ada@example.org", "password": f"wrong password {i}"}
        return requests.post(f"{url}{LOGIN}", json=body, timeout=60).status_code

    with ThreadPoolExecutor(number) as pool:
        return Counter(pool.map(attempt, range(number)))


@pytest.mark.parametrize("shared_by", ["the host", "redis"])
def test_fifty_at_once_on_four_workers_try_five(
    database_url: str,
    tmp_path: Path,
    shared_by: str,
    request: pytest.FixtureRequest,
) -> None:
    more = {}
    if shared_by == "redis":
        more["redis_url"] = request.getfixturevalue("redis_server").url
    with Server(tmp_path, database_url, "--workers", "4", limit_sign_in="5 per 15 minutes", **more) as server:
        assert try_passwords(server.url, 50) == {401: 5, 429: 45}
        assert try_passwords(server.url, 10) == {429: 10}


def test_failed_attempts_outlive_a_restart(database_url: str, tmp_path: Path) -> None:
    for expected in ({401: 5, 429: 1}, {429: 6}):
        with Server(tmp_path, database_url, limit_sign_in="5 per 15 minutes") as server:
            assert try_passwords(server.url, 6) == expected
