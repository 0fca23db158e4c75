"""Entries that a process takes several at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import limits
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codyverse.operations.limits import leases as leasing
from codyverse.operations.limits.leases import LIFETIME_S, SHARE_OF_REMAINING, TICK_S, Charge, Exceeded, Leases
from codyverse.operations.limits.storage import HostStorage, Window
from codyverse.operations.limits.tiers import Tier, Tiers
from tests.server import wait_until

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


@pytest.fixture(autouse=True)
def only_when_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the thread behind the requests, which ticks by real time, from giving back while a test looks at what is counted."""
    monkeypatch.setattr(leasing, "TICK_S", 3600.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def storage(tmp_path: Path, clock: Clock) -> Counted:
    return Counted(f"host://{tmp_path}/limits.sqlite3", clock=clock)


def leases_of(storage: HostStorage, clock: Clock, is_far: bool = False) -> Leases:
    tier = Tier("the host", storage)
    tier.is_far = is_far
    return Leases(Tiers(tiers=[tier]), clock)


def charge(policy: str, text: str) -> Charge:
    return Charge(policy, limits.parse(text), f"LIMITER/{policy}/{text}")


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
    assert [leases.spend(Charge("client", item, KEY)).remaining for _ in range(1000)] == list(range(999, -1, -1))
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


def test_what_is_not_at_hand_is_asked_for_at_once_and_in_order(storage, clock):
    leases = leases_of(storage, clock)
    address, client, endpoint = charge("address", "9 per hour"), charge("client", "2 per hour"), charge("endpoint", "5 per hour")
    assert [leases.spend(address, client, endpoint)[::3] for _ in range(2)] == [("client", 1), ("client", 0)]
    with pytest.raises(Exceeded) as refused:
        leases.spend(address, client, endpoint)
    assert refused.value.standing.policy == "client"
    assert storage.get_sliding_window(address.key, 3600)[2] == 3
    assert storage.get_sliding_window(endpoint.key, 3600)[2] == 2, "not counted against what comes after"
    leases.close()


def test_what_is_at_hand_is_spent_although_something_before_it_is_not(storage, clock):
    leases = leases_of(storage, clock)
    client, endpoint = charge("client", "1000 per hour"), charge("endpoint", "900 per hour")
    for _ in range(4):
        leases.spend(client)
    asked = storage.asked
    assert leases.spend(endpoint, client)[::3] == ("endpoint", 899)
    assert storage.asked == asked + 1
    assert leases.spend(client)[::3] == ("client", 994)
    leases.close()


def test_who_must_not_wait_spends_all_or_nothing(storage, clock):
    leases = leases_of(storage, clock)
    client, endpoint = charge("client", "1000 per hour"), charge("endpoint", "900 per hour")
    assert leases.spend_at_hand(client, endpoint) is None
    for _ in range(4):
        leases.spend(client)
    asked = storage.asked
    assert leases.spend_at_hand(client, endpoint) is None
    assert (leases.spend_at_hand(client) or ())[::3] == ("client", 995), "nothing was counted before"
    for _ in range(4):
        leases.spend(endpoint)
    assert (leases.spend_at_hand(client, endpoint) or ())[::3] == ("endpoint", 895)
    assert (leases.spend_at_hand(client) or ())[::3] == ("client", 993)
    assert storage.asked == asked + 3  # 1, 2 and 4 for the endpoint
    leases.close()


def test_what_is_nearly_spent_is_filled_behind_the_requests(storage, clock):
    leases = leases_of(storage, clock, is_far=True)
    client = charge("client", "900000 per hour")
    while leases.spend(client) and leases._leases[client.key].size < 8:
        pass
    for _ in range(300):
        wait_until(lambda: leases.spend_at_hand(client) is not None)
    assert leases._leases[client.key].size > 8, "more and more at a time"
    leases.close()
    assert storage.get_sliding_window(client.key, 3600)[2] == 300 + 8


def test_what_is_about_to_end_is_filled_while_the_client_goes_on_asking(storage, clock, monkeypatch):
    monkeypatch.setattr(leasing, "TICK_S", TICK_S)
    leases = leases_of(storage, clock, is_far=True)
    client = charge("client", "900000 per hour")
    for _ in range(5):
        leases.spend(client)
    clock.now += LIFETIME_S - TICK_S
    first = leases._leases[client.key]
    wait_until(lambda: leases._leases[client.key] is not first)
    clock.now += TICK_S
    assert leases.spend_at_hand(client) is not None
    clock.now += LIFETIME_S
    wait_until(lambda: storage.get_sliding_window(client.key, 3600)[2] == 6)  # the rest is given back
    leases.close()


def test_entries_go_back_to_the_counter_that_gave_them(storage, clock):
    other = HostStorage("host://", clock=clock)
    leases = Leases(Tiers(tiers=[Tier("the host", storage), Tier("the process", other)]), clock)
    other.acquire_window(KEY, 1000, 900, 5)
    assert admitted(leases, "1000 per 15 minutes", 5) == 5
    leases.close()
    assert storage.get_sliding_window(KEY, 900)[2] == 5
    assert other.get_sliding_window(KEY, 900)[2] == 5
    other.clear(KEY)


def test_entries_of_a_counter_that_failed_meanwhile_go_back_to_it(storage, clock, monkeypatch):
    other = HostStorage("host://", clock=clock)
    leases = Leases(Tiers(tiers=[Tier("the host", storage), Tier("the process", other)]), clock)
    assert admitted(leases, "1000 per 15 minutes", 5) == 5  # of seven that were taken
    clock.now += LIFETIME_S
    with monkeypatch.context() as failing:
        failing.setattr(storage, "acquire_windows", lambda *arguments: (_ for _ in ()).throw(OSError))
        assert admitted(leases, "1000 per 15 minutes", 1) == 1
    assert other.get_sliding_window(KEY, 900)[2] == 1
    leases._tiers.tiers[0]._pause_until = 0.0  # it is asked again
    leases.close()
    assert storage.get_sliding_window(KEY, 900)[2] == 5
    assert other.get_sliding_window(KEY, 900)[2] == 1
    other.clear(KEY)


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


def test_a_standing_is_told_in_two_ways(storage, clock):
    leases = leases_of(storage, clock)
    told = leases.spend(charge("client", "1000 per hour"))
    assert told.lines() == "".join(f"{name}: {value}\r\n" for name, value in told.fields())
    assert ("X-RateLimit-Remaining", "999") in told.fields()
    leases.close()
