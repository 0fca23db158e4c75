"""How an overload goes, in time that the test makes."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from codyverse.server.admission import PATIENCE, Class
from tests.front.admission_bench import Bench, WouldWaitError


class Simulation:
    """Threads that serve what arrives, in time that the test makes: how an overload goes, whatever machine this is."""

    def __init__(self, threads: int, service_s: Callable[[Class], float]) -> None:
        self.bench = Bench(threads)
        self.idle = threads
        self.served: Counter[Class] = Counter()
        self.waits_s: dict[Class, list[float]] = defaultdict(list)
        self.shed_at_once: Counter[Class] = Counter()
        self.shed_late: Counter[Class] = Counter()
        self.arrived: Counter[Class] = Counter()
        self.deepest = 0
        self._service_s = service_s

    def run(self, arrivals: Iterator[tuple[float, Class]], until_s: float) -> None:
        """Serve who arrives until then, by times from now."""
        began = self.bench.time.now
        numbers = itertools.count()
        events: list[tuple[float, int, Any]] = [(began + at, next(numbers), ("arrive", klass)) for at, klass in arrivals]
        events += [(began + tick / 10, next(numbers), ("tick", None)) for tick in range(int(until_s * 10))]
        heapq.heapify(events)
        while events:
            at, _, (what, klass) = heapq.heappop(events)
            self.bench.time.now = at
            if what == "arrive":
                self.arrived[klass] += 1
                for victim, since in self.bench.put(klass, at):
                    (self.shed_at_once if at - since < 0.05 else self.shed_late)[victim] += 1
            elif what == "done":
                self.idle += 1
                self.bench.queue.done(*klass)
            else:
                self.shed_late.update(victim for victim, _ in self.bench.queue.expired())
            self.deepest = max(self.deepest, sum(self.bench.queue.waiting().values()))
            self._take(events, numbers)

    def _take(self, events: list[tuple[float, int, Any]], numbers: Iterator[int]) -> None:
        while self.idle:
            try:
                got = self.bench.get()
            except WouldWaitError:
                return
            assert got is not None
            klass, since = got
            self.idle -= 1
            self.served[klass] += 1
            self.waits_s[klass].append(self.bench.time.now - since)
            seconds = self._service_s(klass)
            heapq.heappush(events, (self.bench.time.now + seconds, next(numbers), ("done", (klass, seconds))))


MIXED = {Class.HEALTH: 1, Class.AUTH: 4, Class.SUBMISSION: 15, Class.API: 30, Class.PAGE: 30, Class.STATIC: 20}


def arrivals(seed: int, a_second: float, seconds: float, mix: dict[Class, int] = MIXED) -> Iterator[tuple[float, Class]]:
    """Yield who arrives when: at random, on average so many a second."""
    source, at = random.Random(seed), 0.0
    while (at := at + source.expovariate(a_second)) < seconds:
        yield at, source.choices(list(mix), list(mix.values()))[0]


@pytest.mark.parametrize("seed", range(3))
def test_an_overload_of_three_times_the_capacity(seed: int):
    source = random.Random(seed)
    simulation = Simulation(4, lambda klass: source.expovariate(100))  # 400 a second with all four threads, 300 with three
    simulation.run(arrivals(seed, 1200, 20), 20)
    served, arrived, shed = simulation.served, simulation.arrived, simulation.shed_at_once + simulation.shed_late
    for klass in (Class.HEALTH, Class.AUTH, Class.SUBMISSION):
        assert served[klass] == arrived[klass], klass
    assert simulation.deepest < 1000
    assert simulation.shed_late.total() < 0.05 * shed.total()
    assert served.total() > 0.9 * 300 * 20
    shares = [shed[klass] / arrived[klass] for klass in (Class.API, Class.PAGE, Class.STATIC)]
    assert shares == sorted(shares) and shares[0] < 0.75 and shares[2] > 0.9
    assert max(simulation.waits_s[Class.API]) < PATIENCE[Class.API] + 0.1


def test_after_an_overload_everybody_is_served_again():
    source = random.Random(4)
    simulation = Simulation(4, lambda klass: source.expovariate(100))
    simulation.run(arrivals(4, 1200, 5), 8)
    before = simulation.shed_at_once + simulation.shed_late
    simulation.run(arrivals(5, 150, 10), 12)
    assert simulation.shed_at_once + simulation.shed_late == before


def test_when_all_that_is_ordinary_hangs_health_and_sign_in_go_on():
    simulation = Simulation(4, lambda klass: 30.0 if klass > Class.AUTH else 0.05)
    simulation.run(arrivals(6, 40, 20), 20)
    for klass in (Class.HEALTH, Class.AUTH):
        assert simulation.served[klass] == simulation.arrived[klass]
        assert max(simulation.waits_s[klass]) < 1.0
