from __future__ import annotations

import os
import sqlite3
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


def spoil(path, first: int) -> None:
    """Overwrite a file of SQLite from a byte on, in place, as a bad disk does."""
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file.close()
    size = max(path.stat().st_size, 8192)
    with path.open("r+b") as raw:
        raw.seek(first)
        raw.write(b"x" * (size - first))


# No header: "file is not a database". The header and the names of the tables alone: "malformed".
BROKEN = pytest.mark.parametrize("first", [0, 4096], ids=["no database", "malformed"])


@BROKEN
@pytest.mark.parametrize("opened", [False, True], ids=["not yet opened", "opened"])
def test_a_file_that_is_broken_is_made_anew_once(tmp_path, caplog, first, opened):
    counts: Counter[str] = Counter()
    path = tmp_path / "c"

    def tier():
        return HostTier(path, 3, 60, lambda name, amount=1: counts.update({name: amount}))

    old, other = tier(), tier()
    old.put(entry("a"))
    other.get("a")
    if not opened:
        old.close()
        other.close()
    spoil(path, first)
    for used in (old, other):
        used.put(entry("b"))
    new = tier()
    assert [used.get("b") for used in (old, other, new)] == [entry("b")] * 3
    assert [used.size() for used in (old, other, new)] == [Size(1, 1)] * 3
    assert counts["cache:failed:l2"] == 0
    assert caplog.text.count("is made anew") == 1
    for used in (old, other, new):
        used.close()


def test_forgetting_one(tier):
    tier.put(entry("a", b"four"))
    tier.put(entry("b"))
    tier.forget("a")
    assert kept(tier) == {"b"}
    assert tier.size() == Size(1, 1)
