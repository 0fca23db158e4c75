"""A worker and its memory, with RSS and time that the test moves; and what keeps things for it, when it shrinks."""

from __future__ import annotations

import random

import pytest

from codyverse.operations.cache.entries import Entry
from codyverse.operations.cache.process import ProcessTier
from codyverse.operations.components import Components
from codyverse.server.budget import budget_bytes, limit_bytes, rss_bytes
from codyverse.server.memory import EVERY_S, Level, Memory
from codyverse.server.responses import Responses
from codyverse.server.trend import FEWEST, SAMPLES, Trend
from tests.conftest import make_settings

MB = 1_000_000


class Process:
    """A worker of 100 MB with its memory."""

    def __init__(self, folder, **chosen):
        chosen = {"memory_worker_mb": 100, "memory_window_requests": 300, "memory_forecast_s": 60.0} | chosen
        self.settings = make_settings(folder, "sqlite:///x", **chosen)
        self.rss, self.now, self.requests, self.given_back = 50 * MB, 0.0, 0, 0
        self.shrunk, self.counts, self.parts = [], {}, Components()
        self.parts.add("cache", lambda: None, shrink=self.shrink)
        self.memory = Memory(self.settings, 2, self.parts, self.count, lambda: self.now, lambda: int(self.rss))

    def count(self, name, amount=1):
        self.counts[name] = self.counts.get(name, 0) + amount

    def shrink(self, share):
        self.shrunk.append(share)
        if share == 0.0:
            self.rss -= self.given_back

    def at(self, megabytes, running=0, after_s=EVERY_S, requests=0):
        self.rss, self.now, self.requests = megabytes * MB, self.now + after_s, self.requests + requests
        return self.memory.check(self.requests, running)


@pytest.fixture
def process(tmp_path):
    process = Process(tmp_path)
    yield process
    process.parts.close()


def test_each_level_acts_once(process):
    assert process.at(74) is None and process.shrunk == []
    assert process.at(76) is None and process.shrunk == [0.5]
    assert process.at(80, after_s=60) is None and process.shrunk == [0.5]
    assert process.at(86, after_s=60) is None and process.shrunk == [0.5, 0.0, 0.5]
    assert process.at(87, after_s=60) is None and process.shrunk == [0.5, 0.0, 0.5]
    verdict = process.at(96, after_s=60)
    assert verdict is not None and verdict.reason == "it holds 96.0 MB of 100.0 MB" and not verdict.emergency
    assert process.at(97, after_s=60) is None
    emergency = process.at(100, after_s=60)
    assert emergency is not None and emergency.emergency
    assert process.at(150, after_s=60) is None
    assert process.counts == {f"memory:{level}": 1 for level in ("warned", "collected", "retiring", "emergency")}


def test_a_level_does_not_flap(process):
    for _ in range(10):
        process.at(76, after_s=60)
        process.at(71, after_s=60)  # 75 without 5: not far enough below
    assert process.shrunk == [0.5]
    process.at(69, after_s=60)
    assert process.shrunk == [0.5, 1.0] and process.memory.level == Level.CALM
    process.at(76, after_s=60)
    assert process.shrunk == [0.5, 1.0, 0.5]


def test_what_is_given_back_spares_the_worker(process):
    process.given_back = 40 * MB
    assert process.at(99) is None
    assert process.memory.level == Level.COLLECTED
    process.given_back = 0
    assert process.at(99, after_s=60) is not None


def test_it_looks_at_most_once_a_tick(process):
    process.at(50)
    assert process.at(99, after_s=EVERY_S / 10) is None and process.shrunk == []
    assert process.at(99, after_s=EVERY_S) is not None


def test_a_steady_leak_is_foreseen_and_waits_for_a_quiet_moment(process):
    for number in range(SAMPLES + 5):  # 10 kB a request, 10 requests a second: 33 MB would take 330 s
        assert process.at(50 + number / 10, running=0, after_s=1, requests=10) is None, number
    process.now += 10_000
    process.memory._trend.forget()
    verdicts = []
    for number in range(SAMPLES + 5):  # 100 kB a request: 1 MB/s
        verdicts.append(process.at(35 + number, running=9, after_s=1, requests=10))
    assert not any(verdicts), "a busy worker is left alone while there is time"
    quiet = process.at(70, running=1, after_s=1, requests=10)
    assert quiet is not None and "its memory grows, and would last for 25 s more" in quiet.reason
    assert process.at(71, running=0, after_s=1, requests=10) is None, "once is enough"


def test_a_process_that_warms_up_is_no_leak(process):
    for number in range(3 * SAMPLES):
        assert process.at(90 - 60 * 0.85**number - 20, after_s=1, requests=10) is None


def test_a_leak_without_forecast_when_that_is_off(tmp_path):
    process = Process(tmp_path, memory_forecast_s=0.0)
    assert not any(process.at(30 + number, after_s=10, requests=10) for number in range(44))
    process.parts.close()


