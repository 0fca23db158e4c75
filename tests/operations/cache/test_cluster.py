# ruff: noqa: F401, F811  (fixtures come by import)
from __future__ import annotations

import time

import pytest

from codyverse.operations.cache.cluster import GENERATIONS, USED
from codyverse.operations.cache.entries import Entry
from tests.operations.cache.made import Source, make
from tests.redis import Redis, redis_server
from tests.server import wait_until

GONE = pytest.mark.parametrize("gone", [Redis.stop, Redis.freeze], ids=["stopped", "frozen"])


def trusts(cache) -> bool:
    cache._parts.listener.start()
    return cache._generations.trusted()


@pytest.fixture
def hosts(tmp_path, redis_server):
    """Two hosts that hear each other."""
    made = [make(tmp_path / name, redis_url=redis_server.url) for name in ("one", "two")]
    for cache, _ in made:
        wait_until(lambda cache=cache: trusts(cache))
    yield made
    for cache, _ in made:
        cache.close()


@pytest.fixture
def one(hosts):
    return hosts[0][0]


@pytest.fixture
def two(hosts):
    return hosts[1][0]


def test_it_works(hosts, redis_server):
    (one, _), (two, counts) = hosts
    source = Source({"a": 1})
    assert one.cached("k", source, ["t"]) == two.cached("k", source, ["t"]) == {"a": 1}
    assert source.loads == 1
    assert counts["cache:hit:l3"] == 1
    assert two.sizes()["l3"] == (1, 7)

    source.value = {"a": 2}
    one.invalidate("t")
    assert one.cached("k", source, ["t"]) == {"a": 2}
    wait_until(lambda: two.cached("k", source, ["t"]) == {"a": 2}, within_s=1)
    assert source.loads <= 3


def test_nothing_is_kept_while_another_host_is_about_to_change_it(one, two):
    source = Source(1)
    one._parts.changes.begin(["t"])
    wait_until(lambda: not two._generations.unchanged(two._generations.as_of(), two._generations.slots(["t"])))
    assert two.cached("k", source, ["t"]) == 1
    source.value = 2
    one._parts.changes.end(["t"])
    wait_until(lambda: two.cached("k", source, ["t"]) == 2, within_s=1)
    assert one.cached("k", source, ["t"]) == 2


def test_what_one_host_sets_the_other_gets(one, two):
    one.set("k", b"1")
    wait_until(lambda: getattr(two.get("k"), "body", None) == b"1")
    two.set("k", b"2")
    wait_until(lambda: getattr(one.get("k"), "body", None) == b"2")
    one.delete("k")
    wait_until(lambda: two.get("k") is None)


def test_redis_holds_no_more_than_it_is_to(tmp_path, redis_server):
    cache, counts = make(tmp_path / "one", redis_url=redis_server.url, cache_cluster_entries=5)
    wait_until(lambda: trusts(cache))
    for number in range(20):
        cache.cached(f"k{number}", Source(number), ["t"])
    cache.close()
    assert redis_server.client.zcard(USED) == 5
    assert len(redis_server.client.keys("*:entry:*")) == 5
    assert counts["cache:evicted:l3"] == 15


@GONE
def test_without_redis_nothing_outdated_is_used_and_nothing_fails(one, two, redis_server, gone):
    source = Source(1)
    one.cached("k", source, ["t"])
    two.cached("k", source, ["t"])
    gone(redis_server)
    source.value = 2
    one.invalidate("t")
    assert one.cached("k", source, ["t"]) == 2
    wait_until(lambda: two.cached("k", source, ["t"]) == 2, within_s=2)
    source.value = 3  # by a third host, which nobody hears of
    assert one.cached("k", source, ["t"]) == two.cached("k", source, ["t"]) == 3


def test_one_waits_for_a_frozen_redis_and_not_the_others(one, redis_server):
    redis_server.freeze()
    waited = []
    for number in range(50):
        began = time.monotonic()
        one.cached(f"k{number}", Source(1), ["t"])
        one.invalidate("t")
        waited.append(time.monotonic() - began > 0.15)
    redis_server.thaw()
    # One or two: a change that waits may be what finds out, or a look.
    assert 1 <= sum(waited) <= 3


@GONE
def test_when_redis_is_back_nothing_of_before_is_used(one, two, redis_server, gone):
    source = Source(1)
    one.cached("k", source, ["t"])
    two.cached("k", source, ["t"])
    gone(redis_server)
    source.value = 2
    one.invalidate("t")  # which Redis is not told
    if gone is Redis.freeze:
        redis_server.thaw()
    else:
        redis_server.start()
    wait_until(lambda: trusts(one) and trusts(two) and one._parts.changes.settled())
    wait_until(lambda: two.cached("k", source, ["t"]) == 2, within_s=2)
    assert one.cached("k", source, ["t"]) == 2
    third_loads = source.loads
    assert one.cached("k", source, ["t"]) == 2
    assert source.loads == third_loads, "it is kept again"


def test_a_writer_that_died_before_it_told_the_end(one, redis_server):
    """What Redis holds becomes no truer by that: nothing is used until it lapses, and then nothing of before."""
    source = Source(1)
    one.cached("k", source, ["t"])
    one._cluster.begin(["t"])
    assert not one._cluster.look("k").fresh
    for name in redis_server.client.hkeys(GENERATIONS):
        if name.startswith(b"until:"):
            redis_server.client.hset(GENERATIONS, name, 1)  # long ago
    assert not one._cluster.look("k").fresh


def test_a_redis_that_lost_everything_begins_above_all_earlier_numbers(one, redis_server):
    before = one._cluster.look("k").as_of
    redis_server.client.flushall()
    after = one._cluster.look("k").as_of
    assert after > before
    one._cluster.keep(Entry("k", b"1", 0, (), time.time(), time.time() + 60), before)
    assert one._cluster.look("k").entry is None, "loaded before the loss"


def test_another_process_listens_when_the_first_ends(tmp_path, redis_server):
    first, _ = make(tmp_path / "one", redis_url=redis_server.url)
    wait_until(lambda: trusts(first))
    second, _ = make(tmp_path / "one", redis_url=redis_server.url)
    source = Source(1)
    first.cached("k", source, ["t"])
    second._parts.listener.start()
    first.close()
    wait_until(lambda: not second._generations.trusted() or second.cached("k", source, ["t"]) == 1)
    wait_until(second._generations.trusted)
    assert second.cached("k", source, ["t"]) == 1
    assert source.loads == 1, "nothing was told in the meantime"
    second.close()
