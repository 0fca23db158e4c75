"""One thread of one process of a host looks at the figures every few seconds, and raises and clears alerts.

Whoever holds the lock of a file in the instance folder evaluates. The kernel lets go of it when the process ends, however that
comes, and another one takes it at its next tick, with the states that were saved: so an alert fires once and clears once.
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from codyverse.operations.alerts.delivery import Delivery
from codyverse.operations.alerts.expressions import Reading, sums
from codyverse.operations.alerts.messages import Message, Sender
from codyverse.operations.alerts.readings import Readings
from codyverse.operations.alerts.rules import Rule
from codyverse.operations.alerts.states import FIRING, INACTIVE, PENDING, Standing, step
from codyverse.operations.alerts.store import AlertEvent, Change, Store
from codyverse.operations.gauges import Sample
from codyverse.operations.journal import UNUSABLE

log = logging.getLogger("codyverse.performance")

LOCK = "operations.lock"
CLOSE_S = 2.0
MISSED_TICKS = 3  # after which it was not only late
MOST_UNSAVED = 100  # events, while the journal cannot be written


class Evaluator:
    """The rules of a host, where their alerts stand, and the thread that looks."""

    def __init__(
        self,
        rules: Sequence[Rule],
        samples: Callable[[], Iterable[Sample]],
        store: Store,
        delivery: Delivery,
        sender: Sender,
        folder: Path,
        every_s: float,
        keep: Callable[[list[Sample], float], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`keep` is given the figures of every tick, for their history."""
        self._rules = rules
        self._samples = samples
        self._store = store
        self._delivery = delivery
        self._sender = sender
        self._folder = folder
        self._every_s = every_s
        self._keep = keep
        self._clock = clock
        self._counters = {str(counter): counter for rule in rules for counter in rule.expression.counters}.values()
        self._lock: int | None = None
        self._standings: dict[str, Standing] = {}
        self._readings = Readings(0)
        self._unsaved: list[AlertEvent] = []
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    @property
    def evaluates(self) -> bool:
        """Say whether it is this process that evaluates."""
        return self._lock is not None

    def start(self) -> None:
        """Begin to look."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._ended,), name="alerts", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more, and let another process do it."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._ended.set()
            thread.join(CLOSE_S)
        self._delivery.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def tick(self) -> None:
        """Look now, if it is this process that evaluates."""
        if self._lock is None and not self._take_lock():
            return
        # Moments on a grid, the same for every process: a window begins where something was read.
        now = math.floor(self._clock() / self._every_s) * self._every_s
        samples = list(self._samples())
        self._evaluate(samples, now)
        self._keep(samples, now)

    def _run(self, ended: threading.Event) -> None:
        while not ended.wait(self._every_s - self._clock() % self._every_s):  # a worker that begins has better things to do
            try:
                self.tick()
            except Exception:
                log.exception("alerts could not be evaluated")

    def _take_lock(self) -> bool:
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if isinstance(error, BlockingIOError):  # somebody else evaluates
                return False
            raise
        self._lock = lock
        readings = self._store.readings()
        self._standings = self._store.standings()
        if not readings or self._clock() - readings[-1][0] > MISSED_TICKS * self._every_s:
            # Nobody looked meanwhile: what was about to fire has not held for all that time.
            self._standings = {name: each for name, each in self._standings.items() if each.state != PENDING}
        self._readings = Readings(self._longest_s(), readings)
        self._delivery.start()
        return True

    def _longest_s(self) -> float:
        return max((rule.expression.longest_s for rule in self._rules), default=0.0)

    def _evaluate(self, samples: list[Sample], now: float) -> None:
        found = sums(self._counters, samples)
        self._readings.add(now, found)
        reading = Reading(now, samples, self._readings)
        before, rules = self._standings, {rule.name: rule for rule in self._rules}
        self._standings = {
            name: step(rule, before.get(name, Standing(INACTIVE, now)), rule.expression.value(reading), now)
            for name, rule in rules.items()
        }
        events = [event for name, each in self._standings.items() if (event := _event(name, before.get(name), each, now))]
        # An alert whose rule was removed while it fired would be on somebody's list for ever.
        gone = [name for name, each in before.items() if each.state == FIRING and name not in rules]
        events += [AlertEvent(now, name, "resolved", None) for name in gone]
        self._save(now, found, events, rules)
        for event in events:
            _log(event, rules.get(event.name))

    def _save(self, now: float, found: dict[str, float], events: list[AlertEvent], rules: dict[str, Rule]) -> None:
        self._unsaved = [*self._unsaved, *events][-MOST_UNSAVED:]
        messages: list[tuple[str, Message]] = []
        for event in self._unsaved:
            rule = rules.get(event.name)
            message = self._sender.message(str(uuid.uuid4()), event.at, event.name, event.state, event.value, rule)
            messages += [(channel, message) for channel in self._delivery.channels]
        oldest = self._readings.oldest(now)
        try:
            dropped = self._store.save(Change(self._standings, now, found, oldest, self._unsaved, messages))
        except UNUSABLE as error:
            log.warning("where alerts stand could not be saved: %s", type(error).__name__)
            return
        self._unsaved = []
        if dropped:
            log.error("%d messages about alerts were given up: too many wait", dropped)


def _event(name: str, before: Standing | None, after: Standing, now: float) -> AlertEvent | None:
    """Return what is to be told of a step, None when that is nothing."""
    fired = before is not None and before.state == FIRING
    fires = after.state == FIRING
    return None if fires == fired else AlertEvent(now, name, "firing" if fires else "resolved", after.value)


def _log(event: AlertEvent, rule: Rule | None) -> None:
    category = logging.getLogger(f"codyverse.{rule.category}") if rule else log
    severe = event.state == FIRING and rule is not None and rule.severity == "critical"
    category.log(
        logging.ERROR if severe else logging.WARNING,
        "alert %s: %s (%s), value %s, threshold %s, see %s",
        event.state,
        event.name,
        rule.severity if rule else "no rule",
        "unknown" if event.value is None else f"{event.value:.6g}",
        f"{rule.threshold:g}" if rule else "none",
        rule.runbook if rule else "the history",
    )
