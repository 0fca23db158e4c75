"""A worker is replaced first, one at a time, and there are as many as before, whoever is killed or told what meanwhile."""

from __future__ import annotations

import os
import random
import re
import signal
from types import SimpleNamespace

import pytest
import requests
from gunicorn.errors import HaltServer

from codyverse.server import lifecycle, replacement
from codyverse.server.replacement import Replacement, Roster, State, attend
from codyverse.server.shares import Shares
from tests.faults.completions import FULL
from tests.faults.load import BROKEN, Load
from tests.front.serving import log_of, watched
from tests.server import wait_until

TIMES = 20 if FULL else 4


class Master:
    """Gunicorn's, as far as `attend` knows it: it forks into this process."""

    def __init__(self, roster, num_workers):
        self.roster, self.num_workers, self.WORKERS, self.age = roster, num_workers, {}, 0
        self.boots = True
        attend(self, roster)
        self.manage_workers()

    def manage_workers(self):
        while len(self.WORKERS) < self.num_workers:
            self.spawn_worker()

    def spawn_worker(self):
        self.held_back = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self.age += 1
        worker = self.WORKERS[1000 + self.age] = SimpleNamespace(age=self.age)
        lifecycle.before_fork(worker)

    def reap_workers(self):
        for pid in [pid for pid, worker in self.WORKERS.items() if worker.age in self.dead]:
            del self.WORKERS[pid]
        if not self.boots:
            raise HaltServer("Worker failed to boot.", 3)

    dead = ()

    def ends(self, *ages):
        self.dead = ages
        self.reap_workers()
        self.dead = ()
        self.manage_workers()

    @property
    def ages(self):
        return sorted(worker.age for worker in self.WORKERS.values())


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def roster(monkeypatch, shares):
    monkeypatch.setattr(os, "getppid", os.getpid)  # master and workers are one process here
    roster = Roster(shares.clear)
    monkeypatch.setattr(replacement, "roster", roster)
    return roster


@pytest.fixture
def shares():
    return Shares()


@pytest.fixture
def worker(roster):
    clock, counts = Clock(), []

    def make(age):
        worker = Replacement(age, counts.append, 10.0, clock, roster, wake=lambda: None)
        worker.serving()
        return worker

    make.clock, make.counts = clock, counts
    return make


def test_it_works(roster, worker):
    master = Master(roster, 2)
    first, _ = worker(1), worker(2)
    first.ask("it is old")
    assert first.check() is None
    master.manage_workers()
    assert master.ages == [1, 2, 3] and master.num_workers == 2
    assert first.check() is None, "the new one does not serve yet"
    worker(3)
    assert first.check() == "it is old"
    assert first.check() is None, "it is told once"
    master.manage_workers()
    assert master.ages == [1, 2, 3]
    master.ends(1)
    assert master.ages == [2, 3]
    assert worker.counts == ["worker:asked", "worker:replaced"]


def test_one_at_a_time(roster, worker):
    master = Master(roster, 3)
    workers = [worker(age) for age in (1, 2, 3)]
    for each in workers:
        each.ask("all at once")
    master.manage_workers()
    assert master.ages == [1, 2, 3, 4], "one more, not three"
    worker(4)
    assert [each.check() for each in workers] == ["all at once", None, None]
    master.manage_workers()  # the first only finishes what it has
    assert master.ages == [1, 2, 3, 4, 5]
    worker(5)
    assert [each.check() for each in workers] == [None, "all at once", None]


def test_the_one_that_asked_is_killed(roster, worker):
    master = Master(roster, 2)
    first, second = worker(1), worker(2)
    first.ask("x")
    second.ask("y")
    master.manage_workers()
    master.ends(1)
    assert master.ages == [2, 3, 4], "the other one's turn"
    worker(3)
    assert second.check() is None
    worker(4)
    assert second.check() == "y"
    master.ends(2)
    assert master.ages == [3, 4]


def test_the_replacement_is_killed(roster, worker):
    master = Master(roster, 2)
    first, _ = worker(1), worker(2)
    first.ask("x")
    master.manage_workers()
    master.ends(3)
    assert master.ages == [1, 2, 4] and first.check() is None
    worker(4)
    assert first.check() == "x"


def test_the_replacement_cannot_start(roster, worker, monkeypatch):
    master = Master(roster, 2)
    with pytest.raises(HaltServer):  # nobody serves: gunicorn is right to end
        master.boots = False
        master.reap_workers()
    first, _ = worker(1), worker(2)
    first.ask("x")
    master.boots = True
    master.manage_workers()
    master.boots = False
    master.ends(3)
    assert roster.state(3) == State.FREE and master.ages == [1, 2], "it is not tried again at once"
    assert first.check() is None


