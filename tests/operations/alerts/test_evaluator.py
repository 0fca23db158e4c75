"""Who evaluates, what becomes of states when processes end, and what is told once."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codyverse.operations.alerts.delivery import Delivery
from codyverse.operations.alerts.evaluator import Evaluator
from codyverse.operations.alerts.expressions import Level, Rise, Selector
from codyverse.operations.alerts.messages import Sender
from codyverse.operations.alerts.rules import Rule
from codyverse.operations.alerts.store import Store
from codyverse.operations.gauges import Sample
from codyverse.operations.journal import NAME, Journal
from tests.server import wait_until

START = 1_800_000_000.0
TICK_S = 15.0


def rule(name: str = "QueueLong", for_s: float = 0, clear_s: float = 0, **changed: Any) -> Rule:
    level = Level(Selector("queue"), "max")
    known = {"severity": "critical", "category": "database", "summary": "Many wait.", "anchor": "queuelong", "expression": level}
    return Rule(name=name, comparison="above", threshold=5, for_s=for_s, clear_s=clear_s, **{**known, **changed})


RISING = rule("ErrorsRise", expression=Rise(Selector("errors_total"), 60))


class Host:
    """Figures, a clock, and the evaluators of a host's processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = START
        self.queue = 0.0
        self.errors = 0.0
        self.kept: list[float] = []
        self.store = Store(Journal(folder / NAME))
        self._opened: list[Evaluator] = []

    def samples(self) -> list[Sample]:
        return [Sample("queue", {"worker": "0"}, self.queue), Sample("errors_total", {}, self.errors)]

    def process(self, *rules: Rule) -> Evaluator:
        delivery = Delivery(self.store, (), lambda name: None)
        delivery.channels = ("webhook",)  # so that something is to be sent, and nobody sends it
        evaluator = Evaluator(
            rules or (rule(),),
            self.samples,
            self.store,
            delivery,
            Sender("here", "testing"),
            self.folder,
            TICK_S,
            lambda samples, now: self.kept.append(now),
            lambda: self.now,
        )
        self._opened.append(evaluator)
        return evaluator

    def tick(self, evaluator: Evaluator, **figures: float) -> None:
        self.now += TICK_S
        for name, value in figures.items():
            setattr(self, name, value)
        evaluator.tick()

    def state(self, name: str = "QueueLong") -> str:
        return self.store.standings()[name].state

    def events(self) -> list[tuple[str, str]]:
        return [(event.name, event.state) for event in reversed(self.store.events(100))]

    def close(self) -> None:
        for evaluator in self._opened:
            evaluator.close()


