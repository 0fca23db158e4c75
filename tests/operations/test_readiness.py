"""Whether a process is to be sent requests: the parts that decide, with a clock of the test's."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codyverse.operations.readiness import OUTDATED_S, SLICES, Answers, Look
from tests.server import wait_until


@dataclass
class Time:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Slow:
    """A look that takes until the test lets it end."""

    looks: int = 0
    goes_on: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> dict[str, Any]:
        self.looks += 1
        number = self.looks
        assert self.goes_on.wait(30)
        return {"look": number}


def in_background(look: Look, found: list[Any]) -> threading.Thread:
    thread = threading.Thread(target=lambda: found.append(look()["look"]))
    thread.start()
    return thread


def test_a_look_serves_everybody_for_a_while() -> None:
    time, slow = Time(), Slow()
    slow.goes_on.set()
    look = Look(slow, 1.0, time)
    for _ in range(1000):
        assert look() == {"look": 1}
    time.now += 0.999
    assert look() == {"look": 1}
    time.now += 0.002
    assert [look() for _ in range(1000)] == [{"look": 2}] * 1000
    assert slow.looks == 2


def test_those_who_ask_first_wait_for_one_look() -> None:
    slow = Slow()
    look = Look(slow, 1.0)
    found: list[Any] = []
    threads = [in_background(look, found) for _ in range(8)]
    wait_until(lambda: slow.looks > 0)
    slow.goes_on.set()
    for thread in threads:
        thread.join(30)
    assert found == [1] * 8
    assert slow.looks == 1


def test_while_one_looks_the_others_hear_of_what_was_found_before() -> None:
    time, slow = Time(), Slow()
    slow.goes_on.set()
    look = Look(slow, 1.0, time)
    look()
    slow.goes_on.clear()
    time.now += 1.5
    found: list[Any] = []
    first = in_background(look, found)
    wait_until(lambda: slow.looks == 2)
    assert look() == {"look": 1}  # at once, or the test would never go on
    time.now += OUTDATED_S
    second = in_background(look, found)
    slow.goes_on.set()
    for thread in (first, second):
        thread.join(30)
    assert found == [2, 2]
    assert slow.looks == 2


def test_a_look_that_fails_is_tried_again_by_the_next() -> None:
    fails = [True, False]

    def try_it() -> dict[str, Any]:
        if fails.pop(0):
            raise ZeroDivisionError
        return {"status": "ok"}

    look = Look(try_it, 1.0)
    with pytest.raises(ZeroDivisionError):
        look()
    assert look() == {"status": "ok"}


def test_answers_are_those_of_the_window() -> None:
    time = Time()
    answers = Answers(10.0, time)
    for _ in range(3):
        answers.count(True)
        answers.count(False)
    assert answers.figures() == (6, 3)
    time.now += 8.9
    answers.count(False)
    assert answers.figures() == (7, 3)
    time.now += 1.1
    assert answers.figures() == (1, 0)
    time.now += 1000
    assert answers.figures() == (0, 0)


@given(st.lists(st.tuples(st.floats(0, 4), st.booleans()), max_size=60), st.floats(1, 20))
def test_figures_are_right_to_a_tenth_of_the_window(counted: list[tuple[float, bool]], window_s: float) -> None:
    time = Time(0.0)
    answers = Answers(window_s, time)
    told: list[tuple[float, bool]] = []
    for pause, is_error in counted:
        time.now += pause
        answers.count(is_error)
        told.append((time.now, is_error))
    shortest = [error for at, error in told if time.now - at < window_s * (1 - 1 / SLICES) * 0.999]
    longest = [error for at, error in told if time.now - at <= window_s * 1.001]
    number, errors = answers.figures()
    assert len(shortest) <= number <= len(longest)
    assert sum(shortest) <= errors <= sum(longest)