def test_the_operator_changes_the_number_meanwhile(roster, worker):
    master = Master(roster, 2)
    first, _ = worker(1), worker(2)
    first.ask("x")
    master.manage_workers()
    worker(3)
    master.num_workers += 1  # SIGTTIN
    master.manage_workers()
    assert master.ages == [1, 2, 3, 4] and first.check() is None, "without it there would be one too few"
    worker(4)
    assert first.check() == "x"
    master.ends(1)
    assert master.ages == [2, 3, 4] and master.num_workers == 3


def test_in_an_emergency_it_does_not_wait_for_long(roster, worker):
    master = Master(roster, 2)
    first, _ = worker(1), worker(2)
    first.ask("large")
    first.ask("too large", emergency=True)
    worker.clock.now += 9.9
    first.ask("still too large", emergency=True)  # which begins no new wait
    assert first.check() is None
    worker.clock.now += 0.2
    assert first.check() == "large"
    assert roster.state(1) == State.LEAVING
    master.manage_workers()
    assert master.ages == [1, 2, 3], "its successor starts before it has ended"
    assert worker.counts == ["worker:asked", "worker:unreplaced"]


def test_without_such_a_master_it_just_goes(worker, roster):
    first = worker(1)
    first.ask("x")
    assert first.check() == "x"


def test_who_was_told_to_stop_does_not_count(roster, worker):
    master = Master(roster, 2)
    first, second = worker(1), worker(2)
    second.leave()
    first.ask("x")
    master.manage_workers()
    assert master.ages == [1, 2, 3, 4]
    worker(3)
    assert first.check() is None
    worker(4)
    assert first.check() == "x"
    second.ask("y")
    assert second.check() is None and roster.state(2) == State.LEAVING


def test_there_is_an_end_to_slots(roster):
    assert [roster.take(age) for age in range(300)] == [*range(256), *[None] * 44]
    assert roster.state(255) == State.STARTING and roster.state(256) == State.FREE
    roster.set(256, State.ASKING)
    roster.keep({299})
    assert roster.count(*(state for state in State if state)) == 0
    assert roster.take(300) == 0
    assert roster.state(300) == State.STARTING


def test_a_killed_worker_leaves_no_count_behind(roster, shares):
    master = Master(roster, 2)
    slots = [worker.slot for worker in master.WORKERS.values()]
    assert slots == [0, 1]
    shares.publish(0, 0)
    shares.publish(1, 5)
    master.dead = (1,)
    master.reap_workers()  # and nothing else: gunicorn, while it reloads, looks after nothing for half a minute
    assert shares.least() == 5, "nobody leaves connections to the one that has ended"
    master.dead = ()
    master.manage_workers()
    assert master.WORKERS[1003].slot == 0 and shares.least() == 5, "the next one does not accept yet"


def test_what_tells_a_worker_to_stop_is_held_back_while_it_begins(roster):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    master = Master(roster, 1)
    master.spawn_worker()
    assert set(replacement.STOPPING) <= master.held_back
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before, "the master itself hears as before"


def ask_one(server):
    return int(requests.get(f"{server.url}/test/retire", timeout=30).text)


def replaced(server, pid):
    workers = server.workers()
    return pid not in workers and len(workers) == 2


def test_many_times_under_load_and_no_request_fails(tmp_path, sqlite_template):
    with watched(tmp_path, sqlite_template, admission_wait_s="30") as server:
        with Load(server.url) as load:
            load.read("calm", ["/test/calm"], clients=8)
            for _ in range(TIMES):
                pid = ask_one(server)
                wait_until(lambda pid=pid: replaced(server, pid), within_s=60)
        answers = load.of("calm")
        assert len(answers) > 20 * TIMES and {answer.status for answer in answers} == {200}
    log = log_of(tmp_path)
    assert len(re.findall(r"worker \d+ ends: the test says so", log)) == TIMES


def test_the_number_comes_back_whoever_is_killed(tmp_path, sqlite_template):
    chance = random.Random(5)
    with watched(tmp_path, sqlite_template, admission_wait_s="30") as server:
        with Load(server.url) as load:
            load.read("calm", ["/test/calm"], clients=4)
            for number in range(TIMES):
                before = set(server.workers())
                asking = ask_one(server)
                victim = asking if number % 3 == 0 else chance.choice(sorted(before))
                if number % 3 == 2:  # the replacement, as soon as there is one
                    wait_until(lambda before=before: bool(set(server.workers()) - before), within_s=60)
                    victim = next(iter(set(server.workers()) - before), asking)
                os.kill(victim, signal.SIGKILL)
                gone = {asking, victim}
                wait_until(lambda gone=gone: len(server.workers()) == 2 and not gone & {*server.workers()}, within_s=60)
            os.kill(server.process.pid, signal.SIGHUP)
            before = set(server.workers())
            wait_until(lambda: len(server.workers()) == 2 and not before & {*server.workers()}, within_s=60)
            ask_one(server)
        assert {answer.status for answer in load.of("calm")} <= {200, BROKEN}
    assert server.process.returncode == 0, "it stops although a worker waits for its replacement"
