"""The queue between event loop and threads beside a plain model of it, whatever happens in whatever order."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from codyverse.server.admission import LONG, PATIENCE, Class
from tests.front.admission_bench import ORDINARY, Bench, WouldWaitError


class Machine(RuleBasedStateMachine):
    """The queue beside a plain model of it."""

    @initialize(threads=strategies.integers(1, 6), depth=strategies.integers(1, 8), streams=strategies.integers(1, 4))
    def begin(self, threads: int, depth: int, streams: int) -> None:
        self.bench = Bench(threads, depth, stream_threads=streams)
        self.threads, self.depth, self.streams = threads, depth, streams
        self.waiting: dict[Class, list[tuple[float, int]]] = {klass: [] for klass in Class}
        self.running: Counter[Class] = Counter()
        self.numbers = itertools.count()
        self.gone: list[int] = []

    @rule(klass=strategies.sampled_from(Class), age_s=strategies.sampled_from([0.0, 0.2, 0.9, 1.1, 6.0]))
    def put(self, klass: Class, age_s: float) -> None:
        number = next(self.numbers)
        too_old = age_s > PATIENCE[klass]
        worst = max((other for other in Class if self.waiting[other]), default=None)
        ahead = [other for other in Class if self.waiting[other] and (other == klass or (other < klass and klass not in LONG))]
        full = self._size() == self.depth
        shed = self.bench.put(klass, number, age_s)
        self.waiting[klass].append((self.bench.time.now - age_s, number))
        self.waiting[klass].sort()
        if not shed:
            assert not full
            return
        [(victim, item)] = shed
        if item != number:
            assert not too_old and victim > klass
            assert self.waiting[victim][-1][1] == item, "it was not the newest"
            if full:
                assert victim == worst, "somebody worse was kept"
            else:
                assert victim not in LONG and klass not in LONG, "who waits for other threads has nothing to do with it"
                assert victim == max(other for other in Class if self.waiting[other] and other not in LONG)
        elif full and not too_old:
            assert worst is not None and worst <= klass, "somebody worse was kept"
        elif not too_old:
            assert ahead, "shed though nobody waited"
            if klass not in LONG:
                behind = [other for other in Class if self.waiting[other] and other > klass and other not in LONG]
                assert not behind, "somebody worse was kept"
        self._go(victim, item)

    @precondition(lambda self: self._next() is not None)
    @rule()
    def get(self) -> None:
        expected = self._next()
        assert expected is not None
        got = self.bench.get()
        assert got == (expected, self.waiting[expected][0][1])
        self._go(*got)
        self.running[expected] += 1

    @precondition(lambda self: self._next() is None)
    @rule()
    def get_nobody(self) -> None:
        with pytest.raises(WouldWaitError):
            self.bench.get()

    @precondition(lambda self: self.running.total())
    @rule(data=strategies.data(), seconds=strategies.sampled_from([0.0001, 0.01, 1.0, 30.0]))
    def done(self, data: strategies.DataObject, seconds: float) -> None:
        klass = data.draw(strategies.sampled_from(sorted(self.running.elements())))
        self.bench.queue.done(klass, seconds)
        self.running[klass] -= 1

    @rule(seconds=strategies.sampled_from([0.001, 0.1, 0.4, 2.0]))
    def pass_time(self, seconds: float) -> None:
        self.bench.time.now += seconds

    @rule()
    def expire(self) -> None:
        now = self.bench.time.now
        late = {(klass, number) for klass in Class for since, number in self.waiting[klass] if now - since > PATIENCE[klass]}
        expired = self.bench.queue.expired()
        assert set(expired) == late and len(expired) == len(late)
        for klass, number in expired:
            self._go(klass, number)

    @invariant()
    def shares_are_kept(self) -> None:
        if not hasattr(self, "bench"):
            return
        assert self._size() <= self.depth
        assert self.bench.queue.waiting() == {klass: len(line) for klass, line in self.waiting.items()}
        assert self.bench.queue.running() == {klass: self.running[klass] for klass in Class}
        assert len(self.gone) == len(set(self.gone)), "somebody came out twice"
        if self.threads > 1:
            assert sum(self.running[klass] for klass in ORDINARY) < self.threads
            assert self.running[Class.AUTH] < self.threads and self.running[Class.HEALTH] < self.threads

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        self.bench.queue.close()
        left = [item for _, item in self.bench.queue.expired()]
        assert sorted(self.gone + left) == list(range(next(self.numbers))), "somebody was lost"

    def _size(self) -> int:
        return sum(map(len, self.waiting.values()))

    def _go(self, klass: Class, item: int) -> None:
        self.waiting[klass] = [each for each in self.waiting[klass] if each[1] != item]
        self.gone.append(item)

    def _next(self) -> Class | None:
        return next((klass for klass in Class if self.waiting[klass] and self._may(klass)), None)

    def _may(self, klass: Class) -> bool:
        most = max(1, self.threads - 1)
        own = {
            Class.STREAM: min(self.streams, max(1, self.threads - 2)),
            Class.SLOW: max(1, self.threads // 4),
            Class.STATIC: max(1, self.threads // 2),
        }
        return (
            self.running[klass] < own.get(klass, most)
            and (klass <= Class.AUTH or sum(self.running[other] for other in ORDINARY) < most)
            and (klass not in LONG or sum(self.running[other] for other in LONG) < max(1, self.threads - 2))
        )


Machine.TestCase.settings = hypothesis_settings(max_examples=150, stateful_step_count=60, deadline=None)
TestMachine = Machine.TestCase
