"""Workers are killed with SIGKILL while learners complete lessons: nothing acknowledged is lost, nothing is rewarded twice.

Short form in `make test`; `make faults` runs the full one.
"""

from __future__ import annotations

import os
import queue
import random
import signal
import threading
import uuid
from collections import Counter
from dataclasses import dataclass, field

import requests

from tests.faults.completions import FULL, Job, assert_each_took_effect_once, make_jobs
from tests.server import Server, wait_until

LEARNERS = 100 if FULL else 20
LESSONS = 20
COMPLETIONS = LEARNERS * LESSONS  # 2,000 in full
CLIENTS = 16
COMPLETIONS_A_KILL = 50
TRIES = 200


@dataclass
class Outcome:
    """What the clients saw."""

    acknowledged: dict[tuple[int, int], dict] = field(default_factory=dict)
    statuses: Counter = field(default_factory=Counter)
    broken_connections: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def complete(url: str, token: str, lesson_id: int, outcome: Outcome) -> dict:
    """Complete a lesson as a client on a bad network would: the same key until there is an answer."""
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid.uuid4())}
    for _ in range(TRIES):
        try:
            answer = requests.post(f"{url}/api/v1/lessons/{lesson_id}/completions", json={}, headers=headers, timeout=30)
        except requests.RequestException:
            with outcome.lock:
                outcome.broken_connections += 1
            threading.Event().wait(0.05)
            continue
        with outcome.lock:
            outcome.statuses[answer.status_code] += 1
        if answer.status_code in (200, 201):
            return answer.json()
        assert answer.status_code in (409, 503), answer.text
        threading.Event().wait(0.05)
    raise AssertionError("no answer")


def test_kill_9_loses_nothing_and_rewards_nothing_twice(database, database_url, tmp_path):
    work: queue.Queue[Job] = queue.Queue()
    jobs = make_jobs(database, LEARNERS, LESSONS)
    random.shuffle(jobs)
    for job in jobs:
        work.put(job)
    outcome, kills, failures = Outcome(), [], []

    def client(url: str) -> None:
        while True:
            try:
                user_id, token, lesson_id = work.get_nowait()
            except queue.Empty:
                return
            try:
                body = complete(url, token, lesson_id, outcome)
            except BaseException as error:
                failures.append(error)
                raise
            with outcome.lock:
                outcome.acknowledged[user_id, lesson_id] = body

    with Server(tmp_path, database_url) as server:
        threads = [threading.Thread(target=client, args=(server.url,)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for milestone in range(COMPLETIONS_A_KILL, COMPLETIONS, COMPLETIONS_A_KILL):
            wait_until(lambda at=milestone: len(outcome.acknowledged) >= at or bool(failures), within_s=120)
            wait_until(lambda: len(server.workers()) == 2)
            victim = random.choice(server.workers())
            os.kill(victim, signal.SIGKILL)
            kills.append(victim)
        for thread in threads:
            thread.join(120)
    assert not failures
    assert len(kills) == COMPLETIONS // COMPLETIONS_A_KILL - 1

    assert len(outcome.acknowledged) == COMPLETIONS
    assert_each_took_effect_once(database, outcome.acknowledged)
    print(
        f"\n{database.dialect}: {len(kills)} workers killed during {COMPLETIONS} completions; "
        f"{outcome.broken_connections} broken connections, answers {dict(outcome.statuses)}; "
        f"0 lost, 0 twice, ledger difference 0"
    )
