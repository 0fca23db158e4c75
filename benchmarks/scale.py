"""`make scale`: the main calls at 1,000, 100,000 and 1,000,000 learners with history, on PostgreSQL.

The learners who are measured have the same history at each size, so what differs is how much others have left in the tables.
Caches are off. Writes benchmarks/results/<date>-scale.md and .json; exits 1 when a call takes more than 3 times as long as at the
first size, a large table is read as a whole, or the ledger does not add up.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import sqlalchemy as sa
from flask import Flask

from benchmarks import calls, history, place, plans, results
from benchmarks.results import Table, mark
from codyverse.learning.models import courses

SIZES = (1_000, 100_000, 1_000_000)
MEASURED = 200  # learners at each size, each of them once
LARGEST_RATIO = 3.0
CACHES_OFF = {"feature_caching": False, "feature_optimization": False}
AT_A_TIME = 100_000  # learners a transaction
Row = dict[str, Any]


class Scale:
    """One database that grows."""

    def __init__(self, app: Flask, verifier: Flask) -> None:
        self._app = app
        self._verifier = verifier
        self._database = place.database_of(app)
        self._paths = history.paths(self._database, lessons_each=3, joined=2)
        with self._database.read() as reader:
            self._slugs = {row.id: row.slug for row in reader.execute(sa.select(courses.c.id, courses.c.slug))}
        self._done = 0
        self._used: set[int] = set()
        self._chance = random.Random(4)

    def grow(self, learners: int) -> Row:
        """Fill up to that many learners; return how long it took and what the ledger says."""
        began = time.monotonic()
        for first in range(self._done + 1, learners + 1, AT_A_TIME):
            history.fill(self._database, first, min(first + AT_A_TIME - 1, learners), self._paths)
        history.analyze(self._database)
        filled_s = round(time.monotonic() - began, 1)
        self._done = learners
        with self._database.read() as reader:
            rows = sum(reader.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one() for table in history.TABLES)
        verified = self._verifier.test_cli_runner().invoke(args=["ledger", "verify"])
        return {
            "learners": learners,
            "rows": rows,
            "filled in s": filled_s,
            "flask ledger verify": verified.output.strip(),
            "met": mark(verified.exit_code == 0 and verified.output.startswith("difference 0 ")),
        }

    def measure(self) -> tuple[dict[str, tuple[float, float]], dict[str, plans.Plan]]:
        """Return of each call the medians, in all and in statements, in milliseconds, and its plan."""
        population = [user_id for user_id in range(1, self._done + 1) if user_id not in self._used]
        chosen = self._chance.sample(population, min(MEASURED, len(population) // 4))
        self._used.update(chosen)
        learners = [self._learner(user_id) for user_id in chosen]
        figures, found = {}, {}
        with calls.passwords_unchecked():
            for call in calls.CALLS:
                taken = [calls.measure(self._app, call, learner) for learner in learners]
                figures[call.name] = (
                    median(one.seconds for one in taken) * 1000,
                    median(one.statement_seconds for one in taken) * 1000,
                )
                with self._database.read() as reader:
                    found[call.name] = plans.explain(reader.connection, taken[-1].statements)
        return figures, found

    def _learner(self, user_id: int) -> calls.Learner:
        number = user_id % len(self._paths)
        other = self._paths[(number + 1) % len(self._paths)]  # of another course nothing is done yet
        slug = self._slugs[self._paths[number].course_ids[0]]
        return calls.Learner(user_id, self._app.test_client(), slug, other.steps[0].lesson_id, other.steps[-1].lesson_id)


def scale(sizes: Sequence[int]) -> list[Table]:
    """Fill, measure, compare, and return the tables."""
    filled: list[Row] = []
    measured: list[dict[str, tuple[float, float]]] = []
    found: dict[str, plans.Plan] = {}
    options = {"max_wal_size": "8GB", "checkpoint_timeout": "30min", "shared_buffers": "1GB"}
    with ExitStack() as stack:
        path, url = stack.enter_context(place.folder()), stack.enter_context(place.postgresql_database(**options))
        app = stack.enter_context(place.application(path, url, **CACHES_OFF))
        # Reading the whole ledger takes longer than a statement of a request may.
        verifier = stack.enter_context(place.application(path, url, **CACHES_OFF, database_statement_timeout_s=600.0))
        place.prepare(app)
        growing = Scale(app, verifier)
        for learners in sizes:
            filled.append(growing.grow(learners))
            print(f"  {filled[-1]}", flush=True)
            figures, found = growing.measure()
            measured.append(figures)
        filled.append(growing.grow(sizes[-1]) | {"filled in s": None})  # once more, with what was measured in it
    times = [_compared(name, sizes, measured) for name in measured[0]]
    indexes = [_planned(name, plan) for name, plan in found.items()]
    return [
        Table("Filled", filled, "The last line is the ledger after the measurements, which complete lessons, too."),
        Table(
            "Times", times, f"Medians of {MEASURED} learners in ms. Statements: as the driver sees them, without Python around."
        ),
        Table(
            "Plans", indexes, f"At {sizes[-1]:,} learners. Tables of fewer than {plans.LARGE_ROWS:,} rows may be read as a whole."
        ),
    ]


def _compared(name: str, sizes: Sequence[int], measured: list[dict[str, tuple[float, float]]]) -> Row:
    row: Row = {"call": name}
    for number, what in enumerate(("in all", "statements")):
        for learners, figures in zip(sizes, measured, strict=True):
            row[f"{what}, {learners:,}"] = round(figures[name][number], 3)
        row[f"{what}, ratio"] = round(max(figures[name][number] for figures in measured) / measured[0][name][number], 2)
    return row | {"met": mark(max(row["in all, ratio"], row["statements, ratio"]) <= LARGEST_RATIO)}


def _planned(name: str, plan: plans.Plan) -> Row:
    return {
        "call": name,
        "indexes": ", ".join(sorted(plan.indexes)),
        "large tables read as a whole": ", ".join(sorted(plan.large_scans)),
        "met": mark(not plan.large_scans),
    }


def main() -> None:
    """Run, print, write; exit 1 when a floor is missed."""
    parser = argparse.ArgumentParser(description="Measure the main calls at several numbers of learners.")
    parser.add_argument("--learners", default=",".join(map(str, SIZES)), help="ascending, with commas between")
    parser.add_argument("--into", type=Path, help="folder of the results instead of benchmarks/results")
    chosen = parser.parse_args()
    sizes = [int(size) for size in chosen.learners.split(",")]
    facts = results.machine()
    tables = scale(sizes)
    path = results.write("scale", "Scale", facts, tables, chosen.into)
    print(path.read_text("utf-8"))
    if any(row.get("met") == results.NO for table in tables for row in table.rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
