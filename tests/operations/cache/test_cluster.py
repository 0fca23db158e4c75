# ruff: noqa: F401, F811  (fixtures come by import)
from __future__ import annotations

import time
from contextlib import closing

import pytest

from codyverse.errors import NotFound
from codyverse.operations.cache.cluster import Names
from codyverse.operations.cache.entries import Entry
from codyverse.operations.cache.tiered import versioned
from tests.operations.cache.made import Source, make
from tests.redis import Redis, redis_server
from tests.server import wait_until

NAMES = Names("codyverse")
K = versioned("k")
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
    assert redis_server.client.zcard(NAMES.used) == 5
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
    wait_until(lambda: not trusts(one) and not trusts(two), within_s=2)
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
    assert not one._cluster.look(K).fresh
    for name in redis_server.client.hkeys(NAMES.generations):
        if name.startswith(b"until:"):
            redis_server.client.hset(NAMES.generations, name, 1)  # long ago
    assert not one._cluster.look(K).fresh


def test_a_redis_that_lost_everything_begins_above_all_earlier_numbers(one, redis_server):
    before = one._cluster.look(K).as_of
    redis_server.client.flushall()
    after = one._cluster.look(K).as_of
    assert after > before
    one._cluster.keep(Entry(K, b"1", 0, (), time.time(), time.time() + 60), before)
    assert one._cluster.look(K).entry is None, "loaded before the loss"


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


def test_a_redis_that_is_back_from_a_snapshot(one, two, redis_server):
    """It forgot what it was told since, and still has what is outdated."""
    source = Source("old")
    assert one.cached("k", source, ["t"]) == "old"
    before = one._cluster.look(K)
    assert before.fresh
    redis_server.client.save()
    source.value = "new"
    for _ in range(20):
        one.invalidate("t")
    after = one._cluster.look(K)
    redis_server.stop()
    wait_until(lambda: not trusts(one) and not trusts(two), within_s=1)
    redis_server.start()
    assert redis_server.client.exists(NAMES.entry(K)), "the snapshot holds it"
    wait_until(lambda: trusts(one) and trusts(two) and one._parts.changes.settled() and two._parts.changes.settled())
    assert not two._cluster.look(K).fresh
    assert two.cached("k", source, ["t"]) == one.cached("k", source, ["t"]) == "new"
    one._cluster.keep(before.entry, after.as_of)
    assert two._cluster.look(K).entry.body == b'"new"', "a number from before counts for nothing"


def test_who_listens_anew_never_finds_the_number_that_it_knows_told_a_second_time(one, two, redis_server):
    before = int(redis_server.client.hget(NAMES.generations, "told"))
    redis_server.client.save()
    one.invalidate("t")
    one.invalidate("t")
    redis_server.stop()
    redis_server.start()
    wait_until(lambda: trusts(one) and trusts(two))
    told = int(redis_server.client.hget(NAMES.generations, "told"))
    assert told > before + 100, "counted from the clock, and not from where the snapshot ended"
    wait_until(lambda: one._generations.message == two._generations.message >= told)


@pytest.mark.parametrize(
    "message",
    [
        b"hello",
        b"\xff",
        b"7 [1]",
        b'7 {"from": 1}',
        b'x {"from": 1, "what": "all", "tags": []}',
        b'7 {"from": 1, "what": "end", "tags": 5}',
        b'7 {"from": 1, "what": "end", "tags": [5]}',
        b'18446744073709551616 {"from": 1, "what": "end", "tags": ["t"]}',
    ],
)
def test_a_message_that_is_not_understood_may_stand_for_a_change_and_is_survived(one, two, redis_server, message):
    wait_until(lambda: trusts(one) and trusts(two))
    as_of, slots = two._generations.as_of(), two._generations.slots(["another"])
    redis_server.client.publish(NAMES.channel, message)
    wait_until(lambda: not two._generations.unchanged(as_of, slots), within_s=2)
    source = Source(1)
    wait_until(lambda: two.cached("k", source, ["t"]) == 1 and two._generations.trusted())
    source.value = 2
    one.invalidate("t")
    wait_until(lambda: two.cached("k", source, ["t"]) == 2, within_s=1)
    assert two._parts.listener._thread.is_alive()


@pytest.mark.parametrize("field", ["body", "as_of", "slots", "loaded_at", "expires_at"])
def test_a_hash_that_is_not_whole_is_a_miss(one, two, redis_server, field):
    one.cached("k", Source(1), ["t"])
    assert redis_server.client.hdel(NAMES.entry(K), field)
    looked = two._cluster.look(K)
    assert looked.as_of
    assert looked.entry is None
    assert two.cached("k", Source(2), ["t"]) == 2


@pytest.mark.parametrize("field", ["as_of", "slots", "loaded_at", "expires_at"])
def test_a_hash_that_somebody_else_wrote_is_a_miss(one, two, redis_server, field):
    one.cached("k", Source(1), ["t"])
    redis_server.client.hset(NAMES.entry(K), field, "x")
    assert two._cluster.look(K).entry is None
    assert two.cached("k", Source(2), ["t"]) == 2


def test_another_database_on_the_same_redis_shares_nothing(one, redis_server, tmp_path):
    other, _ = make(tmp_path / "staging", redis_url=redis_server.url, database_url="postgresql://localhost/staging")
    with closing(other):
        wait_until(lambda: trusts(other))
        assert one.cached("k", Source("production"), ["t"]) == "production"
        assert other.cached("k", Source("staging"), ["t"]) == "staging"
        as_of, slots = one._generations.as_of(), one._generations.slots(["t"])
        other.invalidate("t")
        one.invalidate("another")  # what was told before it would have been heard
        assert one._generations.unchanged(as_of, slots)
        other.clear()
        assert one.sizes()["l3"].entries == 1


def test_nothing_is_added_while_nobody_knows_what_others_have(one, redis_server):
    redis_server.stop()
    wait_until(lambda: not trusts(one))
    assert not one.add("lock", b"1", 60)
    redis_server.start()
    wait_until(lambda: trusts(one))
    assert [one.add("lock", b"1", 60) for _ in range(2)] == [True, False]


def test_what_is_not_there_any_more_is_dropped_from_redis(one, two):
    one.cached("k", Source(1), ["t"])
    one.invalidate("t")

    def gone():
        raise NotFound("gone")

    with pytest.raises(NotFound):
        one.cached("k", gone, ["t"])
    assert one._cluster.look(K).entry is None
    assert one.sizes()["l3"].entries == 0
