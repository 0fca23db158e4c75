"""The queue between event loop and threads: its order, its shares, and who is refused."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import Counter
from typing import Any

import pytest

from codyverse.operations import tallies
from codyverse.operations.metric_families import FromTallies
from codyverse.server.admission import LONG, PATIENCE, Admission, Class, for_worker
from tests.conftest import make_settings
from tests.front.admission_bench import ORDINARY, Bench
from tests.server import wait_until


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
        for family in FromTallies(tallies.of(app)).collect()
        for sample in family.samples
        if sample.name.startswith("codyverse_admission")
    }
    assert samples == {
        ("codyverse_admission_total", "api", "admitted"): 1,
        ("codyverse_admission_total", "api", "full"): 1,
        ("codyverse_admission_waits_total", "api", "0.01 s"): 1,
    }


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
