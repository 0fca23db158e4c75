"""`make bench`: requests a second, latencies and errors of the service beside its bare twin, and the floors.

Service and twin take turns, three rounds, and what counts is the median of the ratios of the rounds. Writes
benchmarks/results/<date>.md and .json; exits 1 when a floor is missed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

import config
from benchmarks import cases, load, place, results, wrk
from benchmarks.cases import Case, Ground
from benchmarks.results import Table, mark
from tests.server import Server, free_port, wait_until

COUNTED_AT = 16  # connections: the floors' figure
MOST = 100
LARGEST_SPREAD = 6.0  # p99 / p50 of cached reads at 16 connections
Row = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How long it takes."""

    connections: tuple[int, ...] = (1, 16, 100)
    rounds: int = 3
    seconds: int = 5
    learners: int = 40_000
    minutes: float = 2.0
    everything: bool = True  # with Redis as well, on SQLite, with each flag off


QUICK = Size(connections=(16, 100), seconds=1, learners=4_000, minutes=0.3, everything=False)


def compare(ground: Ground, service: Server, twin: Server | None, size: Size, label: str, counts: bool) -> list[Row]:
    """Return a row for each case and number of connections."""
    rows = []
    for case in ground.cases():
        for server in filter(None, (service, twin)):
            _run(ground, case, server, COUNTED_AT, 1)  # warm
        for connections in size.connections:
            rounds = [
                [_run(ground, case, server, connections, size.seconds) for server in (service, twin) if server]
                for _ in range(size.rounds)
            ]
            rows.append(_row(case, label, connections, rounds, counts))
            print(
                f"  {label}: {case.name} at {connections}: {rows[-1]['requests/s']:,.0f}/s {rows[-1]['ratio'] or ''}", flush=True
            )
    return rows


def _run(ground: Ground, case: Case, server: Server, connections: int, seconds: int) -> wrk.Run:
    done = wrk.run(server, case.path, connections, seconds, *ground.arguments(case))
    if case.kind == "finish":
        ground.used += done.sent + 2 * connections  # the last ones may have been done without being counted
    return done


def _row(case: Case, label: str, connections: int, rounds: list[list[wrk.Run]], counts: bool) -> Row:
    own = [each[0] for each in rounds]
    middle = {name: median(getattr(run, name) for run in own) for name in ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "cpu_us")}
    errors = sum(run.errors for each in rounds for run in each)
    per_second = median(run.per_second for run in own)
    twin = ratio = twin_cpu = None
    if len(rounds[0]) > 1:
        twin = median(each[1].per_second for each in rounds)
        twin_cpu = round(median(each[1].cpu_us for each in rounds), 1)
        ratio = round(median(each[0].per_second / each[1].per_second for each in rounds), 3)
    floor = (case.floor or None) if counts and ratio is not None and connections == COUNTED_AT else None
    return {
        "case": case.name,
        "with": label,
        "connections": connections,
        "requests/s": per_second,
        "twin/s": twin,
        "ratio": ratio,
        "floor": floor,
        **{name: round(value, 2) for name, value in middle.items()},
        "twin cpu_us": twin_cpu,
        "errors": errors,
        "met": mark(None if not counts else errors == 0 and (floor is None or (ratio or 0.0) >= floor)),
    }


def spreads(rows: list[Row], cached: set[str]) -> list[Row]:
    """Return p99 / p50 of the cached cases."""
    found = []
    for row in rows:
        if row["connections"] == COUNTED_AT and row["case"] in cached:
            spread = round(row["p99_ms"] / max(row["p50_ms"], 0.001), 2)
            found.append(
                {"case": row["case"], "with": row["with"], "p99 / p50": spread, "at most": LARGEST_SPREAD}
                | {"met": mark(spread <= LARGEST_SPREAD)}
            )
    return found


def report_rows(outcome: load.Outcome, minutes: float) -> list[Row]:
    """Return the report's own figures, rows R23 and R24, by name."""
    share = 100 * outcome.failed / max(1, outcome.requests)
    a_minute = outcome.requests / minutes
    found: list[Row] = [
        {"row": "R23", "figure": "concurrent users", "measured": float(load.CONNECTIONS), "asked for": "100", "met": mark(True)},
        {"row": "R23", "figure": "requests a minute", "measured": a_minute, "asked for": "1000", "met": mark(a_minute >= 950)},
        {"row": "R23", "figure": "error rate, %", "measured": share, "asked for": "< 0.1", "met": mark(share < 0.1)},
    ]
    for percent, most in ((50, 45), (90, 120), (95, 180), (99, 300)):
        value = outcome.percentile(percent)
        found.append(
            {
                "row": "R24",
                "figure": f"P{percent}, ms",
                "measured": value,
                "asked for": f"≤ {most}",
                "met": mark(_within(value, most)),
            }
        )
    for kind, name, most in ((load.PUBLIC, "cached, P95, ms", 60), (load.SIGNED_IN, "database, P95, ms", 120)):
        value = outcome.percentile(95, (kind,))
        found.append(
            {"row": "R24", "figure": name, "measured": value, "asked for": f"< {most}", "met": mark(_within(value, most))}
        )
    return found


