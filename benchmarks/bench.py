"""`make bench`: requests a second, latencies and errors of the service beside bare servers, and the floors.

All take turns, three rounds, and what counts is the median of the ratios of the rounds. Writes benchmarks/results/<date>.md and
.json; exits 1 when a floor is missed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import config
from benchmarks import balance, bare, cases, load, place, results
from benchmarks.cases import GRANIAN, GTHREAD, NODE, TWIN, WORKER, Ground
from benchmarks.contest import COUNTED_AT, Row, Size, alone, compare, spreads
from benchmarks.results import Table, mark
from tests.server import Server, free_port, wait_until

QUICK = Size(connections=(16,), seconds=1, learners=4_000, minutes=0.3, everything=False)


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


def bench(size: Size) -> tuple[list[Table], list[str]]:
    """Run everything and return the tables, and the names of servers that are not on this machine."""
    with ExitStack() as stack:
        path = stack.enter_context(place.folder())
        url = stack.enter_context(place.postgresql_database())
        began = time.monotonic()
        ground = stack.enter_context(cases.ground(path, url, size.learners))
        print(f"{size.learners:,} learners made in {time.monotonic() - began:.0f} s", flush=True)
        with place.service(path, url) as service:
            scripts = cases.write_script(path, ground, service)
        with _servers(path, url, scripts) as servers:
            balanced = [balance.row(name, servers[name], balance.DRAWS, name == WORKER) for name in (WORKER, GTHREAD)]
            rows = compare(ground, servers, size, "")
        missing = sorted({WORKER, GTHREAD, TWIN, NODE, GRANIAN} - servers.keys())
        if size.everything:
            with redis() as redis_url, _servers(path, url, scripts, redis_url=redis_url) as servers:
                for name in (NODE, GRANIAN):  # which know nothing of Redis
                    servers.pop(name, None)
                rows += compare(ground, servers, size, "Redis")
        at_screens = _at_screens(path, ground, size)
        informal = [*_flags_off(path, ground), *_on_sqlite(size)] if size.everything else []
    cached = {case.name for case in ground.cases() if case.cached}
    return [*tables_of(rows), *_others(rows, cached, balanced, at_screens, size, informal)], missing


@contextmanager
def _servers(path: Path, url: str, scripts: tuple[Path, Path], **chosen: Any) -> Iterator[dict[str, Server]]:
    """Lend everybody who takes part, by name; of bare servers those that this machine has."""
    script, bare_script = scripts
    servers: dict[str, Server | None] = {
        WORKER: place.service(path, url, **chosen),
        GTHREAD: place.service_on_gthread(path, url, **chosen),
        TWIN: place.twin(path, url, script),
        NODE: bare.node(path, bare_script),
        GRANIAN: bare.granian(path, script),
    }
    with ExitStack() as stack:
        yield {name: stack.enter_context(server) for name, server in servers.items() if server is not None}


def tables_of(rows: list[Row]) -> list[Table]:
    """Return the tables of the duels, one for each pair of servers."""
    durable = "The disk has no part in it (fsync off), which is the stricter way for a ratio."
    notes = {
        (WORKER, TWIN): (
            "Against the twin",
            f"On our worker. Floors count at {COUNTED_AT} connections; errors must be 0 everywhere. {durable}",
        ),
        (GTHREAD, TWIN): ("As a WSGI layer", "The service on gunicorn's own worker, against the twin."),
        (WORKER, NODE): ("Against Node", "Bare `http` of Node, one process."),
        (WORKER, GRANIAN): ("Against granian", "Bare granian, two workers, WSGI."),
        (WORKER, GTHREAD): ("Through threads", "Our worker against gunicorn's own, with the same application."),
    }
    found = []
    for (ours, other), (title, note) in notes.items():
        own = [row for row in rows if (row["server"], row["other"]) == (ours, other)]
        found += [Table(title, own, note)] if own else []
    return found


def _others(
    rows: list[Row], cached: set[str], balanced: list[Row], at_screens: load.Outcome, size: Size, informal: list[Row]
) -> list[Table]:
    split = f"{balance.CONNECTIONS} connections that stay, over two workers; gthread's are for information."
    return [
        Table("Spread of cached reads", spreads(rows, cached), "Bare servers beside it show what this machine's scheduler does."),
        Table("Balance of connections", balanced, split),
        Table(
            "The report's R23 and R24", report_rows(at_screens, size.minutes), "Commits reach the disk here, as in production."
        ),
        Table("For information", informal),
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
            rows += alone(ground, service, once, f"{flag} off")
    return rows


def _on_sqlite(size: Size) -> list[Row]:
    once = Size(connections=(COUNTED_AT,), rounds=size.rounds, seconds=min(3, size.seconds))
    with ExitStack() as stack:
        path = stack.enter_context(place.folder())
        ground = stack.enter_context(cases.ground(path, f"sqlite:///{path}/benchmark.sqlite3", size.learners // 4))
        service = stack.enter_context(place.service(path, ground.url))
        return alone(ground, service, once, "SQLite")


def main() -> None:
    """Run, print, write; exit 1 when a floor is missed."""
    parser = argparse.ArgumentParser(description="Load the service beside its twin.")
    parser.add_argument("--quick", action="store_true", help="less of everything: under 3 minutes")
    parser.add_argument("--into", type=Path, help="folder of the results instead of benchmarks/results")
    chosen = parser.parse_args()
    facts = results.machine()
    tables, missing = bench(QUICK if chosen.quick else Size())
    facts |= {"load_after": round(os.getloadavg()[0], 2)} | ({"missing": " and ".join(missing)} if missing else {})
    path = results.write("", "Benchmark", facts, tables, chosen.into)
    print(path.read_text("utf-8"))
    if any(row.get("met") == results.NO for table in tables for row in table.rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
