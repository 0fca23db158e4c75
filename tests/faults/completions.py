"""Learners who complete lessons, and the proof that each completion took effect, and was rewarded, once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import date
from typing import Any, NamedTuple

import sqlalchemy as sa

import config
from codyverse.accounts import service as accounts
from codyverse.database import Database
from codyverse.learning import content
from codyverse.learning.models import completions, lesson_versions, lessons
from codyverse.learning.service.catalogue import import_catalogue
from codyverse.rewards import verification
from codyverse.rewards.models import ledger_entries, wallets
from tests.server import ROOT

FULL = os.environ.get("FAULTS") == "full"


class Job(NamedTuple):
    """A lesson that a learner is going to complete."""

    user_id: int
    token: str
    lesson_id: int


def import_lessons(database: Database, most: int) -> list[int]:
    """Import the real catalogue and return lessons that are completed without a quiz."""
    import_catalogue(database, content.read(ROOT / "content"))
    query = sa.select(lessons.c.id).join(lesson_versions).where(lesson_versions.c.kind != "quiz").order_by(lessons.c.id)
    with database.read() as reader:
        return list(reader.execute(query).scalars())[:most]


def make_learners(database: Database, number: int) -> list[tuple[int, str]]:
    """Make learners and return the id and an API token of each."""
    with database.transaction() as tx:
        ids = [
            accounts.create_user(
                tx, email=f"learner{i}@example.org", password_hash="-", display_name="Ada", birth_date=date(1990, 12, 10)
            )
            for i in range(number)
        ]
    secret_key = config.load(environment="testing").secret_key
    return [
        (user_id, accounts.create_token(database, None, secret_key, user_id, "t", ["learning:write"], None)["token"])
        for user_id in ids
    ]


def make_jobs(database: Database, learners: int, most_lessons: int = 100) -> list[Job]:
    """Return every lesson for each of so many learners."""
    lesson_ids, made = import_lessons(database, most_lessons), make_learners(database, learners)
    return [Job(*learner, lesson_id) for lesson_id in lesson_ids for learner in made]


def assert_each_took_effect_once(database: Database, acknowledged: Mapping[tuple[int, int], dict[str, Any]]) -> None:
    """Compare what was acknowledged, by learner and lesson, with the completions, the ledger and the wallets."""
    stored = {(row["user_id"], row["lesson_id"]): row for row in _rows(database, completions)}
    assert stored.keys() == acknowledged.keys(), "an acknowledged completion was lost, or one appeared"
    for done, body in acknowledged.items():
        assert body["xp_awarded"] == stored[done]["xp_awarded"]
    awards = Counter((row["source"], row["currency"]) for row in _rows(database, ledger_entries))
    assert awards == {(f"completion:{row['id']}", currency): 1 for row in stored.values() for currency in ("xp", "coins")}, (
        "a completion was rewarded twice, or never"
    )
    assert sum(row["xp"] for row in _rows(database, wallets)) == sum(row["xp_awarded"] for row in stored.values())
    verified = verification.verify(database)
    assert verified.total == 0 and verified.entries == 2 * len(stored)


def _rows(database: Database, table: sa.Table) -> Collection[dict[str, Any]]:
    with database.read() as reader:
        return [dict(row._mapping) for row in reader.execute(sa.select(table))]
