"""The queue between event loop and threads: its order, its shares, and who is refused."""

from __future__ import annotations

import heapq
import itertools
import queue
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from codyverse.operations import metrics, tallies
from codyverse.server.admission import LONG, PATIENCE, Admission, Class, classify, for_worker, waiting_since
from tests.conftest import make_settings
from tests.server import wait_until

ORDINARY = [klass for klass in Class if klass > Class.AUTH]


class Time:
    """A monotonic clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class WouldWaitError(Exception):
    """There is nobody whom this thread may serve now."""


class Bench:
    """A queue whose clock is the test's, and of which `get` says that it would wait instead of waiting."""

    def __init__(self, threads: int = 4, depth: int = 1000, **more: Any) -> None:
        self.time = Time()
        self.counts: Counter[str] = Counter()
        self.queue: Admission[Any] = Admission(threads, depth, self.count, self.time, **more)
        self.queue._change.wait = self._would_wait  # type: ignore[method-assign]

    def count(self, name: str) -> None:
        self.counts[name] += 1

    def put(self, klass: Class, item: Any = None, age_s: float = 0.0) -> list[tuple[Class, Any]]:
        return self.queue.put(klass, item, self.time.now - age_s)

    def get(self) -> tuple[Class, Any] | None:
        return self.queue.get()

    def take_all(self) -> list[Class]:
        """Have as many threads take somebody as may, and return whom they took."""
        taken = []
        while True:
            try:
                got = self.get()
            except WouldWaitError:
                return taken
            assert got is not None
            taken.append(got[0])

    def teach(self, klass: Class, seconds: float) -> None:
        """Have requests of a class take so long, as far as the queue has seen, without any load by them now."""
        for _ in range(100):
            self.put(klass)
            assert self.get()
            self.queue.done(klass, seconds)
        self.time.now += 600

    @staticmethod
    def _would_wait(timeout: float | None = None) -> bool:
        raise WouldWaitError


@pytest.mark.parametrize(
    ("method", "path", "accept", "chunked", "klass"),
    [
        ("GET", "/livez", "*/*", False, Class.HEALTH),
        ("GET", "/metrics", "text/event-stream", False, Class.HEALTH),
        ("GET", "/livez/", "*/*", False, Class.PAGE),
        ("GET", "/Livez", "*/*", False, Class.PAGE),
        ("GET", "//livez", "*/*", False, Class.PAGE),
        ("POST", "/api/v1/auth/login", "application/json", False, Class.AUTH),
        ("POST", "/api/v1/auth/login", "text/event-stream", False, Class.AUTH),
        ("GET", "/api/v1/authors", "*/*", False, Class.API),
        ("POST", "/api/v1/lessons/1/completions", "*/*", False, Class.SUBMISSION),
        ("PUT", "/api/v1/attempts/1/answers/a", "*/*", False, Class.SUBMISSION),
        ("DELETE", "/api/v1/courses/a/enrolment", "*/*", False, Class.SUBMISSION),
        ("GET", "/api/v1/courses", "application/json", False, Class.API),
        ("OPTIONS", "/api/v1/courses", "*/*", False, Class.API),
        ("GET", "/", "text/html", False, Class.PAGE),
        ("GET", "/api", "text/html", False, Class.PAGE),
        ("GET", "/static/app.js", "*/*", False, Class.STATIC),
        ("GET", "/media/a/b/c.png", "image/*", False, Class.STATIC),
        ("POST", "/api/v1/events", "*/*", False, Class.STATIC),
        ("POST", "/api/v1/csp-reports", "*/*", False, Class.STATIC),
        ("POST", "/api/v1/tutor/conversations/1/messages", "Text/Event-Stream, */*;q=0.1", False, Class.STREAM),
        ("POST", "/api/v1/lessons/1/completions", "*/*", True, Class.SLOW),
        ("GET", "/livez", "*/*", True, Class.SLOW),
    ],
)
def test_classes(method: str, path: str, accept: str, chunked: bool, klass: Class):
    assert classify(method, path, accept, chunked) is klass


