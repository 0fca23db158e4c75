"""Parts of a process: started, asked, shrunk and closed, whatever one of them does."""

from __future__ import annotations

import threading

import pytest

from codyverse.operations import components
from codyverse.operations.components import LEAST_S, WITHIN_S, Components


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def nothing() -> None:
    pass


def fail(*_: object) -> None:
    raise RuntimeError("a secret")


def test_it_works():
    parts, closed = Components(), []
    parts.add("first", lambda: closed.append("first"), health=lambda: {"status": "ok", "entries": 3})
    parts.add("second", lambda: closed.append("second"))
    assert parts.health() == {"first": {"status": "ok", "entries": 3}, "second": {"status": "ok"}}
    parts.close()
    parts.close()
    assert closed == ["second", "first"]
    assert parts.health() == {}


def test_parts_start_in_order_and_one_that_does_not_is_shown(caplog):
    parts, started = Components(), []
    parts.add("first", nothing, start=lambda: started.append("first"))
    parts.add("broken", nothing, start=fail)
    parts.add("last", nothing, start=lambda: started.append("last"))
    parts.start()
    assert started == ["first", "last"]
    assert parts.health()["broken"] == {"status": "unavailable", "reason": "not started"}
    assert "a part did not start: broken" in caplog.text


def test_one_that_fails_is_no_harm_to_others(caplog):
    parts, heard, closed = Components(), [], []
    parts.add("well", lambda: closed.append("well"), shrink=heard.append)
    parts.add("broken", fail, health=fail, shrink=fail)
    parts.add("well too", lambda: closed.append("well too"), shrink=heard.append)
    parts.shrink(0.5)
    assert heard == [0.5, 0.5]
    health = parts.health()
    assert health["well too"] == {"status": "ok"}
    assert health["broken"] == {"status": "unavailable", "reason": "unknown"}  # no exception's text
    parts.close()
    assert closed == ["well too", "well"]
    for line in ("did not shrink: broken", "could not say how it is: broken", "did not close: broken"):
        assert line in caplog.text


def test_one_that_hangs_does_not_keep_the_others_open(caplog):
    closed, ended = [], threading.Event()
    clock = Clock()
    parts = Components(clock)
    parts.add("well", lambda: closed.append("well"))
    parts.add("hanging", lambda: ended.wait(60))
    parts.drain()
    clock.now += WITHIN_S - LEAST_S  # most of the time has gone before anything is closed
    parts.close()
    assert closed == ["well"]
    assert "did not close within 0.5 s: hanging" in caplog.text
    ended.set()
    hanging = [thread for thread in threading.enumerate() if thread.name == "close-hanging"]
    for thread in hanging:
        thread.join(30)


@pytest.mark.parametrize(("late_s", "expected_s"), [(0.0, WITHIN_S - 1), (20.0, WITHIN_S - 21), (500.0, LEAST_S / 2)])
def test_a_part_gets_what_is_left_but_for_the_others(monkeypatch, late_s, expected_s):
    clock, given = Clock(), []
    parts = Components(clock)
    parts.add("first", nothing)
    parts.add("second", nothing)
    monkeypatch.setattr(components, "_close", lambda part, within_s: given.append((part.name, within_s)))
    parts.drain()
    clock.now += late_s
    parts.drain()  # a second signal gives no more time
    parts.close()
    assert given == [("second", pytest.approx(expected_s)), ("first", pytest.approx(max(WITHIN_S - late_s, LEAST_S)))]


def test_draining_is_told_once(app):
    parts = components.of(app)
    assert not parts.draining
    parts.drain()
    assert parts.draining


def test_what_can_be_made_anew_shrinks_and_recovers(app):
    parts = components.of(app)
    assert {"cache", "responses", "database", "tallies"} <= parts.health().keys()
    store, cache = app.extensions["codyverse.responses"], app.extensions["codyverse.cache"]
    tier = cache._parts.process
    parts.shrink(0.5)
    assert (store._room, tier._most) == (store._whole // 2, tier._whole // 2)
    parts.shrink(1.0)
    assert (store._room, tier._most) == (store._whole, tier._whole)
