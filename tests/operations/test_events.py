"""Events of little weight: queued, written in the background, never in the way of a request."""

from __future__ import annotations

import os
import threading
from collections import Counter

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from codyverse.operations import events
from codyverse.operations.events import DROPPED, FIRST_PAUSE_S, LONGEST_PAUSE_S, PER_STATEMENT, WRITTEN, Queue, Queued, Unqueued
from tests.parallel import in_parallel
from tests.server import wait_until


def numbered(*numbers):
    return [{"n": number} for number in numbers]


class Source:
    """Where events are written to; it can be taken away."""

    def __init__(self):
        self.statements = []
        self.tries = 0
        self.away = False
        self.reached = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def write(self, batch):
        self.tries += 1
        self.reached.set()
        self.open.wait(30)
        if self.away:
            raise ConnectionError("away")
        self.statements.append([event["n"] for event in batch])

    def written(self):
        return [number for statement in self.statements for number in statement]


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def counts():
    return Counter()


@pytest.fixture
def count(counts):
    def add(name, amount):
        counts[name] += amount

    return add


@pytest.fixture
def queued(source, count):
    queued = Queued(source.write, 1000, count)
    yield queued
    source.open.set()
    queued.close()


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "events"]


def test_it_works(queued, source, counts):
    assert queued.add(numbered(1, 2)) == 2
    assert queued.add(numbered(3)) == 1
    wait_until(lambda: source.written() == [1, 2, 3])
    assert source.statements == [[1, 2, 3]]  # none of them waited alone
    assert counts == {WRITTEN: 3}


def test_many_are_written_at_once_and_in_order(queued, source):
    source.open.clear()
    for start in range(0, 200, 10):
        queued.add(numbered(*range(start, start + 10)))
    source.open.set()
    queued.close()
    assert source.written() == list(range(200))
    assert {len(statement) for statement in source.statements} == {PER_STATEMENT}


def test_a_request_does_not_wait_for_the_writer(queued, source):
    source.open.clear()
    queued.add(numbered(*range(PER_STATEMENT)))
    assert source.reached.wait(30)
    assert queued.add(numbered(99)) == 1  # while a statement is under way
    assert source.statements == []


def test_clients_at_once_lose_nothing_and_begin_one_thread(queued, source):
    before = len(threads())
    assert in_parallel(8, lambda: sum(queued.add(numbered(n)) for n in range(100))) == [100] * 8
    assert len(threads()) == before + 1
    queued.close()
    assert Counter(source.written()) == dict.fromkeys(range(100), 8)
    assert len(threads()) == before


def test_what_finds_no_room_is_dropped_and_counted(source, count, counts):
    source.open.clear()
    queued = Queued(source.write, 60, count)
    assert queued.add(numbered(*range(PER_STATEMENT))) == PER_STATEMENT
    assert source.reached.wait(30)
    assert queued.add(numbered(*range(50, 80))) == 10  # what is being written still takes its room
    assert queued.add(numbered(99)) == 0
    assert counts == {DROPPED: 21}
    source.open.set()
    queued.close()
    assert source.written() == list(range(60))
    assert counts == {DROPPED: 21, WRITTEN: 60}


def test_what_waits_at_the_end_is_written_and_what_comes_later_dropped(queued, source, counts):
    queued.add(numbered(1))
    queued.close()
    assert source.written() == [1]
    assert queued.add(numbered(2, 3)) == 0
    queued.close()
    assert counts == {WRITTEN: 1, DROPPED: 2}
    assert source.written() == [1]


def test_closing_before_anything_came_begins_nothing(queued, source):
    before = threads()
    queued.close()
    assert queued.add(numbered(1)) == 0
    assert threads() == before


def test_at_the_end_without_a_database_they_are_counted(queued, source, counts, caplog):
    source.away = True
    queued.add(numbered(*range(120)))
    queued.close()
    assert counts == {DROPPED: 120}
    assert "120 events were never written" in caplog.text
    assert "away" not in caplog.text  # an error's text may hold anything


def test_a_database_that_does_not_answer_does_not_keep_the_process_alive(queued, source, counts, caplog, monkeypatch):
    monkeypatch.setattr(events, "CLOSE_S", 0.05)
    source.open.clear()
    queued.add(numbered(*range(PER_STATEMENT)))
    assert source.reached.wait(30)
    [writer] = threads()
    queued.close()
    assert counts[DROPPED] == PER_STATEMENT
    assert "does not answer" in caplog.text
    source.open.set()
    writer.join(30)
    assert source.tries == 1  # nobody wrote beside it


