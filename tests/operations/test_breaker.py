"""The breaker, among others against a model that keeps every failure it ever heard of and counts them anew each time."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from codyverse.operations.breaker import PROBE_S, Breaker, BreakerOpen, NullBreaker, State

FAILURES, WINDOW_S, OPEN_S = 3, 10.0, 4.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("part", FAILURES, WINDOW_S, OPEN_S, clock)


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.failed(breaker.allow())


def test_it_works(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, FAILURES)
    assert breaker.state is State.OPEN
    with pytest.raises(BreakerOpen) as refused:
        breaker.allow()
    assert (refused.value.name, refused.value.retry_after_s) == ("part", OPEN_S)

    clock.now += OPEN_S
    probe = breaker.allow()
    assert breaker.state is State.HALF_OPEN
    with pytest.raises(BreakerOpen):
        breaker.allow()
    breaker.succeeded(probe)
    assert breaker.state is State.CLOSED
    assert (breaker.opened, breaker.since) == (1, clock.now)


def test_failures_count_for_the_window_only(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, FAILURES - 1)
    assert breaker.troubled
    clock.now += WINDOW_S
    assert not breaker.troubled
    fail(breaker, FAILURES - 1)
    assert breaker.state is State.CLOSED
    fail(breaker)
    assert breaker.state is State.OPEN


def test_a_probe_that_fails_opens_it_again(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, FAILURES)
    clock.now += OPEN_S
    fail(breaker)
    assert (breaker.state, breaker.opened) == (State.OPEN, 2)
    clock.now += OPEN_S - 0.1
    with pytest.raises(BreakerOpen):
        breaker.allow()


def test_a_probe_that_never_reports_is_replaced_and_not_believed_later(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, FAILURES)
    clock.now += OPEN_S
    dead = breaker.allow()
    clock.now += PROBE_S
    living = breaker.allow()
    breaker.succeeded(dead)
    assert breaker.state is State.HALF_OPEN
    breaker.succeeded(living)
    assert breaker.state is State.CLOSED


def test_a_probe_that_met_nothing_leaves_its_turn_to_the_next(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, FAILURES)
    clock.now += OPEN_S
    breaker.unused(breaker.allow())
    breaker.succeeded(breaker.allow())
    assert breaker.state is State.CLOSED


def test_what_began_before_a_change_says_nothing_after_it(breaker: Breaker, clock: Clock) -> None:
    early = breaker.allow()
    fail(breaker, FAILURES)
    clock.now += OPEN_S
    probe = breaker.allow()
    breaker.succeeded(early)
    assert breaker.state is State.HALF_OPEN
    breaker.failed(early)
    assert breaker.state is State.HALF_OPEN
    breaker.succeeded(probe)
    for _ in range(FAILURES):
        breaker.failed(early)
    assert breaker.state is State.CLOSED


def test_a_block_is_a_call(breaker: Breaker) -> None:
    for _ in range(FAILURES):
        with pytest.raises(ValueError), breaker.call(OSError):
            raise ValueError
    assert breaker.state is State.CLOSED
    for _ in range(FAILURES):
        with pytest.raises(ConnectionError), breaker.call(OSError):
            raise ConnectionError
    assert breaker.state is State.OPEN
    with pytest.raises(BreakerOpen), breaker.call(OSError):
        pytest.fail("the call was made")


def test_the_listener_hears_every_state_and_may_ask(breaker: Breaker, clock: Clock) -> None:
    heard: list[tuple[str, State, bool]] = []
    breaker.listener = lambda name, state: heard.append((name, state, breaker.troubled))  # would lock up inside the lock
    fail(breaker, FAILURES)
    clock.now += OPEN_S
    breaker.succeeded(breaker.allow())
    assert heard == [("part", State.OPEN, True), ("part", State.HALF_OPEN, True), ("part", State.CLOSED, False)]


def test_settings_are_read_as_limits_are(clock: Clock) -> None:
    breaker = Breaker.of("part", "2 per 3 seconds", OPEN_S, clock)
    fail(breaker)
    clock.now += 3
    fail(breaker)
    assert breaker.state is State.CLOSED
    fail(breaker)
    assert breaker.state is State.OPEN


def test_switched_off_it_stays_closed() -> None:
    breaker = NullBreaker("part")
    fail(breaker, 100)
    assert (breaker.state, breaker.troubled, breaker.opened) == (State.CLOSED, False, 0)


def test_of_many_callers_at_once_one_probes(breaker: Breaker, clock: Clock) -> None:
    for _ in range(20):
        fail(breaker, FAILURES)
        clock.now += OPEN_S
        together = threading.Barrier(50)
        let_through: list[int] = []

        def ask(together=together, let_through=let_through) -> None:
            together.wait(30)
            with suppress(BreakerOpen):
                let_through.append(breaker.allow())

        threads = [threading.Thread(target=ask) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(let_through) == 1
        breaker.succeeded(let_through[0])


def test_no_lock_is_held_during_a_call(breaker: Breaker) -> None:
    inside, done = threading.Event(), threading.Event()

    def slow() -> None:
        with breaker.call(OSError):
            inside.set()
            assert done.wait(30)

    thread = threading.Thread(target=slow)
    thread.start()
    assert inside.wait(30)
    fail(breaker, FAILURES)
    assert breaker.state is State.OPEN
    done.set()
    thread.join(30)


class Model:
    """What a breaker should be, with all that ever happened kept."""

    def __init__(self, now: float) -> None:
        self.history: list[float] = []  # failures since it was closed
        self.state, self.began, self.calls_of_now = State.CLOSED, now, set()

    def become(self, state: State, now: float) -> None:
        self.state, self.began = state, now
        self.calls_of_now = set()
        if state is State.CLOSED:
            self.history = []

    def lets_through(self, now: float) -> bool:
        if self.state is State.OPEN:
            return now - self.began >= OPEN_S
        return self.state is State.CLOSED or not self.calls_of_now or now - self.began >= PROBE_S


class BreakerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breaker = Breaker("part", FAILURES, WINDOW_S, OPEN_S, self.clock)
        self.model = Model(self.clock.now)
        self.calls: list[tuple[object, int]] = []  # under way: what the model knows them by, and their period
        self.opened = 0

    @rule(by=st.sampled_from([0.25, 1.0, 3.75, OPEN_S, WINDOW_S, PROBE_S, 60.0]))
    def time_passes(self, by: float) -> None:
        self.clock.now += by

    @rule()
    def somebody_calls(self) -> None:
        now = self.clock.now
        if not self.model.lets_through(now):
            with pytest.raises(BreakerOpen) as refused:
                self.breaker.allow()
            assert 0 < refused.value.retry_after_s <= OPEN_S
            return
        period = self.breaker.allow()
        if self.model.state is not State.CLOSED:
            self.model.become(State.HALF_OPEN, now)
        call = object()
        self.model.calls_of_now.add(call)
        self.calls.append((call, period))

    @precondition(lambda self: self.calls)
    @rule(which=st.randoms(use_true_random=False), outcome=st.sampled_from(["succeeded", "failed", "unused"]))
    def a_call_ends(self, which, outcome: str) -> None:
        call, period = self.calls.pop(which.randrange(len(self.calls)))
        getattr(self.breaker, outcome)(period)
        model, now = self.model, self.clock.now
        if call not in model.calls_of_now:
            return
        model.calls_of_now.discard(call)
        if model.state is State.HALF_OPEN and outcome == "succeeded":
            model.become(State.CLOSED, now)
        elif outcome == "failed":
            model.history.append(now)
            if model.state is State.HALF_OPEN or sum(now - WINDOW_S < at for at in model.history) >= FAILURES:
                model.become(State.OPEN, now)
                self.opened += 1

    @invariant()
    def both_agree(self) -> None:
        assert self.breaker.state is self.model.state
        assert self.breaker.since == self.model.began
        assert self.breaker.opened == self.opened


TestBreakerMachine = BreakerMachine.TestCase
