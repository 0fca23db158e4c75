"""How many reads of lessons are answered without the database, over HTTP: finished answers, L1 and L2 at their default sizes.

    python -m benchmarks.hit_rate_http [--operations 240000]

2,000 lessons in courses of twenty, read by Zipf's law; one operation of ten is a completion by one of 200 learners. Four
applications stand for four workers of a host. A read is a hit if it sent no statement. The first half warms up: each worker keeps
finished answers of its own, so it must have met the rarer lessons twice; with 40,000 operations only nine of ten reads are hits.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask

import config
from benchmarks.hit_rate import LESSONS, LESSONS_A_COURSE, PROCESSES, SHARE_OF_WRITES, zipf
from benchmarks.place import SETTINGS, prepare
from codyverse import create_app
from codyverse.database import Database
from codyverse.learning.models import courses, lesson_versions, lessons, modules
from codyverse.operations import components, tallies

LEARNERS = 200
SETTINGS_OF_A_BENCH = SETTINGS | {"trusted_proxies": 0, "https": False, "session_cookie_secure": False}


def multiply(database: Database) -> list[int]:
    """Copy a theory lesson of the catalogue until there are enough; returns the copies' ids."""
    with database.transaction() as tx:
        model = tx.execute(sa.select(lesson_versions).where(lesson_versions.c.kind == "theory").limit(1)).one()._asdict()
        course = tx.execute(sa.select(courses).limit(1)).one()._asdict()
        made: list[int] = []
        for number in range(LESSONS // LESSONS_A_COURSE):
            copied = course | {"slug": f"copy-{number}", "position": 1000 + number}
            del copied["id"]
            course_id = tx.execute(courses.insert().values(copied).returning(courses.c.id)).scalar_one()
            module = {"course_id": course_id, "slug": "all", "title": "All", "position": 0}
            module_id = tx.execute(modules.insert().values(module).returning(modules.c.id)).scalar_one()
            for position in range(LESSONS_A_COURSE):
                lesson = {
                    "course_id": course_id,
                    "module_id": module_id,
                    "slug": f"l{position}",
                    "position": position,
                    "version": 1,
                }
                lesson_id = tx.execute(lessons.insert().values(lesson).returning(lessons.c.id)).scalar_one()
                tx.execute(lesson_versions.insert().values(model | {"lesson_id": lesson_id, "number": 1}))
                made.append(lesson_id)
    return made


def tokens(app: Flask) -> list[str]:
    """Register learners and return a token of each."""
    made = []
    for number in range(LEARNERS):
        client = app.test_client()
        details = {
            "email": f"l{number}@example.org",
            "password": "seven quiet otters",
            "display_name": "L",
            "birth_date": "1990-01-01",
        }
        answer = client.post("/api/v1/auth/register", json=details)
        headers = {"X-CSRF-Token": answer.headers["X-CSRF-Token"]}
        wanted = {"name": "t", "scopes": ["learning:write"]}
        made.append(client.post("/api/v1/auth/tokens", json=wanted, headers=headers).json["token"])  # type: ignore[index]
    return made


@dataclass(frozen=True, slots=True)
class Result:
    """What reads met: each share is of the reads that came to that tier, `together` of all."""

    finished: float
    l1: float
    l2: float
    together: float


def measure(folder: Path, s: float, operations: int, seed: int = 1) -> Result:
    """Return the shares of the reads that were hits."""
    chance = random.Random(seed)  # the same mix each time
    settings = config.load(environment="production", instance_path=folder, memory_path=str(folder), **SETTINGS_OF_A_BENCH)
    apps = [create_app(settings) for _ in range(PROCESSES)]
    sent = [0]
    for app in apps:
        engine: Any = app.extensions["codyverse.database"].engine

        @sa.event.listens_for(engine, "before_cursor_execute")
        def count(*arguments: Any) -> None:
            sent[0] += 1

    prepare(apps[0])
    ids, secrets = multiply(apps[0].extensions["codyverse.database"]), tokens(apps[0])
    clients = [app.test_client() for app in apps]
    next_lesson = zipf(s, chance)
    reads = hits = 0
    before_all: dict[str, float] = {}
    for number in range(operations):
        if number == operations // 2:
            before_all = _lookups(apps)
        client, lesson_id = chance.choice(clients), ids[next_lesson()]
        if chance.random() < SHARE_OF_WRITES:
            headers = {"Authorization": f"Bearer {chance.choice(secrets)}"}
            assert client.post(f"/api/v1/lessons/{lesson_id}/completions", json={}, headers=headers).status_code in (200, 201)
            continue
        before = sent[0]
        assert client.get(f"/api/v1/lessons/{lesson_id}").status_code == 200
        if number >= operations // 2:
            reads += 1
            hits += sent[0] == before
    met = {name: amount - before_all.get(name, 0) for name, amount in _lookups(apps).items()}
    for app in apps:
        components.of(app).close()
    l1, l2 = (met.get(f"hit:{tier}", 0) for tier in ("l1", "l2"))
    loaded = reads - hits
    return Result(1 - (l1 + l2 + loaded) / reads, l1 / (l1 + l2 + loaded), l2 / (l2 + loaded), hits / reads)


def _lookups(apps: list[Flask]) -> dict[str, float]:
    """Return what look-ups of the cache have met; the applications of a host add up what they count."""
    for app in apps:
        tallies.of(app).flush()
    return {name.removeprefix("cache:"): amount for name, amount in tallies.of(apps[0]).totals("cache:").items()}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=240_000)
    arguments = parser.parse_args()
    for s in (1.1, 1.0):
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:  # noqa: S108
            found = measure(Path(folder), s, arguments.operations)
        tiers = f"finished answers {found.finished:.1%}, then L1 {found.l1:.1%}, then L2 {found.l2:.1%}"
        print(f"s = {s}: {tiers}; together {found.together:.1%} of the reads sent no statement", flush=True)


if __name__ == "__main__":
    sys.exit(main())