@pytest.fixture
def host(tmp_path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.close()


def test_it_works(host, caplog):
    process = host.process(rule(for_s=30, clear_s=30))
    states = []
    with caplog.at_level(logging.WARNING, "codyverse"):
        for queue in (5, 6, 6, 6, 7, 5, 6, 5, 5, 5):
            host.tick(process, queue=queue)
            states.append(host.state())
    assert states == ["inactive", "pending", "pending", *["firing"] * 6, "inactive"]
    assert host.events() == [("QueueLong", "firing"), ("QueueLong", "resolved")]
    assert [(r.name, r.levelname, r.getMessage().split(",")[0]) for r in caplog.records if "alert" in r.getMessage()] == [
        ("codyverse.database", "ERROR", "alert firing: QueueLong (critical)"),
        ("codyverse.database", "WARNING", "alert resolved: QueueLong (critical)"),
    ]
    message = host.store.next_message("webhook")
    assert message is not None
    assert (message.message.alert, message.message.state, message.message.value) == ("QueueLong", "firing", 6)


def test_a_pending_alert_that_calms_down_says_nothing(host):
    process = host.process(rule(for_s=60))
    for queue in (6, 6, 6, 6, 5, 6, 6):
        host.tick(process, queue=queue)
    assert host.state() == "pending"
    assert host.events() == []


def test_what_was_about_to_fire_has_not_held_while_nobody_looked(host):
    first = host.process(rule(for_s=60))
    host.tick(first, queue=6)
    assert host.state() == "pending"
    first.close()
    host.now += 36_000
    second = host.process(rule(for_s=60))
    host.tick(second, queue=6)
    assert (host.state(), host.events()) == ("pending", [])
    for _ in range(6):
        host.tick(second, queue=6)
    assert host.events() == [("QueueLong", "firing")]


def test_one_process_evaluates_and_another_goes_on(host):
    first, second = host.process(), host.process()
    host.tick(first, queue=9)
    second.tick()
    assert (first.evaluates, second.evaluates) == (True, False)
    assert host.events() == [("QueueLong", "firing")]
    first.close()
    host.tick(second, queue=9)
    assert second.evaluates
    assert host.events() == [("QueueLong", "firing")], "it fired once more"
    host.tick(second, queue=1)
    assert host.events() == [("QueueLong", "firing"), ("QueueLong", "resolved")]


def test_one_that_is_killed_is_followed_at_the_next_tick(host):
    pid = os.fork()
    if pid == 0:
        try:
            host.tick(host.process(rule(), RISING), queue=9)
            (host.folder / "evaluates").touch()
            signal.pause()
        finally:
            os._exit(1)
    wait_until((host.folder / "evaluates").exists)
    second = host.process(rule(), RISING)
    host.now += TICK_S
    host.tick(second)
    assert not second.evaluates
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    host.tick(second, queue=9)
    assert second.evaluates
    assert host.events() == [("QueueLong", "firing")]
    # What the other had read counts: within a minute of it, errors are known to have risen.
    host.tick(second, queue=1, errors=6)
    host.tick(second, errors=6)
    assert host.events()[1:] == [("QueueLong", "resolved"), ("ErrorsRise", "firing")]


def test_a_rise_is_known_once_there_is_something_to_compare_with(host):
    process = host.process(RISING)
    for _ in range(4):
        host.tick(process, errors=1000)  # counted long ago
    assert host.state("ErrorsRise") == "inactive"
    host.tick(process, errors=1005)
    assert host.state("ErrorsRise") == "inactive"
    host.tick(process, errors=1006)
    assert host.state("ErrorsRise") == "firing"
    host.tick(process, errors=2)  # begun anew
    assert host.state("ErrorsRise") == "inactive"
    assert host.store.standings()["ErrorsRise"].value == 2


def test_after_a_long_pause_nothing_is_concluded_from_before_it(host):
    process = host.process(RISING)
    for _ in range(5):
        host.tick(process, errors=0)
    host.now += 3600
    host.tick(process, errors=1000)
    assert host.store.standings()["ErrorsRise"].value is None
    assert host.events() == []


def test_an_alert_whose_rule_is_gone_is_resolved(host):
    first = host.process(rule(), rule("Other"))
    host.tick(first, queue=9)
    first.close()
    host.tick(host.process(rule()), queue=9)
    assert host.events() == [("QueueLong", "firing"), ("Other", "firing"), ("Other", "resolved")]
    assert list(host.store.standings()) == ["QueueLong"]


def test_a_clock_that_is_set_back_keeps_nothing_for_ever(host):
    process = host.process(rule(for_s=30), RISING)
    for _ in range(6):
        host.tick(process, queue=9)
    assert host.state() == "firing"
    host.now -= 86_400
    host.tick(process, queue=9)
    assert host.store.standings()["QueueLong"].since <= host.now
    host.tick(process, queue=1)
    for _ in range(3):
        host.tick(process, queue=9)
    assert host.events() == [("QueueLong", "firing"), ("QueueLong", "resolved"), ("QueueLong", "firing")]
    assert [at for at, _ in host.store.readings() if at > host.now] == []


def test_events_that_cannot_be_saved_are_saved_later(host, caplog):
    process = host.process()
    host.tick(process, queue=1)
    journal = host.folder / NAME
    journal.rename(host.folder / "away")
    journal.mkdir()
    with caplog.at_level(logging.WARNING, "codyverse"):
        host.tick(process, queue=9)
    assert "alert firing: QueueLong" in caplog.text, "what cannot be saved is said all the same"
    assert "could not be saved" in caplog.text
    journal.rmdir()
    (host.folder / "away").rename(journal)
    host.tick(process, queue=9)
    assert host.events() == [("QueueLong", "firing")]
    assert host.store.next_message("webhook") is not None


def test_a_broken_journal_is_made_anew(host):
    process = host.process()
    host.tick(process, queue=1)
    (host.folder / NAME).write_bytes(b"this is no database, and long enough to be taken for one" * 100)
    host.tick(process, queue=9)
    assert host.events() == [("QueueLong", "firing")]


def test_what_is_kept_is_bounded(host, monkeypatch):
    monkeypatch.setattr("codyverse.operations.alerts.store.MOST_EVENTS", 10)
    monkeypatch.setattr("codyverse.operations.alerts.store.MOST_WAITING", 5)
    process = host.process(rule(), RISING)
    for number in range(60):
        host.tick(process, queue=9 * (number % 2))
    assert len(host.store.events(1000)) == 10
    assert len(host.store.readings()) == (60 + 300) / TICK_S + 1
    oldest = host.store.next_message("webhook")
    assert oldest is not None and oldest.message.at == "2027-01-15T08:14:00Z"


def test_a_tick_that_fails_is_not_the_last(host, caplog):
    failing: list[Callable[[], Any]] = [lambda: 1 / 0]

    def samples() -> list[Sample]:
        if failing:
            failing.pop()()
        return [Sample("queue", {}, 9)]

    host.samples = samples
    process = host.process()
    process._every_s = 0.05
    process.start()
    wait_until(lambda: host.store.events(1) != [])
    assert "alerts could not be evaluated" in caplog.text


def test_every_tick_is_kept_for_the_history(host):
    process = host.process()
    host.tick(process)
    host.tick(process)
    assert host.kept == [START + TICK_S, START + 2 * TICK_S]