def test_every_route_has_the_class_that_it_is_meant_to_have(app):
    by_class = defaultdict(set)
    for found in app.url_map.iter_rules():
        for method in found.methods - {"HEAD", "OPTIONS"}:
            by_class[classify(method, found.rule, "*/*", False)].add(found.endpoint)
    assert by_class[Class.HEALTH] == {"health.livez", "health.readyz", "health.health", "prometheus_metrics"}
    assert by_class[Class.AUTH] >= {"accounts.log_in", "accounts.register", "accounts.log_out"}
    assert by_class[Class.STATIC] == {"static", "pages.image", "events.tell_events", "csp_reports.receive"}
    assert by_class[Class.SUBMISSION] >= {"progress.complete_lesson", "attempts.put_answer", "attempts.submit_attempt"}
    assert {endpoint.split(".")[0] for endpoint in by_class[Class.PAGE]} <= {"pages", "docs"}


@pytest.mark.parametrize(
    ("started", "waited"),
    [
        ("t=1700000000.250", 0.75),
        ("1700000000250", 0.75),
        ("t=1700000000250000", 0.75),
        ("t=1700000000", 1.0),
        ("t=1700000001.001", 0.0),  # ahead of us
        ("t=1699999900", 0.0),
        (None, 0.0),
        ("", 0.0),
        ("t=", 0.0),
        ("t=-5", 0.0),
        ("t=1e9", 0.0),
        ("t=17000000002500", 0.0),
        ("t=١٧٠٠٠٠٠٠٠٠", 0.0),
        ("t=1700000000.250, t=1700000000.250", 0.0),
    ],
)
def test_since_when_a_proxy_says_that_a_request_waits(started: str | None, waited: float):
    assert waiting_since(started, now=50.0, wall=1_700_000_001.0) == pytest.approx(50.0 - waited, abs=1e-3)


def test_the_best_class_is_served_first_and_its_oldest():
    bench = Bench(threads=100, stream_threads=100)
    in_order = [(klass, age) for klass in Class for age in (3, 2, 1)]
    for klass, age in random.Random(1).sample(in_order, len(in_order)):
        assert bench.put(klass, age, age_s=age / 100) == []
    assert [bench.get() for _ in in_order] == in_order


