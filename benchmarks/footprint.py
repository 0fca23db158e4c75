"""`python -m benchmarks.footprint`: what a learner, a worker and a password take.

Learners have the history that `make scale` gives them: one to two courses, four lessons completed, one quiz. Writes
benchmarks/results/<date>-footprint.md and .json, which `benchmarks.capacity` reads.
"""

from __future__ import annotations

import argparse
import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis
import sqlalchemy as sa

from benchmarks import bench, cases, history, load, place, results
from benchmarks.results import Table
from codyverse.accounts import passwords
from codyverse.database import Database
from codyverse.operations.limits.shared import REDIS_PREFIX
from tests.server import Server

LEARNERS = 100_000
AT_A_TIME = 20_000  # learners a transaction
VISITORS = 1_000  # who may come
SECONDS = 30
PASSWORDS = 20
ACCOUNT = re.compile(rb"account:[0-9]+")
PAGES = ("Rss", "Pss", "Private_Dirty")  # of /proc/<pid>/smaps_rollup
Row = dict[str, Any]


def stored(learners: int) -> list[Row]:
    """Return for each table, and for all, what it takes on disk with its indexes."""
    with ExitStack() as stack:
        path, url = stack.enter_context(place.folder()), stack.enter_context(place.postgresql_database())
        app = stack.enter_context(place.application(path, url, feature_caching=False, feature_optimization=False))
        place.prepare(app)
        database = place.database_of(app)
        chosen = history.paths(database, lessons_each=3, joined=2)
        for first in range(1, learners + 1, AT_A_TIME):
            history.fill(database, first, min(first + AT_A_TIME - 1, learners), chosen)
        history.analyze(database)
        return sizes(database, learners)


def sizes(database: Database, learners: int) -> list[Row]:
    """Return the sizes of the tables that grow with the learners, the largest first, and of all together."""
    query = """SELECT count(*) AS rows, pg_table_size('{0}') AS "table bytes", pg_indexes_size('{0}') AS "index bytes" FROM {0}"""
    rows: list[Row] = []
    with database.read() as reader:
        for name in history.TABLES:
            found = reader.execute(sa.text(query.format(name))).mappings().one()
            rows.append({"table": name, **found})
    rows.sort(key=lambda row: row["table bytes"] + row["index bytes"], reverse=True)
    rows.append({"table": "all", **{name: sum(row[name] for row in rows) for name in ("rows", "table bytes", "index bytes")}})
    for row in rows:
        row["bytes a learner"] = round((row["table bytes"] + row["index bytes"]) / learners, 1)
    return rows


def served(seconds: float, **chosen: Any) -> tuple[list[Row], list[Row]]:
    """Return what each process takes after that many seconds of visits, with the settings chosen, and what Redis does."""
    with ExitStack() as stack:
        path, url = stack.enter_context(place.folder()), stack.enter_context(place.postgresql_database())
        address = stack.enter_context(bench.redis())
        ground = stack.enter_context(cases.ground(path, url, learners=VISITORS))
        server = stack.enter_context(place.service(path, url, redis_url=address, **chosen))
        people = load.Population(ground.first, ground.first + VISITORS - 1, ground.people())
        outcome = load.run(server.port, seconds, people, connections=100, a_minute=12_000)
        seen = {"requests": outcome.requests, "failed": outcome.failed}
        return [seen | row for row in held(server)], kept(stack.enter_context(redis.Redis.from_url(address)))


def kept(client: redis.Redis) -> list[Row]:
    """Return how many counters and entries of the cache Redis has, and what one of each takes."""
    counters = list(client.scan_iter(match=f"{REDIS_PREFIX}:*", count=1000))
    entries = list(client.scan_iter(match="{codyverse:cache:*}:entry:*", count=1000))
    clients = {found[0] for key in counters if (found := ACCOUNT.search(key))}
    return [
        {
            "what": "counters of limits",
            "count": len(counters),
            "clients": len(clients),
            "bytes each": _bytes_each(client, counters),
        },
        {"what": "entries of the cache", "count": len(entries), "clients": None, "bytes each": _bytes_each(client, entries)},
    ]


def _bytes_each(client: redis.Redis, keys: list[bytes]) -> float:
    sizes = [client.memory_usage(key) or 0 for key in keys]  # one may have ended in between
    return round(sum(sizes) / max(1, len(sizes)), 1)


def held(server: Server) -> list[Row]:
    """Return for the master and each worker what memory it has, in MiB. Pss shares out what processes have in common."""
    return [{"process": "master", **_pages(server.process.pid)}] + [
        {"process": "worker", **_pages(pid)} for pid in server.workers()
    ]


def _pages(pid: int) -> dict[str, float]:
    lines = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()[1:])
    kib = {words[0].rstrip(":"): int(words[1]) for words in lines}
    return {f"{name} MiB": round(kib[name] / 1024, 1) for name in PAGES}


def signing_in() -> list[Row]:
    """Return what it takes of a processor to check a password, which is meant to be dear."""
    kept = passwords.hash_password(history.PASSWORD)
    began = time.process_time()
    for _ in range(PASSWORDS):
        passwords.matches(history.PASSWORD, kept)
    return [{"what": "a password is checked", "cpu_us": round((time.process_time() - began) / PASSWORDS * 1e6, 1)}]


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description="Measure what a learner and a worker take.")
    parser.add_argument("--learners", type=int, default=LEARNERS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long the server is visited")
    parser.add_argument("--into", type=Path, help="folder of the results instead of benchmarks/results")
    chosen = parser.parse_args()
    facts = results.machine()
    tables = [Table("Database", stored(chosen.learners), f"{chosen.learners:,} learners on PostgreSQL.")]
    workers, shared = served(chosen.seconds)
    tables += [
        Table("Passwords", signing_in()),
        Table("Processes", workers),
        Table("Redis", shared, "MEMORY USAGE of each key, when the visits were over."),
    ]
    print(results.write("footprint", "Footprint", facts, tables, chosen.into).read_text("utf-8"))


if __name__ == "__main__":
    main()
