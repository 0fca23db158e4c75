"""A worker accepts no more than its share, but nobody waits for long: unit tests, with listeners and a clock of their own."""

from __future__ import annotations

import errno
from types import SimpleNamespace

import pytest

from codyverse.server import acceptor as accepting
from codyverse.server.acceptor import PATIENCE_S, PAUSE_S, SLACK, Acceptor
from codyverse.server.shares import Shares


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Listener:
    """Clients who have connected, or the error that accepting one gives."""

    def __init__(self):
        self.waiting, self.closed = [], False

    def setblocking(self, flag):
        assert not flag

    def getsockname(self):
        return "here"

    def accept(self):
        if not self.waiting:
            raise BlockingIOError(errno.EAGAIN, "nobody")
        first = self.waiting[0]
        if isinstance(first, OSError):
            if not isinstance(first, ConnectionAbortedError):
                raise first
            raise self.waiting.pop(0)
        return self.waiting.pop(0), "address"

    def close(self):
        self.closed = True


class Poller(dict):
    """A selector that reports every listener with somebody waiting, as they were when it looked."""

    def register(self, listener, events, callback):
        assert listener not in self
        self[listener] = callback

    def unregister(self, listener):
        del self[listener]

    def turn(self):
        ready = [(listener, callback) for listener, callback in self.items() if listener.waiting]
        for listener, callback in ready:
            callback(listener)
        return len(ready)


class Worker:
    """One worker: `taken` are the clients it has."""

    def __init__(self, shares, slot, most=100, listeners=1):
        self.poller, self.taken, self.fails = Poller(), [], False
        self.listeners = [Listener() for _ in range(listeners)]
        self.acceptor = Acceptor(self.listeners, self.poller, most, shares, slot, self.take)
        self.acceptor.open()

    def take(self, peer, client, server):
        assert (client, server) == ("address", "here")
        self.taken.append(peer)

    def come(self, *clients, at=0):
        self.listeners[at].waiting += clients

    def turn(self):
        wait_s = self.acceptor.turn()
        self.poller.turn()
        return wait_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(accepting, "time", SimpleNamespace(monotonic=clock))
    return clock


@pytest.fixture
def shares():
    return Shares()


@pytest.fixture
def pair(shares, clock):
    """A worker that holds as many as it may, and the slot of another one that holds nothing."""
    other = 1
    shares.publish(other, 0)
    worker = Worker(shares, 0)
    for _ in range(SLACK + 1):
        worker.come("before")
        worker.turn()
    assert worker.taken == ["before"] * (SLACK + 1)
    worker.taken.clear()
    return worker, other


def test_it_works(shares, clock):
    worker = Worker(shares, 0)
    worker.come("a")
    worker.turn()
    assert worker.taken == ["a"] and worker.acceptor.held == 1
    worker.acceptor.released()
    assert worker.acceptor.held == 0 and shares.least() == 0


def test_who_has_more_leaves_it_to_another(pair, shares, clock):
    worker, other = pair
    worker.come("a")
    worker.turn()
    assert not worker.taken and not worker.poller, "it does not even look while it leaves time to others"
    assert worker.turn() == pytest.approx(PAUSE_S)
    shares.publish(other, 1)
    clock.now += 2 * PAUSE_S
    worker.turn()
    assert worker.taken == ["a"], "the other one has enough now"


@pytest.mark.parametrize("turn_s", [0.0015, 0.007, 0.03])  # of a worker with nothing, much, or too much to do
def test_patience_is_over_when_nobody_takes_it(pair, clock, turn_s):
    worker, _ = pair
    worker.come("a")
    began = clock.now
    while not worker.taken:
        worker.turn()
        clock.now += turn_s
        assert clock.now < began + PATIENCE_S + 3 * turn_s, "it is never taken"
    assert clock.now >= began + PATIENCE_S


def test_patience_begins_anew_with_the_next_one(pair, clock):
    worker, _ = pair
    worker.come("a")
    worker.turn()
    worker.listeners[0].waiting.clear()  # the other one took it
    for _ in range(3):
        clock.now += PATIENCE_S
        worker.turn()
    worker.come("b")
    worker.turn()
    assert not worker.taken, "the other one has had no time for this one yet"


def test_without_a_share_all_are_taken(shares, clock):
    shares.publish(1, 0)
    worker = Worker(shares, None)
    worker.come("a", "b", "c")
    for _ in range(3):
        worker.turn()
    assert worker.taken == ["a", "b", "c"]


def test_a_killed_worker_is_nobodys_measure(pair, shares):
    worker, other = pair
    worker.come("a")
    shares.clear(other)
    worker.turn()
    assert worker.taken == ["a"]


def test_who_is_full_lets_others_wait(shares, clock):
    worker = Worker(shares, 0, most=2)
    worker.come("a", "b", "c")
    for _ in range(4):
        worker.turn()
    assert worker.taken == ["a", "b"] and not worker.poller
    worker.acceptor.released()
    worker.turn()
    assert worker.taken == ["a", "b", "c"]


def test_the_limit_holds_over_listeners_that_are_ready_at_once(shares, clock):
    worker = Worker(shares, None, most=1, listeners=2)
    worker.come("a", at=0)
    worker.come("b", at=1)
    worker.turn()
    assert worker.taken == ["a"] and worker.acceptor.held == 1


def test_a_client_that_gave_up_is_no_error(shares, clock):
    worker = Worker(shares, None)
    worker.come(ConnectionAbortedError(), "a")
    worker.turn()
    worker.turn()
    assert worker.taken == ["a"] and worker.acceptor.held == 1


def test_without_a_descriptor_it_does_not_ask_again_at_once(shares, clock):
    worker = Worker(shares, None)
    worker.come(OSError(errno.EMFILE, "too many"))
    looked = 0
    for _ in range(1000):
        wait_s = worker.acceptor.turn()
        looked += worker.poller.turn()
        clock.now += 0.001
    assert 1 <= looked <= 11, "an event loop that does nothing else"
    assert wait_s is not None
    worker.listeners[0].waiting[:] = ["a"]
    clock.now += 1
    worker.turn()
    assert worker.taken == ["a"]


def test_closing_takes_who_has_connected_already(pair, shares, clock):
    worker, other = pair
    worker.come("a", "b", ConnectionAbortedError(), "c")
    worker.turn()
    worker.acceptor.close()
    assert worker.taken == ["a", "b", "c"]
    assert worker.listeners[0].closed and not worker.poller
    shares.clear(other)
    assert shares.least() is None, "it is no measure for those who accept"
    worker.acceptor.released()
    assert worker.acceptor.held == SLACK + 3 and worker.turn() is None and not worker.poller


def test_closing_without_a_descriptor_comes_to_an_end(shares, clock):
    worker = Worker(shares, None)
    worker.come(OSError(errno.EMFILE, "too many"))
    worker.acceptor.close()
    assert worker.listeners[0].closed and worker.turn() is None
