from __future__ import annotations

import multiprocessing
import os
import sqlite3
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from limits import RateLimitItemPerSecond

from codyverse.operations.limits import storage
from codyverse.operations.limits.headers import standing
from codyverse.operations.limits.storage import HostStorage
from tests.operations.hammering import hammer

EXPIRY_S = 60


class Model:
    """The sliding window counter as one would explain it: every entry is kept, windows follow each other from the first one."""

    def __init__(self) -> None:
        self.entries: list[int] = []
        self.began = 0

    def windows(self, now_ms: int) -> tuple[int, int, int]:
        """Return entries of the window before and of the present one, and the milliseconds that are left of it."""
        length = EXPIRY_S * 1000
        if not self.entries or now_ms - self.last_window(length) >= 2 * length:
            return 0, 0, length
        began = self.began + (now_ms - self.began) // length * length
        previous = sum(began - length <= entry < began for entry in self.entries)
        current = sum(began <= entry for entry in self.entries)
        return previous, current, began + length - now_ms

    def last_window(self, length: int) -> int:
        return self.began + (self.entries[-1] - self.began) // length * length

    def acquire(self, now_ms: int, limit: int, amount: int) -> bool:
        previous, current, left = self.windows(now_ms)
        weighted = Fraction(previous * left, EXPIRY_S * 1000)
        if weighted // 1 + current + amount > limit:
            return False
        if not previous and not current and (not self.entries or now_ms - self.last_window(60_000) >= 120_000):
            self.entries, self.began = [], now_ms
        self.entries += [now_ms] * amount
        return True


class AgainstTheModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 1_795_000_000_000
        self.host = HostStorage("host://", clock=lambda: self.now_ms / 1000)
        self.model = Model()

    @initialize(limit=st.integers(1, 8))
    def choose(self, limit: int) -> None:
        self.limit = limit

    @rule(amount=st.integers(1, 3))
    def acquire(self, amount: int) -> None:
        allowed = self.model.acquire(self.now_ms, self.limit, amount)
        assert self.host.acquire_sliding_window_entry("k", self.limit, EXPIRY_S, amount) == allowed

    @rule(by_ms=st.one_of(st.integers(0, 250_000), st.sampled_from([1, 59_999, 60_000, 60_001, 119_999, 120_000])))
    def time_passes(self, by_ms: int) -> None:
        self.now_ms += by_ms

    @rule()
    def somebody_else_is_counted(self) -> None:
        self.host.acquire_sliding_window_entry("other", 1000, EXPIRY_S)

    @rule()
    def clear(self) -> None:
        self.host.clear_sliding_window("k", EXPIRY_S)
        self.model = Model()

    @invariant()
    def both_see_the_same_windows(self) -> None:
        previous, previous_s, current, current_s = self.host.get_sliding_window("k", EXPIRY_S)
        expected_previous, expected_current, left_ms = self.model.windows(self.now_ms)
        assert (previous, current) == (expected_previous, expected_current)
        if previous:
            assert previous_s * 1000 == pytest.approx(left_ms)
        if current:
            assert (current_s - EXPIRY_S) * 1000 == pytest.approx(left_ms)

    @invariant()
    def who_waits_as_long_as_told_is_let_through_and_not_before(self) -> None:
        item = RateLimitItemPerSecond(self.limit, EXPIRY_S)
        told = standing("client", item, self.host.get_sliding_window("k", EXPIRY_S))
        if told.remaining == 0:
            assert self._weighted_after(told.wait_s) < self.limit
            if told.wait_s > 1:
                assert self._weighted_after(told.wait_s - 1) >= self.limit

    def _weighted_after(self, by_s: int) -> int:
        previous, current, left_ms = self.model.windows(self.now_ms + by_s * 1000)
        return Fraction(previous * left_ms, EXPIRY_S * 1000) // 1 + current


TestAgainstTheModel = AgainstTheModel.TestCase


def test_four_processes_get_exactly_what_the_limit_says(tmp_path: Path) -> None:
    uri = f"host://{tmp_path / 'limits.sqlite3'}"
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        allowed = pool.starmap(hammer, [(uri, 500, 100)] * 4)

    assert sum(allowed) == 500
    assert HostStorage(uri).get_sliding_window("k", 3600)[2] == 500


def test_what_is_released_can_be_had_again(tmp_path: Path) -> None:
    now = 1_795_000_000.0
    host = HostStorage("host://", clock=lambda: now)
    assert [host.acquire_sliding_window_entry("k", 2, 60) for _ in range(3)] == [True, True, False]
    host.release("k")
    assert [host.acquire_sliding_window_entry("k", 2, 60) for _ in range(2)] == [True, False]
    now += 60
    host.release("k")  # the entry lies in the window before by now
    assert host.get_sliding_window("k", 60)[0] == 1
    for _ in range(5):
        host.release("k")
    assert host.get_sliding_window("k", 60)[:3] == (0, 0.0, 0)


def test_a_clock_that_is_put_back_lets_nobody_through_again() -> None:
    now = 1_795_000_000.0
    host = HostStorage("host://", clock=lambda: now)
    assert host.acquire_sliding_window_entry("k", 1, 60)
    now -= 3600
    assert not host.acquire_sliding_window_entry("k", 1, 60)


def test_ended_counters_are_swept(tmp_path: Path) -> None:
    now = 1_795_000_000.0
    host = HostStorage(f"host://{tmp_path}/limits.sqlite3", clock=lambda: now)
    for i in range(100):
        host.acquire_sliding_window_entry(f"old{i}", 1, 60)
    now += 120
    for i in range(60):
        host.acquire_sliding_window_entry(f"new{i}", 1, 60)

    with sqlite3.connect(tmp_path / "limits.sqlite3") as connection:
        [names] = zip(*connection.execute("SELECT name FROM counters"), strict=True)
    connection.close()
    assert sorted(names) == sorted(f"new{i}" for i in range(60))


def test_a_full_file_makes_room_and_keeps_the_long_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "LARGEST_PAGES", 60)
    host = HostStorage(f"host://{tmp_path}/limits.sqlite3")
    assert host.acquire_sliding_window_entry("sign-in", 1, 900)
    for i in range(10_000):
        assert host.acquire_sliding_window_entry(f"somebody from somewhere, number {i}", 1, 60)

    assert not host.acquire_sliding_window_entry("sign-in", 1, 900)
    assert (tmp_path / "limits.sqlite3").stat().st_size <= 60 * 4096


def test_counters_outlive_the_process(tmp_path: Path) -> None:
    uri = f"host://{tmp_path}/limits.sqlite3"
    assert HostStorage(uri).acquire_sliding_window_entry("k", 1, 900)
    assert not HostStorage(uri).acquire_sliding_window_entry("k", 1, 900)


def test_a_child_that_was_forked_counts_with_its_parent(tmp_path: Path) -> None:
    host = HostStorage(f"host://{tmp_path}/limits.sqlite3")
    assert host.acquire_sliding_window_entry("k", 2, 900)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if host.acquire_sliding_window_entry("k", 2, 900) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert not host.acquire_sliding_window_entry("k", 2, 900)
