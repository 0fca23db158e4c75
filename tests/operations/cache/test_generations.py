"""What is outdated, whoever changed it."""

from __future__ import annotations

import os
import signal

import pytest

from codyverse.operations.cache.generations import LAPSES_S, Generations


class Clock:
    def __init__(self) -> None:
        self.ns = 10**12

    def __call__(self) -> int:
        return self.ns

    def advance(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def generations(tmp_path, clock):
    generations = Generations(tmp_path / "generations", monotonic_ns=clock)
    yield generations
    generations.close()


def test_it_works(generations):
    as_of, slots = generations.as_of(), generations.slots(["course:a", "catalogue"])
    assert generations.fresh(as_of, slots)
    generations.begin(["course:a"])
    assert not generations.fresh(as_of, slots)
    assert not generations.fresh(generations.as_of(), slots), "loaded before the commit"
    during = generations.as_of()
    generations.end(["course:a"])
    assert not generations.fresh(as_of, slots)
    assert not generations.fresh(during, slots)
    assert generations.fresh(generations.as_of(), slots)
    assert generations.fresh(as_of, generations.slots(["course:b"]))


def test_a_writer_that_was_killed_before_it_told_the_end(generations, tmp_path, clock):
    before, slots = generations.as_of(), generations.slots(["t"])
    pid = os.fork()
    if pid == 0:
        generations.begin(["t"])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not generations.fresh(generations.as_of(), slots)
    clock.advance(LAPSES_S + 1)
    kept = generations.as_of()
    assert not generations.fresh(kept, slots), "what was loaded before it lapsed may be older than the commit"
    assert not generations.fresh(before, slots)
    assert generations.fresh(generations.as_of(), slots)


def test_two_writers_of_one_tag(generations):
    slots = generations.slots(["t"])
    generations.begin(["t"])
    generations.begin(["t"])
    generations.end(["t"])
    assert not generations.fresh(generations.as_of(), slots)
    generations.end(["t"])
    assert generations.fresh(generations.as_of(), slots)


def test_a_writer_that_was_killed_lapses_though_others_keep_coming(generations, clock):
    slots = generations.slots(["t"])
    generations.begin(["t"])
    for _ in range(4):
        clock.advance(LAPSES_S / 4 + 0.1)
        generations.fresh(generations.as_of(), slots)
        generations.begin(["t"])
        generations.end(["t"])
    assert generations.fresh(generations.as_of(), slots)


def test_nothing_is_trusted_when_the_file_was_removed(generations, tmp_path, clock):
    as_of = generations.as_of()
    assert generations.fresh(as_of, ())
    (tmp_path / "generations").unlink()
    clock.advance(1)
    assert not generations.fresh(generations.as_of(), ())


def test_processes_share_them(generations, tmp_path, clock):
    as_of, slots = generations.as_of(), generations.slots(["t"])
    other = Generations(tmp_path / "generations", monotonic_ns=clock)
    assert other.fresh(as_of, slots)
    other.begin(["t"])
    other.end(["t"])
    other.close()
    assert not generations.fresh(as_of, slots)


def test_everything_at_once(generations):
    as_of = generations.as_of()
    generations.outdate_all()
    assert not generations.fresh(as_of, generations.slots(["t"]))
    assert not generations.fresh(as_of, ())
    assert generations.fresh(generations.as_of(), ())


def test_nothing_is_trusted_that_other_hosts_may_have_changed_unheard(tmp_path, clock):
    guarded = Generations(tmp_path / "generations", guarded=True, monotonic_ns=clock)
    assert not guarded.fresh(guarded.as_of(), ())
    guarded.heard(1.5)
    assert guarded.fresh(guarded.as_of(), ())
    clock.advance(2)
    assert not guarded.fresh(guarded.as_of(), ())
    guarded.heard(1.5)
    guarded.unheard()
    assert not guarded.fresh(guarded.as_of(), ())
    guarded.close()


def test_a_file_from_before_the_host_started_outdates_everything(tmp_path, clock):
    first = Generations(tmp_path / "generations", monotonic_ns=clock)
    first.begin(["t"])
    as_of = first.as_of()
    first._words[0] += 1  # another boot
    first.close()
    again = Generations(tmp_path / "generations", monotonic_ns=clock)
    assert not again.fresh(as_of, ())
    assert again.fresh(again.as_of(), again.slots(["t"]))
    again.close()


def test_what_is_owed_to_the_cluster_is_known_to_all_processes(generations, tmp_path, clock):
    assert generations.owed(), "a new file knows nothing of what was told before"
    generations.paid(generations.owed())
    assert not generations.owed()
    other = Generations(tmp_path / "generations", monotonic_ns=clock)
    other.owe()
    owed = generations.owed()
    assert owed
    other.owe()
    generations.paid(owed)
    assert generations.owed(), "another change was not told in the meantime"
    generations.paid(other.owed())
    assert not other.owed()
    other.close()


def test_a_new_file_begins_above_all_earlier_numbers(generations, tmp_path, clock):
    generations.end(["t"])
    (tmp_path / "generations").unlink()
    new = Generations(tmp_path / "generations", monotonic_ns=clock)
    assert not new.fresh(generations.as_of(), new.slots(["t"]))
    new.close()


def test_the_end_returns_a_number_that_no_later_change_has(generations):
    slots = generations.slots(["t"])
    generations.begin(["t"])
    first = generations.end(["t"])
    assert generations.fresh(first, slots)
    generations.begin(["t"])
    second = generations.end(["t"])
    assert not generations.fresh(first, slots)
    assert generations.fresh(second, slots)
