# ruff: noqa: F401, F811  (fixtures come by import)
"""How often a request waits for Redis. With a counter for each limit, and a look at each script before it, it was six times."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import time_machine
from flask import Flask

import config
from codyverse.operations import cache, limits
from codyverse.operations.limits.leases import Leases
from tests.conftest import make_settings
from tests.one_engine import cheapest
from tests.operations.limited import PRODUCTION, time
from tests.redis import Redis, redis_server
from tests.round_trips import RoundTrips, round_trips
from tests.server import wait_until

COURSES = "/api/v1/courses"
WIDE = dict.fromkeys(("limit_address", "limit_client", "limit_endpoint"), "900000 per hour")


@pytest.fixture
def settings(database_url: str, tmp_path: Path, redis_server: Redis) -> config.Settings:
    return make_settings(tmp_path, database_url, redis_url=redis_server.url, **PRODUCTION | WIDE)


def ask_until_finished(app: Flask) -> None:
    """Ask for the courses until their answer is kept, which needs this host to hear of the changes of others."""
    cache.of(app)._parts.listener.start()
    wait_until(cache.of(app)._generations.trusted)
    for _ in range(70):  # after 63 the process takes 64 entries at a time for this address
        assert app.test_client().get(COURSES).status_code == 200


def from_elsewhere(number: int) -> dict[str, str]:
    return {"REMOTE_ADDR": f"192.0.2.{number}"}


def test_it_works(round_trips: RoundTrips, redis_server: Redis) -> None:
    with round_trips.recorded() as sent, redis_server.client.pipeline(transaction=False) as pipeline:
        pipeline.set("a", 1)
        pipeline.get("a")
        pipeline.execute()
        redis_server.client.get("a")
    assert len(sent) == 2
    with pytest.raises(AssertionError, match=r"1 round trips, 0 at the most:\n1\. .*GET"), round_trips.at_most(0):
        redis_server.client.get("a")


def test_what_a_new_connection_says_of_itself_is_left_out(round_trips: RoundTrips, redis_server: Redis) -> None:
    redis_server.client.connection_pool.disconnect()
    with round_trips.recorded() as sent:
        redis_server.client.get("a")
    assert [b"GET" in command for command in sent] == [True]


def test_a_finished_answer_for_an_address_that_asks_for_the_first_time(
    app: Flask, round_trips: RoundTrips, catalogue: Any, time: time_machine.Traveller
) -> None:
    ask_until_finished(app)
    with round_trips.at_most(1):
        assert app.test_client().get(COURSES, environ_base=from_elsewhere(1)).status_code == 200


def test_a_finished_answer_for_a_client_that_asks_often(
    app: Flask, round_trips: RoundTrips, catalogue: Any, time: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How soon the thread behind the requests is woken is for the machine to say, so its work is done here between two of them.
    monkeypatch.setattr(Leases, "_run", lambda leases: None)
    counted = limits.of(app)
    assert counted is not None
    client = app.test_client()
    ask_until_finished(app)
    with ThreadPoolExecutor(1) as behind:

        def ask(times: int) -> None:
            for _ in range(times):
                assert client.get(COURSES, environ_base=from_elsewhere(1)).status_code == 200
                behind.submit(counted.meter.leases._fill, about_to_end=False).result()

        ask(20)
        with round_trips.at_most(0):
            ask(200)


def test_a_finished_answer_for_a_client_whose_entries_nobody_fills(
    app: Flask, round_trips: RoundTrips, catalogue: Any, time: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Leases, "_run", lambda leases: None)
    client = app.test_client()
    ask_until_finished(app)
    with round_trips.at_most(8):  # 1, 2, 4, 8, 16, 32, 64 and 128 entries
        for _ in range(200):
            assert client.get(COURSES, environ_base=from_elsewhere(1)).status_code == 200


def test_a_completion_and_progress_of_clients_that_ask_for_the_first_time(
    app: Flask, round_trips: RoundTrips, catalogue: Any, make_learner: Any, time: time_machine.Traveller
) -> None:
    ask_until_finished(app)
    lesson_id = catalogue.lesson("machines/what-is-a-guess")
    one, two = make_learner(), make_learner()
    with round_trips.at_most(1 + 2):  # the client and the operation; a look for what is known of the lesson, and keeping it
        answer = one.client.post(f"/api/v1/lessons/{lesson_id}/completions", json={}, headers={"Idempotency-Key": "a"})
    assert answer.status_code == 201
    with round_trips.at_most(1):
        answer = two.client.post(f"/api/v1/lessons/{lesson_id}/completions", json={}, headers={"Idempotency-Key": "b"})
    assert answer.status_code == 201
    with round_trips.at_most(1):
        assert two.client.get("/api/v1/me/progress").status_code == 200


def test_the_cache(app: Flask, round_trips: RoundTrips) -> None:
    kept = cache.of(app)
    kept._parts.listener.start()
    wait_until(kept._generations.trusted)
    kept.cached("other", lambda: 1, ["other"])
    kept.invalidate("other")  # from here on Redis has the scripts
    with round_trips.at_most(2):  # what the cluster has; keeping it there
        assert kept.cached("k", lambda: 1, ["t"]) == 1
    with round_trips.at_most(0):
        assert kept.cached("k", lambda: 2, ["t"]) == 1
    with round_trips.at_most(2):  # before the commit and after it
        kept.invalidate("t", "u", "v")
    with round_trips.at_most(2):
        assert kept.cached("k", lambda: 2, ["t"]) == 2
