"""Threads and event loops that do not come back."""

from __future__ import annotations

import math
import os
import signal
import threading

import pytest
import requests

from codyverse.server.watchdog import EVERY_S, Watchdog
from tests.front.serving import log_of, watched
from tests.server import wait_until


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Hanging:
    """A thread that hangs in a function of its own until the test ends."""

    def __init__(self):
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self.hang_here)
        self._thread.start()
        self.id = self._thread.ident

    def hang_here(self):
        self._ended.wait(60)

    def end(self):
        self._ended.set()
        self._thread.join(60)


@pytest.fixture
def hanging():
    hanging = Hanging()
    yield hanging
    hanging.end()


@pytest.fixture
def dog():
    clock, counts, ends = Clock(), [], []
    dog = Watchdog(30.0, counts.append, clock, ends.append)
    dog.clock, dog.counts, dog.ends = clock, counts, ends

    def check_at(now):
        clock.now = now
        return dog.check()

    dog.check_at = check_at
    return dog


def test_it_works(dog, hanging, caplog):
    dog.begin(hanging.id, "POST /api/v1/lessons/7/completions?token=secret")
    assert dog.check_at(29.9) is None
    stuck = dog.check_at(31)
    assert stuck.reason == "a thread is stuck for 31 s in POST /api/v1/lessons/7/completions"
    assert "hang_here" in stuck.stack
    assert "hang_here" in caplog.text and "secret" not in caplog.text
    assert dog.check_at(90) is None, "it is told once"
    assert dog.counts == ["worker:stuck"]
    dog.end(hanging.id)
    dog.begin(hanging.id, "GET /")
    assert dog.check_at(121).what == "GET /", "another request is another matter"


def test_what_has_ended_is_not_stuck(dog, hanging):
    dog.begin(hanging.id, "GET /")
    dog.end(hanging.id)
    dog.end(hanging.id)
    assert dog.check_at(100) is None


def test_streams_have_a_deadline_of_their_own_or_none(dog, hanging):
    dog.begin(hanging.id, "GET /stream", math.inf)
    assert dog.check_at(1e9) is None
    dog.begin(hanging.id, "GET /stream", 300.0)
    assert dog.check_at(1e9 + 299) is None
    assert dog.check_at(1e9 + 301).what == "GET /stream"


def test_every_stuck_thread_is_told_of(dog, hanging):
    other = Hanging()
    dog.begin(hanging.id, "GET /one")
    dog.begin(other.id, "GET /other")
    assert {dog.check_at(31).what, dog.check_at(31 + EVERY_S).what} == {"GET /one", "GET /other"}
    other.end()


def test_the_process_ends_although_a_thread_does_not(dog, hanging, caplog):
    dog.begin(hanging.id, "GET /hangs?token=secret")
    dog.end_process_within(0.01)
    wait_until(lambda: dog.ends == [1])
    assert "GET /hangs" in caplog.text and "secret" not in caplog.text


def test_a_worker_with_a_stuck_thread_is_replaced(tmp_path, sqlite_template):
    settings = {"request_deadline_s": "1"}
    with watched(tmp_path, sqlite_template, "--graceful-timeout", "4", **settings) as server:
        before = set(server.workers())
        with pytest.raises(requests.RequestException):
            requests.get(f"{server.url}/test/hang?token=secret", timeout=60)
        wait_until(lambda: len(before - {*server.workers()}) == 1 and len(server.workers()) == 2, within_s=60)
        assert requests.get(f"{server.url}/test/calm", timeout=30).status_code == 200
    log = log_of(tmp_path)
    assert "s in GET /test/hang:" in log and "in hang" in log
    assert "asks to be replaced: a thread is stuck" in log
    assert not [line for line in log.splitlines() if "secret" in line and '"path"' not in line]


def test_an_event_loop_that_is_stuck_leaves_its_stack(tmp_path, sqlite_template):
    with watched(tmp_path, sqlite_template, "--timeout", "2") as server:
        victim = int(requests.get(f"{server.url}/test/calm", timeout=30).text)
        os.kill(victim, signal.SIGUSR2)  # holds the event loop in C code, where Python's handlers of signals never run
        wait_until(lambda: victim not in server.workers() and len(server.workers()) == 2, within_s=60)
    log = log_of(tmp_path)
    assert "Fatal Python error: Aborted" in log and "in freeze" in log, log
