from __future__ import annotations

import os
from collections import Counter

import pytest

from codyverse.operations.cache.entries import Entry, Size
from codyverse.operations.cache.host import HostTier


@pytest.fixture
def tier(tmp_path):
    tier = HostTier(tmp_path / "cache.sqlite3", 3, 60, lambda name, amount=1: None, clock=lambda: 0.0)
    yield tier
    tier.close()


def entry(key: str, body: bytes = b"1", as_of: int = 1) -> Entry:
    return Entry(key, body, as_of, (5, 8), 0.0, 60.0)


def kept(tier) -> set[str]:
    return {key for key in "abcdefgh" if tier.get(key, count_use=False) is not None}


def test_it_works(tier):
    assert tier.get("a") is None
    tier.put(entry("a", b"four"))
    assert tier.get("a") == entry("a", b"four")
    tier.put(entry("a", b"sixsix"))
    assert tier.size() == Size(1, 6)
    tier.clear()
    assert tier.get("a") is None
    assert tier.size() == Size(0, 0)


def test_what_is_used_least_goes_first_and_yesterday_s_favourites_go_in_time(tmp_path):
    counts: Counter[str] = Counter()
    tier = HostTier(tmp_path / "c", 3, 60, lambda name, amount=1: counts.update({name: amount}), clock=lambda: 0.0)
    for key in "abc":
        tier.put(entry(key))
    for _ in range(5):
        tier.get("a")
    tier.get("b")
    tier.put(entry("d"))
    assert kept(tier) == {"a", "b", "d"}
    for number in range(10):  # others are read now, and nobody reads "a" any more
        tier.put(entry("efgh"[number % 4]))
        tier.get("efgh"[number % 4])
    assert "a" not in kept(tier)
    assert len(kept(tier)) == 3
    assert counts["cache:evicted:l2"] >= 4
    tier.close()


def test_what_is_newer_stays(tier):
    tier.put(entry("a", b"new", as_of=7))
    tier.put(entry("a", b"old", as_of=6))
    assert tier.get("a") == entry("a", b"new", as_of=7)


def test_a_child_opens_it_for_itself(tier):
    tier.put(entry("a"))
    pid = os.fork()
    if pid == 0:
        found = tier.get("a")
        tier.put(entry("b"))
        os._exit(0 if found else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert kept(tier) == {"a", "b"}


def test_a_file_that_cannot_be_used_finds_nothing_and_fails_nothing(tmp_path):
    counts: Counter[str] = Counter()
    (tmp_path / "c").mkdir()
    tier = HostTier(tmp_path / "c", 3, 60, lambda name, amount=1: counts.update({name: amount}))
    tier.put(entry("a"))
    assert tier.get("a") is None
    assert tier.size() == Size(0, 0)
    assert counts["cache:failed:l2"] == 3