@pytest.mark.parametrize("threads", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("klass", list(Class))
def test_no_class_gets_every_thread(threads: int, klass: Class):
    bench = Bench(threads)
    for _ in range(threads):
        bench.put(klass)
    assert len(bench.take_all()) == bench.queue.running()[klass] < threads


@pytest.mark.parametrize("threads", [2, 3, 4, 8])
@pytest.mark.parametrize("best", [Class.HEALTH, Class.AUTH])
def test_health_and_sign_in_find_a_thread_while_everything_else_hangs(threads: int, best: Class):
    bench = Bench(threads)
    for klass in ORDINARY:
        for _ in range(threads):
            bench.put(klass)
    assert len(bench.take_all()) == threads - 1
    bench.put(best)
    assert bench.take_all() == [best]


def test_the_only_thread_serves_everybody():
    bench = Bench(threads=1)
    for klass in reversed(Class):
        bench.put(klass)
    served = []
    for _ in Class:
        served += bench.take_all()
        bench.queue.done(served[-1], 0.01)
    assert served == list(Class)


def test_streams_and_slow_bodies_leave_a_thread_to_others():
    bench = Bench(threads=4)
    for _ in range(5):
        bench.put(Class.STREAM)
        bench.put(Class.SLOW)
    assert bench.take_all() == [Class.STREAM, Class.STREAM]
    bench.put(Class.PAGE)
    assert bench.take_all() == [Class.PAGE]
    bench.queue.done(Class.STREAM, 20.0)
    assert bench.take_all() == [Class.STREAM]


def test_the_share_of_streams_is_a_setting():
    bench = Bench(threads=10, stream_threads=5)
    for _ in range(9):
        bench.put(Class.STREAM)
    assert bench.take_all() == [Class.STREAM] * 5


def test_when_it_is_full_the_newest_of_the_worst_class_goes():
    bench = Bench(threads=2, depth=3)
    bench.put(Class.PAGE, "running")
    bench.take_all()
    bench.put(Class.STATIC, "older", age_s=0.1)
    bench.put(Class.STATIC, "newer")
    bench.put(Class.PAGE, "page")
    assert bench.put(Class.STATIC, "late") == [(Class.STATIC, "late")]
    assert bench.put(Class.SUBMISSION, "work") == [(Class.STATIC, "newer")]
    assert bench.put(Class.HEALTH, "health") == [(Class.STATIC, "older")]
    assert bench.put(Class.SUBMISSION, "more work") == [(Class.PAGE, "page")]
    assert bench.put(Class.SUBMISSION, "too much") == [(Class.SUBMISSION, "too much")]
    assert sum(bench.queue.waiting().values()) == 3
    assert bench.counts["admission:static:full"] == 3
    assert bench.counts["admission:page:full"] == bench.counts["admission:submission:full"] == 1


def test_who_would_wait_too_long_hears_it_on_arrival():
    bench = Bench(threads=2)
    bench.teach(Class.PAGE, 0.1)
    bench.put(Class.PAGE)
    bench.take_all()
    sheds = [bench.put(Class.PAGE, number) for number in range(20)]
    assert sheds == [[]] * 6 + [[(Class.PAGE, number)] for number in range(6, 20)]  # one thread, half of a budget of 1 s
    assert bench.counts["admission:page:late"] == 14


def test_a_submission_is_never_shed_before_a_page():
    bench = Bench(threads=2)
    bench.teach(Class.SUBMISSION, 1.0)
    bench.put(Class.SUBMISSION)
    bench.take_all()
    for page in range(3):
        assert bench.put(Class.PAGE, page) == []
    shed = [bench.put(Class.SUBMISSION, number) for number in range(7)]
    assert [each[0] for each in shed if each] == [
        (Class.PAGE, 2),
        (Class.PAGE, 1),
        (Class.PAGE, 0),
        *((Class.SUBMISSION, number) for number in range(5, 7)),
    ]


def test_a_late_stream_pushes_nobody_out_and_a_late_page_no_stream():
    bench = Bench(threads=4)
    bench.teach(Class.STREAM, 20.0)
    bench.teach(Class.PAGE, 0.5)
    for klass in (Class.STREAM, Class.STREAM, Class.PAGE):
        bench.put(klass)
    assert len(bench.take_all()) == 3
    assert bench.put(Class.STREAM, "first") == []  # nobody waits
    assert bench.put(Class.PAGE, "page") == []
    assert bench.put(Class.STREAM, "late") == [(Class.STREAM, "late")]
    assert bench.put(Class.PAGE, "second") == []
    assert bench.put(Class.PAGE, "late") == [(Class.PAGE, "late")]


def test_a_late_submission_pushes_no_stream_out():
    bench = Bench(threads=4)
    bench.teach(Class.SUBMISSION, 3.0)
    for klass in (Class.STREAM, Class.STREAM, Class.SUBMISSION):
        bench.put(klass)
    assert len(bench.take_all()) == 3
    for klass in (Class.STREAM, Class.SUBMISSION):
        assert bench.put(klass) == []
    assert bench.put(Class.SUBMISSION, "late") == [(Class.SUBMISSION, "late")]


def test_slow_streams_do_not_make_pages_look_late():
    bench = Bench(threads=4)
    bench.teach(Class.STREAM, 0.001)
    for _ in range(2):
        bench.put(Class.STREAM)
    bench.take_all()
    for _ in range(100):
        bench.put(Class.STREAM)
    bench.queue._service_s[Class.STREAM] = 30.0
    bench.put(Class.PAGE)
    assert bench.take_all() == [Class.PAGE]
    for _ in range(50):
        assert bench.put(Class.PAGE) == []


def test_a_thread_that_waited_because_streams_had_their_share_serves_the_next_one():
    admission: Admission[str] = Admission(4, 10, lambda name: None, stream_threads=1)
    for name in ("first", "second"):
        admission.put(Class.STREAM, name, time.monotonic())
    assert admission.get() == (Class.STREAM, "first")
    got: list[Any] = []
    server = threading.Thread(target=lambda: got.append(admission.get()), daemon=True)
    server.start()
    wait_until(lambda: bool(admission._change._waiters))  # type: ignore[attr-defined]
    admission.done(Class.STREAM, 1.0)
    wait_until(lambda: bool(got), within_s=5)
    server.join()
    assert got == [(Class.STREAM, "second")]


def test_an_estimate_that_is_far_too_high_mends_itself():
    bench = Bench(threads=2)
    bench.teach(Class.API, 60.0)
    refused = 0
    for _ in range(500):  # two at a time, each served in a millisecond
        shed = bench.put(Class.API) + bench.put(Class.API) + bench.put(Class.API)
        refused = len(shed)
        while bench.take_all():
            bench.time.now += 0.001
            bench.queue.done(Class.API, 0.001)
    assert refused == 0
    assert bench.counts["admission:api:late"] > 0


def test_work_of_better_classes_makes_others_late_sooner():
    admitted = {}
    for busy in (False, True):
        bench = Bench(threads=4)
        bench.teach(Class.PAGE, 0.01)
        if busy:
            for _ in range(300):
                bench.put(Class.SUBMISSION)
                bench.take_all()
                bench.time.now += 0.01
                bench.queue.done(Class.SUBMISSION, 0.024)
        for _ in range(3):
            bench.put(Class.PAGE)
        bench.take_all()
        admitted[busy] = sum(not bench.put(Class.PAGE) for _ in range(1000))
    assert 100 < admitted[False] < 200
    assert admitted[True] < 0.5 * admitted[False]


def test_who_stands_still_at_the_head_of_the_line_tells_that_the_threads_hang():
    bench = Bench(threads=2)
    bench.teach(Class.API, 0.001)
    bench.put(Class.API)
    bench.take_all()
    assert bench.put(Class.API, "first") == []
    bench.time.now += 0.4
    assert bench.put(Class.API, "second") == []
    bench.time.now += 0.2
    assert bench.put(Class.API, "third") == [(Class.API, "third")]
    bench.time.now += 0.5
    assert bench.queue.expired() == [(Class.API, "first")]


@pytest.mark.parametrize("klass", list(Class))
def test_each_class_waits_for_its_budget_and_no_longer(klass: Class):
    bench = Bench(threads=1, wait_s=2.0)
    bench.put(Class.HEALTH)
    bench.take_all()
    bench.put(klass, "waits")
    bench.time.now += 2.0 * PATIENCE[klass] - 0.01
    assert bench.queue.expired() == []
    bench.time.now += 0.02
    assert bench.queue.expired() == [(klass, "waits")]
    assert bench.queue.expired() == []
    assert bench.counts[f"admission:{klass.name.lower()}:late"] == 1


def test_budgets_follow_the_order_of_importance():
    in_one_line = [PATIENCE[klass] for klass in Class if klass not in LONG]
    assert in_one_line == sorted(in_one_line, reverse=True)
    assert PATIENCE[Class.SUBMISSION] > PATIENCE[Class.API]


def test_who_waited_too_long_in_the_proxy_is_served_only_by_a_thread_that_has_nothing_to_do():
    bench = Bench(threads=2)
    assert bench.put(Class.PAGE, age_s=30.0) == []
    bench.take_all()
    assert bench.put(Class.PAGE, "old", age_s=1.1) == [(Class.PAGE, "old")]
    assert bench.put(Class.PAGE, "young", age_s=0.9) == []


def test_what_is_counted():
    bench = Bench(threads=4)
    for age_s in (0.0, 0.05, 0.5):
        bench.put(Class.API, age_s=age_s)
    bench.put(Class.AUTH, age_s=2.0)
    assert len(bench.take_all()) == 4
    assert bench.counts == {
        "admission:api:admitted": 3,
        "admission:auth:admitted": 1,
        "admission-waits:api:0.01 s": 1,
        "admission-waits:api:0.1 s": 1,
        "admission-waits:api:1 s": 1,
        "admission-waits:auth:longer": 1,
    }
    assert bench.queue.running()[Class.API] == 3
    assert set(bench.queue.waiting()) == set(Class)


def test_closed_it_admits_and_serves_nobody_and_gives_back_who_waits():
    bench = Bench()
    bench.put(Class.PAGE, "waits")
    bench.queue.close()
    assert bench.get() is None
    assert bench.put(Class.HEALTH, "late") == [(Class.HEALTH, "late")]
    assert bench.queue.expired() == [(Class.PAGE, "waits")]
    assert bench.counts == {"admission:health:closed": 1, "admission:page:closed": 1}


def test_the_settings_of_a_worker(tmp_path):
    settings = make_settings(
        tmp_path, f"sqlite:///{tmp_path}/a.sqlite3", admission_queue=2, admission_wait_s=7.0, admission_stream_threads=3
    )
    made: Admission[int] = for_worker(settings, 8, lambda name: None)
    assert made._depth == 2 and made._budgets[Class.PAGE] == 7.0 and made._most[Class.STREAM] == 3


def test_what_is_counted_becomes_figures(app):
    made: Admission[int] = Admission(2, 1, tallies.of(app).count, lambda: 0.0)
    made.put(Class.API, 1, 0.0)
    assert made.get() == (Class.API, 1)
    made.put(Class.API, 2, 0.0)
    made.put(Class.API, 3, 0.0)
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in metrics._FromTallies(tallies.of(app)).collect()
        for sample in family.samples
        if sample.name.startswith("codyverse_admission")
    }
    assert samples == {
        ("codyverse_admission_total", "api", "admitted"): 1,
        ("codyverse_admission_total", "api", "full"): 1,
        ("codyverse_admission_waits_total", "api", "0.01 s"): 1,
    }


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