def _within(value: float | None, most: float) -> bool:
    return value is not None and value <= most


@contextmanager
def redis() -> Iterator[str]:
    """Lend a Redis of our own. Raises SystemExit where there is none."""
    if not shutil.which("redis-server"):
        raise SystemExit("no Redis: install Debian's redis-server")
    port = free_port()
    words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd="/")
    try:
        ping = ["redis-cli", "-p", str(port), "ping"]
        wait_until(lambda: subprocess.run(ping, capture_output=True, check=False).stdout == b"PONG\n")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(30)


def bench(size: Size) -> list[Table]:
    """Run everything and return the tables."""
    with ExitStack() as stack:
        path = stack.enter_context(place.folder())
        url = stack.enter_context(place.postgresql_database())
        began = time.monotonic()
        ground = stack.enter_context(cases.ground(path, url, size.learners))
        print(f"{size.learners:,} learners made in {time.monotonic() - began:.0f} s", flush=True)
        with place.service(path, url) as service:
            script = cases.write_script(path, ground, service)
            with place.twin(path, url, script) as twin:
                rows = compare(ground, service, twin, size, "", counts=True)
        if size.everything:
            with (
                redis() as redis_url,
                place.service(path, url, redis_url=redis_url) as service,
                place.twin(path, url, script) as twin,
            ):
                rows += compare(ground, service, twin, size, "Redis", counts=True)
        at_screens = _at_screens(path, ground, size)
        informal = [*_flags_off(path, ground), *_on_sqlite(size)] if size.everything else []
    cached = {case.name for case in ground.cases() if case.cached}
    durable = "The disk has no part in it (fsync off), which is the stricter way for a ratio."
    return [
        Table("Against the twin", rows, f"Floors count at {COUNTED_AT} connections; errors must be 0 everywhere. {durable}"),
        Table("Spread of cached reads", spreads(rows, cached)),
        Table(
            "The report's R23 and R24", report_rows(at_screens, size.minutes), "Commits reach the disk here, as in production."
        ),
        Table("For information", [_without(row, "twin/s", "ratio", "floor", "twin cpu_us", "met") for row in informal]),
    ]


def _at_screens(path: Path, ground: Ground, size: Size) -> load.Outcome:
    durable = (f"ALTER SYSTEM SET {name} = on" for name in ("fsync", "synchronous_commit", "full_page_writes"))
    place.run(ground.url, *durable, "SELECT pg_reload_conf()")
    # From the end: the completions of `compare` began with the first learners.
    people = load.Population(ground.first + ground.learners // 2, ground.first + ground.learners - 1, ground.people())
    with place.service(path, ground.url) as service:
        outcome = load.run(service.port, size.minutes * 60, people)
    undone = (f"ALTER SYSTEM RESET {name}" for name in ("fsync", "synchronous_commit", "full_page_writes"))
    place.run(ground.url, *undone, "SELECT pg_reload_conf()")
    for name, count in outcome.errors.most_common(5):
        print(f"  {count} × {name}", flush=True)
    return outcome


def _flags_off(path: Path, ground: Ground) -> list[Row]:
    once = Size(connections=(COUNTED_AT,), rounds=1, seconds=3)
    rows = []
    for flag in (field.name for field in fields(config.Settings) if field.name.startswith("feature_")):
        with place.service(path, ground.url, **{flag: "false"}) as service:
            rows += compare(ground, service, None, once, f"{flag} off", counts=False)
    return rows


def _on_sqlite(size: Size) -> list[Row]:
    once = Size(connections=(COUNTED_AT,), rounds=size.rounds, seconds=min(3, size.seconds))
    with ExitStack() as stack:
        path = stack.enter_context(place.folder())
        ground = stack.enter_context(cases.ground(path, f"sqlite:///{path}/benchmark.sqlite3", size.learners // 4))
        service = stack.enter_context(place.service(path, ground.url))
        return compare(ground, service, None, once, "SQLite", counts=False)


def _without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}


def main() -> None:
    """Run, print, write; exit 1 when a floor is missed."""
    parser = argparse.ArgumentParser(description="Load the service beside its twin.")
    parser.add_argument("--quick", action="store_true", help="less of everything: under 2 minutes")
    parser.add_argument("--into", type=Path, help="folder of the results instead of benchmarks/results")
    chosen = parser.parse_args()
    facts = results.machine()
    tables = bench(QUICK if chosen.quick else Size())
    path = results.write("", "Benchmark", facts, tables, chosen.into)
    print(path.read_text("utf-8"))
    if any(row.get("met") == results.NO for table in tables for row in table.rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
