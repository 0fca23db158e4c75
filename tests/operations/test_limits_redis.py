# ruff: noqa: F401, F811  (fixtures come by import)
from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from codyverse.operations.limits import tiers
from codyverse.operations.limits.tiers import FIRST_PAUSE_S, LONGEST_PAUSE_S, REDIS_PREFIX, SharedStorage, Tier, TierDown
from tests.conftest import make_settings
from tests.redis import Redis, redis_server
from tests.server import Server, wait_until

COURSES = "/api/v1/courses"
LOGIN = "/api/v1/auth/login"

GONE = pytest.mark.parametrize("gone", [Redis.stop, Redis.freeze], ids=["stopped", "frozen"])


def statuses(number: int, request: Callable[[int], requests.Response]) -> Counter[int]:
    with ThreadPoolExecutor(8) as pool:
        return Counter(pool.map(lambda i: request(i).status_code, range(number)))


@pytest.fixture
def server(redis_server: Redis, database_url: str, tmp_path: Path):
    with Server(tmp_path, database_url, redis_url=redis_server.url, limit_sign_in="5 per 15 minutes") as server:
        yield server


@GONE
def test_nothing_fails_and_the_limit_of_signing_in_holds(redis_server: Redis, server: Server, gone) -> None:
    def read(i: int) -> requests.Response:
        return requests.get(server.url + COURSES, timeout=30)

    def guess(i: int) -> requests.Response:
        body = {"email": "ada@example.org", "password": f"wrong password {i}"}
        return requests.post(server.url + LOGIN, json=body, timeout=30)

    assert statuses(20, read) == {200: 20}
    assert statuses(3, guess) == {401: 3}
    gone(redis_server)

    assert statuses(200, read) == {200: 200}
    assert statuses(10, guess) == {401: 2, 429: 8}


def test_redis_counts_again_when_it_is_back(redis_server: Redis, server: Server) -> None:
    def counters() -> set[bytes]:
        return set(redis_server.client.keys(f"{REDIS_PREFIX}:*"))

    assert requests.get(server.url + COURSES, timeout=30).status_code == 200
    keys = counters()
    assert keys
    redis_server.stop()
    assert requests.get(server.url + COURSES, timeout=30).status_code == 200
    redis_server.start()

    def is_counted_by_redis() -> bool:
        assert requests.get(server.url + COURSES, timeout=30).status_code == 200
        return counters() == keys

    wait_until(is_counted_by_redis)


@GONE
def test_one_request_a_recheck_waits(redis_server: Redis, gone) -> None:
    now = 0.0
    tier = Tier("redis", SharedStorage(redis_server.url), clock=lambda: now)

    def ask(_: int) -> bool:
        try:
            return bool(tier.call("acquire_sliding_window_entry", "k", 1000, 60))
        except TierDown:
            return False

    def answered() -> Counter[bool]:
        with ThreadPoolExecutor(8) as pool:
            return Counter(pool.map(ask, range(80)))

    assert answered() == {True: 80}
    gone(redis_server)
    assert not ask(0)
    assert tier.failures == 1
    pause = FIRST_PAUSE_S
    for failures in range(2, 12):
        pause = min(2 * pause, LONGEST_PAUSE_S)
        now += pause - 0.001
        assert answered() == {False: 80}
        assert tier.failures == failures - 1
        now += 0.001
        assert answered() == {False: 80}
        assert tier.failures == failures


def test_two_hosts_share_their_counters(redis_server: Redis, tmp_path: Path) -> None:
    def tiers_of(name: str) -> tiers.Tiers:
        return tiers.of(make_settings(tmp_path / name, "", redis_url=redis_server.url))

    one, two = tiers_of("one"), tiers_of("two")
    assert [host.acquire_sliding_window_entry("k", 3, 60) for host in (one, two, one, two)] == [True, True, True, False]
    assert one.get_sliding_window("k", 60) == pytest.approx((0, 0.0, 3, 120), abs=10)
    two.release("k")
    assert one.acquire_with_spare("k", 3, 60)
    assert not two.acquire_with_spare("k", 3, 60)
    assert one.names() == two.names() == ["k"]

    one.clear_sliding_window("k", 60)  # the other host's spare count does not know of it, and does not matter
    assert [two.acquire_with_spare("k", 3, 60) for _ in range(4)] == [True, True, True, False]
    redis_server.stop()
    assert not two.acquire_with_spare("k", 3, 60)
    assert two.reset() == 1
    assert two.acquire_with_spare("k", 3, 60)
