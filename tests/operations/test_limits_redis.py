# ruff: noqa: F401, F811  (fixtures come by import)
from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from codyverse.operations.limits import tiers
from codyverse.operations.limits.shared import MOST, REDIS_PREFIX, SharedStorage
from codyverse.operations.limits.storage import Ask
from codyverse.operations.limits.tiers import FIRST_PAUSE_S, LONGEST_PAUSE_S, Tier, TierDown
from tests.conftest import make_settings
from tests.one_engine import cheapest
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


@pytest.mark.parametrize("left_s", [None, 119.5, 60.5, 59.5, 30.0, 0.5])
@pytest.mark.parametrize(("before", "entries"), [(0, 1), (4, 1), (4, 3), (4, 6), (10, 1), (10, 5)])
def test_several_counters_in_one_step_count_as_the_library_counts_one(redis_server: Redis, left_s, before, entries) -> None:
    """With so many seconds left until the counter is forgotten: more than 60 of them are in its window, fewer after it."""
    shared = SharedStorage(redis_server.url)
    for key in ("ours", "theirs"):
        if before:
            assert shared.acquire_sliding_window_entry(key, 10, 60, before)
        if before and left_s:
            redis_server.client.pexpire(shared.prefixed_key(shared._current_window_key(key)), int(left_s * 1000))
    [given] = shared.acquire_windows([Ask("ours", 10, 60, entries)], in_order=True)
    expected = entries if shared.acquire_sliding_window_entry("theirs", 10, 60, entries) else 0
    if not expected:
        expected = int(shared.acquire_sliding_window_entry("theirs", 10, 60, 1))
    assert given.entries == expected
    assert given.window == pytest.approx(shared.get_sliding_window("theirs", 60), abs=0.2)
    assert given.window == pytest.approx(shared.get_sliding_window("ours", 60), abs=0.2)
    shared.storage.close()


def test_counters_of_one_step(redis_server: Redis) -> None:
    shared = SharedStorage(redis_server.url)
    asks = [Ask("a", 10, 60, 7), Ask("b", 3, 60, 7), Ask("c", 10, 60, 7), Ask("d", 10, 60, 7)]
    assert shared.acquire_sliding_window_entry("c", 10, 60, 10)
    assert [given.entries for given in shared.acquire_windows(asks, in_order=True)] == [7, 1, 0]
    assert [given.entries for given in shared.acquire_windows(asks, in_order=False)] == [1, 1, 0, 7]
    shared.release_all([("a", 5), ("c", 100), ("gone", 1)])
    assert [shared.get_sliding_window(name, 60)[2] for name in "abcd"] == [3, 2, 0, 7]
    assert redis_server.client.exists(shared.prefixed_key("{gone}")) == 0
    many = [Ask(f"many {n}", 10, 60, 2) for n in range(2 * MOST + 1)]
    assert [given.entries for given in shared.acquire_windows(many, in_order=False)] == [2] * len(many)
    shared.release_all([(ask.key, 1) for ask in many])
    assert all(shared.get_sliding_window(ask.key, 60)[2] == 1 for ask in many)
    shared.storage.close()