def test_who_grows_too_fast_for_a_replacement_asks_when_warned(process):
    assert not any(process.at(60 + number, requests=1) for number in range(15))  # 10 MB/s, and 5 s until a new one serves
    verdict = process.at(75.5)
    assert verdict is None  # the warning itself
    verdict = process.at(76)
    assert verdict is not None and "more every second" in verdict.reason and not verdict.emergency
    assert process.at(77) is None


def test_the_leak_is_reported_with_its_place(tmp_path, caplog):
    process = Process(tmp_path, memory_trace=True)
    kept = []
    for number in range(60):
        if process.memory.level:
            kept.append(bytearray(300_000))
        process.at(40 + number, running=9, after_s=100, requests=100)
    process.memory.report()
    process.parts.close()
    assert "memory leak: 10000 bytes a request over 2900 requests, 99.0 MB of 100.0 MB" in caplog.text
    assert "grown most: " in caplog.text and "test_memory.py" in caplog.text
    assert process.counts["memory-leak:requests"] == 2900
    assert process.counts["memory-leak:bytes"] == pytest.approx(29 * MB, rel=0.01)


def test_health_tells(process):
    process.at(86)
    health = process.parts.health()["memory"]
    assert health == {"status": "ok", "level": "collected", "rss_mb": 86.0, "budget_mb": 100.0, "bytes_a_request": None}


def test_the_trend_is_not_moved_by_a_few_samples_far_off():
    trend, chance = Trend(SAMPLES * 10), random.Random(7)
    for number in range(SAMPLES):
        far_off = 50 * MB if number in (7, 15, 22) else 0
        trend.add(number * 10, 100 * MB + number * 10_000 + chance.randint(-500, 500) + far_off, number)
        assert (trend.slope is None) == (number + 1 < FEWEST)
    assert trend.slope == pytest.approx(1000, rel=0.1)
    assert trend.requests_a_second == 10


def test_noise_is_no_steady_growth():
    trend, chance = Trend(SAMPLES), random.Random(7)
    for number in range(10 * SAMPLES):
        trend.add(number, 100 * MB + chance.randint(0, MB), number)
        assert not trend.steady


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/a/b", {"a/b/memory.max": "300000000", "a/memory.max": "max"}, 300_000_000),
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "200000000"}, 200_000_000),
        ("0::/", {"memory.max": "100000000"}, 100_000_000),
        ("3:cpu,memory:/d/e", {"memory/d/e/memory.limit_in_bytes": "400000000"}, 400_000_000),
        ("3:memory:/on/the/host", {"memory/memory.limit_in_bytes": "500000000"}, 500_000_000),
        ("3:memory:/", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("0::/a", {}, None),
    ],
)
def test_the_limit_is_the_containers(tmp_path, groups, files, limit):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(f"1:name=systemd:/\n{groups}\n")
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    machine = limit_bytes(tmp_path / "nowhere")
    assert limit_bytes(tmp_path) == (limit or machine)
    settings = make_settings(tmp_path, "sqlite:///x", memory_share=0.5)
    assert budget_bytes(settings, 4, tmp_path) == (limit or machine) // 8
    assert budget_bytes(make_settings(tmp_path, "sqlite:///x", memory_worker_mb=70), 4, tmp_path) == 70 * MB


def test_rss_is_what_the_process_holds():
    before = rss_bytes()
    kept = bytearray(b"x") * (50 * MB)
    assert 45 * MB < rss_bytes() - before < 60 * MB
    del kept


def test_l1_shrinks_and_recovers():
    tier = ProcessTier(10, 60, lambda name: None)

    def fill():
        for number in range(20):
            tier.put(Entry(str(number), b"body", 1, (), 0.0, 1e12))

    fill()
    tier.shrink(0.5)
    assert tier.size().entries == 5 and tier.get("19") and not tier.get("10"), "who was not used for longest goes"
    assert tier.size().bytes == 20
    fill()
    assert tier.size().entries == 5
    tier.shrink(0.0)
    assert tier.size() == (0, 0)
    tier.put(Entry("a", b"body", 1, (), 0.0, 1e12))
    tier.shrink(1.0)
    fill()
    assert tier.size().entries == 10


def test_finished_answers_shrink_and_recover():
    class Always:
        def fresh(self, as_of, slots):
            return True

    store = Responses(10 * MB, 60, Always(), {})

    def fill():
        for number in range(20):
            entry = store.make("/", [("A", "b")], b"x" * 600_000, False, 1, ())
            store.keep(("http", "host", f"/{number}", "", ""), entry)

    fill()
    assert len(store) == 16
    store.shrink(0.5)
    assert len(store) == 8 and store.size_bytes <= 5 * MB
    assert store.find(("http", "host", "/19", "", "")) is not None
    store.shrink(0.0)
    assert (len(store), store.size_bytes) == (0, 0)
    store.shrink(1.0)
    fill()
    assert len(store) == 16
    store.clear()
    assert (len(store), store.size_bytes) == (0, 0)
