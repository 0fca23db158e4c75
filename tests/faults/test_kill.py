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
from datetime import date

import pytest
import requests
import sqlalchemy as sa

import config
from codyverse.accounts import service as accounts
from codyverse.database import Database
from codyverse.learning import content
from codyverse.learning.models import completions, lesson_versions, lessons
from codyverse.learning.service.catalogue import import_catalogue
from codyverse.rewards import verification
from codyverse.rewards.models import ledger_entries, wallets
from tests.server import ROOT, Server, wait_until

FULL = os.environ.get("FAULTS") == "full"
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


@pytest.fixture
def lesson_ids(database) -> list[int]:
    """Lessons of the real catalogue that are completed without a quiz."""
    import_catalogue(database, content.read(ROOT / "content"))
    query = sa.select(lessons.c.id).join(lesson_versions).where(lesson_versions.c.kind != "quiz").order_by(lessons.c.id)
    with database.read() as reader:
        return list(reader.execute(query).scalars())[:LESSONS]


def make_learners(database: Database) -> list[tuple[int, str]]:
    """Make learners and return the id and an API token of each."""
    with database.transaction() as tx:
        ids = [
            accounts.create_user(
                tx, email=f"learner{i}@example.org", password_hash="-", display_name="Ada", birth_date=date(1990, 12, 10)
            )
            for i in range(LEARNERS)
        ]
    secret_key = config.load(environment="testing").secret_key
    return [
        (user_id, accounts.create_token(database, None, secret_key, user_id, "t", ["learning:write"], None)["token"])
        for user_id in ids
    ]


def test_kill_9_loses_nothing_and_rewards_nothing_twice(database, database_url, lesson_ids, tmp_path, rows):
    work: queue.Queue[tuple[int, str, int]] = queue.Queue()
    jobs = [(user_id, token, lesson) for user_id, token in make_learners(database) for lesson in lesson_ids]
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

    stored = {(row["user_id"], row["lesson_id"]): row for row in rows(completions)}
    assert len(outcome.acknowledged) == COMPLETIONS
    assert stored.keys() == outcome.acknowledged.keys(), "an acknowledged completion was lost, or one appeared"
    awards = Counter((row["source"], row["currency"]) for row in rows(ledger_entries))
    assert awards == {(f"completion:{row['id']}", currency): 1 for row in stored.values() for currency in ("xp", "coins")}, (
        "a completion was rewarded twice, or never"
    )
    for (user_id, lesson_id), body in outcome.acknowledged.items():
        assert body["xp_awarded"] == stored[user_id, lesson_id]["xp_awarded"]
    earned = sum(row["xp_awarded"] for row in stored.values())
    assert sum(row["xp"] for row in rows(wallets)) == earned
    verified = verification.verify(database)
    assert verified.total == 0 and verified.entries == 2 * COMPLETIONS
    print(
        f"\n{database.dialect}: {len(kills)} workers killed during {COMPLETIONS} completions; "
        f"{outcome.broken_connections} broken connections, answers {dict(outcome.statuses)}; "
        f"0 lost, 0 twice, ledger difference {verified.total}"
    )