def test_a_fork_writes_its_own_and_nothing_of_its_parents(queued, source, counts):
    source.open.clear()
    queued.add(numbered(*range(PER_STATEMENT)))
    assert source.reached.wait(30)
    pid = os.fork()
    if pid == 0:
        source.open.set()
        accepted = queued.add(numbered(7, 8))
        queued.close()
        os._exit(0 if (accepted, source.statements, counts[WRITTEN]) == (2, [[7, 8]], 2) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    source.open.set()
    queued.close()
    assert source.written() == list(range(PER_STATEMENT))


def test_without_a_queue_they_are_written_within_the_request(source, count, counts):
    before = threads()
    unqueued = Unqueued(source.write, count)
    assert unqueued.add(numbered(*range(60))) == 60
    assert [len(statement) for statement in source.statements] == [50, 10]
    source.away = True
    assert unqueued.add(numbered(60, 61)) == 0
    unqueued.close()
    assert source.written() == list(range(60))
    assert counts == {WRITTEN: 60, DROPPED: 2}
    assert threads() == before


def test_pauses_grow_and_end(source, count):
    now = 0.0
    source.away = True
    queue = Queue(source.write, 1000, count, lambda: now)
    queue.add(numbered(*range(PER_STATEMENT)))
    pauses = []
    for _ in range(12):
        pauses.append(queue.write_due())
        now += pauses[-1]
    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses[-1] == LONGEST_PAUSE_S
    source.away = False
    assert queue.write_due() is None
    source.away = True
    queue.add(numbered(*range(PER_STATEMENT)))
    assert queue.write_due() == FIRST_PAUSE_S  # one failure long ago is no reason to wait


def test_none_waits_longer_than_a_second_however_many_come_behind_it(source, count):
    now = 0.0
    queue = Queue(source.write, 1000, count, lambda: now)
    for _ in range(2):
        queue.add(numbered(1))
        now += 0.6
        assert queue.write_due() == (None if now > 1 else pytest.approx(0.4))
    assert source.statements == [[1, 1]]


class QueueMachine(RuleBasedStateMachine):
    """Whatever comes, fails and passes: what is accepted is written once, in order, soon, at most 50 a statement."""

    @initialize(room=st.integers(1, 180))
    def begin(self, room):
        self.now = 1000.0
        self.source = Source()
        self.counts = Counter()
        self.queue = Queue(self.source.write, room, self.count, lambda: self.now)
        self.room = room
        self.next = 0
        self.accepted = []  # with the moment of coming
        self.failed_at = None
        self.failures = 0

    def count(self, name, amount):
        self.counts[name] += amount

    def waiting(self):
        return self.accepted[len(self.source.written()) :]

    @rule(number=st.integers(1, 5) | st.integers(1, 70))
    def add(self, number):
        told = range(self.next, self.next + number)
        free = self.room - len(self.waiting())
        taken = self.queue.add(numbered(*told))
        assert taken == min(free, number)
        self.accepted += [(self.now, n) for n in told[:taken]]
        self.next += number

    @rule(seconds=st.sampled_from([0.3, 0.6, 1.0]) | st.floats(0, 40))
    def pass_time(self, seconds):
        self.now += seconds

    @rule()
    def lose_the_database(self):
        self.source.away = True

    @rule()
    def find_it_again(self):
        self.source.away = False

    @rule()
    def ask(self):
        """Do what the thread does, and compare with what should be due."""
        waiting, tries, statements = self.waiting(), self.source.tries, len(self.source.statements)
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self.failures - 1)) if self.failures else 0
        paused = self.failures and self.now < self.failed_at + pause
        due = bool(waiting) and not paused and (len(waiting) >= PER_STATEMENT or self.now - waiting[0][0] >= 1.0)
        wait_s = self.queue.write_due()
        assert self.source.tries - tries == due
        if due:
            written = len(self.source.statements) - statements
            assert written == (not self.source.away)
            self.failures = 0 if written else self.failures + 1
            self.failed_at = self.now
        assert (wait_s is None) == (not self.waiting())
        if wait_s is not None:
            assert 0 <= wait_s <= LONGEST_PAUSE_S
        if wait_s == 0:  # it has to be asked again at once
            assert len(self.waiting()) >= PER_STATEMENT or self.now - self.waiting()[0][0] >= 1.0

    @rule()
    def follow_the_clock(self):
        """With the database there, who asks when told to leaves nothing waiting."""
        self.source.away = False
        for _ in range(20):
            wait_s = self.queue.write_due()
            if wait_s is None:
                break
            self.now += wait_s
        assert self.waiting() == []
        self.failures = 0

    @rule()
    def end(self):
        before, waiting, dropped = self.source.written(), self.waiting(), self.counts[DROPPED]
        self.queue.write_all()
        assert len(self.queue) == 0
        if self.source.away:
            assert self.counts[DROPPED] - dropped == len(waiting)
            self.accepted = self.accepted[: len(before)]
            self.failures += bool(waiting)
            self.failed_at = self.now
        else:
            assert self.source.written() == before + [n for _, n in waiting]
            self.failures = 0 if waiting else self.failures

    @invariant()
    def written_once_in_order_and_counted(self):
        if not hasattr(self, "queue"):
            return
        written = self.source.written()
        assert written == [n for _, n in self.accepted[: len(written)]]
        assert all(0 < len(statement) <= PER_STATEMENT for statement in self.source.statements)
        assert len(self.queue) == len(self.waiting()) <= self.room
        assert self.counts[WRITTEN] == len(written)
        assert self.counts[DROPPED] == self.next - len(self.accepted)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = hypothesis_settings(max_examples=150, stateful_step_count=40, deadline=None)