def test_threads_serve_each_item_once():
    """Eight threads take what two event loops put; streams and files are held back by their shares all the while."""
    admission: Admission[int] = Admission(8, 50, lambda name: None)
    served: queue.SimpleQueue[int] = queue.SimpleQueue()
    shed: queue.SimpleQueue[int] = queue.SimpleQueue()
    held: Counter[Class] = Counter()
    broken: list[str] = []
    guard = threading.Lock()

    def serve() -> None:
        while (got := admission.get()) is not None:
            klass, item = got
            with guard:
                held[klass] += 1
                if held[klass] > 7 or sum(held[other] for other in ORDINARY) > 7:
                    broken.append(klass.name)
            served.put(item)
            with guard:
                held[klass] -= 1
            admission.done(klass, 0.00001)

    def put(first: int) -> None:
        source = random.Random(first)
        for item in range(first, first + 3000):
            for _, out in admission.put(source.choice(list(Class)), item, time.monotonic()):
                shed.put(out)

    servers = [threading.Thread(target=serve) for _ in range(8)]
    putters = [threading.Thread(target=put, args=(first,)) for first in (0, 3000)]
    for thread in (*servers, *putters):
        thread.start()
    for thread in putters:
        thread.join()
    wait_until(lambda: not sum(admission.waiting().values()))
    admission.close()
    for thread in servers:
        thread.join(10)
        assert not thread.is_alive()
    assert not broken
    assert not any(admission.running().values())
    out = [source.get_nowait() for source in (served, shed) for _ in range(source.qsize())]
    assert sorted(out) == list(range(6000)), "somebody was lost, or came out twice"
