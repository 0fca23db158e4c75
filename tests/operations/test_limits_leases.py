"""Entries that a process takes several at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import limits
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codyverse.operations.limits.leases import LIFETIME_S, SHARE_OF_REMAINING, Charge, Exceeded, Leases
from codyverse.operations.limits.storage import HostStorage, Window
from codyverse.operations.limits.tiers import Tier, Tiers

KEY = "LIMITER/client/account:1/client/1000/15/minute"


class Clock:
    def __init__(self) -> None:
        self.now = 1_795_521_600.0

    def __call__(self) -> float:
        return self.now


class Counted(HostStorage):
    """A storage that counts how often it is asked for entries."""

    asked = 0

    def acquire_window(self, *arguments: Any) -> Window | None:
        self.asked += 1
        return super().acquire_window(*arguments)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def storage(tmp_path: Path, clock: Clock) -> Counted:
    return Counted(f"host://{tmp_path}/limits.sqlite3", clock=clock)


def leases_of(storage: HostStorage, clock: Clock) -> Leases:
    return Leases(Tiers(tiers=[Tier("the host", storage)]), clock)


def admitted(leases: Leases, text: str, requests: int) -> int:
    item = limits.parse(text)
    told = 0
    for _ in range(requests):
        try:
            leases.spend(Charge("client", item, KEY))
        except Exceeded:
            continue
        told += 1
    return told


def test_it_works(storage, clock):
    leases = leases_of(storage, clock)
    item = limits.parse("1000 per 15 minutes")
    assert [leases.spend(Charge("client", item, KEY))[0].remaining for _ in range(1000)] == list(range(999, -1, -1))
    with pytest.raises(Exceeded) as refused:
        leases.spend(Charge("client", item, KEY))
    assert refused.value.standing.remaining == 0
    assert storage.asked < 300, "a client who asks often is counted without asking every time"
    assert storage.get_sliding_window(KEY, 900)[2] == 1000
    leases.close()


def test_a_client_who_asks_seldom_holds_nothing(storage, clock):
    leases = leases_of(storage, clock)
    item = limits.parse("1000 per 15 minutes")
    for n in range(1, 20):
        leases.spend(Charge("client", item, KEY))
        clock.now += LIFETIME_S
        assert storage.get_sliding_window(KEY, 900)[2] == n
    leases.close()


def test_what_is_not_spent_is_given_back(storage, clock):
    leases = leases_of(storage, clock)
    assert admitted(leases, "1000 per 15 minutes", 40) == 40
    assert storage.get_sliding_window(KEY, 900)[2] > 40
    clock.now += LIFETIME_S
    leases.give_back(all_of_them=False)
    assert storage.get_sliding_window(KEY, 900)[2] == 40
    leases.close()


def test_small_limits_are_counted_one_by_one(storage, clock):
    leases = leases_of(storage, clock)
    assert admitted(leases, f"{SHARE_OF_REMAINING} per minute", 100) == SHARE_OF_REMAINING
    assert storage.asked >= 100
    leases.close()


def test_what_another_process_holds_is_less_the_less_is_left(storage, clock, tmp_path):
    one = leases_of(storage, clock)
    other = leases_of(HostStorage(f"host://{tmp_path}/limits.sqlite3", clock=clock), clock)
    first = admitted(other, "1000 per 15 minutes", 40)
    assert 1000 - 1000 // SHARE_OF_REMAINING - 40 <= admitted(one, "1000 per 15 minutes", 2000) <= 1000 - first
    other.give_back()
    assert first + storage.get_sliding_window(KEY, 900)[2] - 40 <= 1000
    one.close()
    other.close()


def test_threads_are_never_given_more_than_there_is(storage, clock):
    leases = leases_of(storage, clock)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: admitted(leases, "500 per 15 minutes", 150), range(8))) == 500
    leases.close()


@given(st.data())
def test_processes_together_never_exceed_the_limit(data):
    clock = Clock()
    storage = HostStorage("host://", clock=clock)
    processes = [leases_of(storage, clock) for _ in range(3)]
    limit = data.draw(st.integers(1, 300))
    told = 0
    for _ in range(data.draw(st.integers(1, 30))):
        told += admitted(data.draw(st.sampled_from(processes)), f"{limit} per 1 minute", data.draw(st.integers(1, 60)))
        if data.draw(st.booleans()):
            clock.now += data.draw(st.floats(0, 1.5))
            data.draw(st.sampled_from(processes)).give_back(all_of_them=False)
        assert clock.now < 1_795_521_660, "within one window"
        assert told <= limit
    for process in processes:
        process.close()
    assert storage.get_sliding_window(KEY, 60)[2] == told
