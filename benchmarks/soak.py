"""`make soak MINUTES=60`: 1,000 requests a minute from 100 connections, and what the workers hold meanwhile (report row R23).

Writes benchmarks/results/<date>-soak.md and .json; exits 1 when memory, descriptors, threads or errors are not as they should be.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import cases, load, place, results
from benchmarks.results import Table, mark
from tests.server import Server, wait_until

WORKERS = 2  # as in gunicorn.conf.py
SAMPLES = 200  # in all
WARM_UP = 0.2  # of the time: what is loaded at first use is in by then
LARGEST_GROWTH = 0.05
LARGEST_ERROR_SHARE = 0.001
VISITS_A_MINUTE = 40  # of about 30 requests each: more than there can be

Row = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """What a worker holds."""

    at_s: float
    rss_bytes: int
    descriptors: int
    threads: int


def sample(pid: int, at_s: float) -> Sample:
    """Return what a process holds now. Raises OSError when it is gone."""
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text("utf-8").splitlines())
    rss_bytes = int(status["VmRSS"].split()[0]) * 1024
    return Sample(at_s, rss_bytes, sum(1 for _ in (process / "fd").iterdir()), int(status["Threads"]))


class Watch:
    """Samples every worker of a server until it is stopped."""

    def __init__(self, server: Server, every_s: float) -> None:
        self.samples: dict[int, list[Sample]] = defaultdict(list)
        self._server = server
        self._every_s = every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        began = time.monotonic()
        while not self._stopped.wait(self._every_s):
            for pid in self._server.workers():
                try:
                    self.samples[pid].append(sample(pid, time.monotonic() - began))
                except OSError:  # it has just ended; that it did shows in the number of workers
                    continue


def verdicts(samples: dict[int, list[Sample]], seconds: float, workers: int) -> list[Row]:
    """Return a row for each worker and figure: the median soon after the warm-up beside that of the end."""
    rows: list[Row] = []
    warm, tenth = seconds * WARM_UP, seconds / 10
    for pid, taken in sorted(samples.items()):
        early = [one for one in taken if warm <= one.at_s < warm + tenth]
        late = [one for one in taken if one.at_s >= seconds - tenth]
        if not early or not late:
            rows.append({"worker": str(pid), "figure": "was there all the time", "early": None, "late": None, "met": mark(False)})
            continue
        rss = [median(one.rss_bytes for one in part) / 2**20 for part in (early, late)]
        within = abs(rss[1] - rss[0]) <= rss[0] * LARGEST_GROWTH
        rows.append({"worker": str(pid), "figure": "RSS, MiB", "early": rss[0], "late": rss[1], "met": mark(within)})
        for name in ("descriptors", "threads"):
            # The median: how many connections are open in one moment is chance.
            found = [float(median(getattr(one, name) for one in part)) for part in (early, late)]
            flat = found[1] <= found[0] * 1.05 + 2
            rows.append({"worker": str(pid), "figure": name, "early": found[0], "late": found[1], "met": mark(flat)})
    if len(samples) != workers:
        rows.append({"worker": "all", "figure": "workers seen", "early": workers, "late": len(samples), "met": mark(False)})
    return rows


def soak(minutes: float) -> list[Table]:
    """Run and return the tables."""
    with ExitStack() as stack:
        path = stack.enter_context(place.folder())
        durable = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
        url = stack.enter_context(place.postgresql_database(**durable))
        learners = int(minutes * VISITS_A_MINUTE) + 2 * load.CONNECTIONS
        ground = stack.enter_context(cases.ground(path, url, learners))
        service = stack.enter_context(place.service(path, url))
        wait_until(lambda: len(service.workers()) >= WORKERS)
        people = load.Population(ground.first, ground.first + learners - 1, ground.people())
        with Watch(service, every_s=minutes * 60 / SAMPLES) as watch:
            outcome = load.run(service.port, minutes * 60, people)
    share = outcome.failed / max(1, outcome.requests)
    errors = [
        {"figure": "requests", "measured": outcome.requests, "asked for": f"{load.A_MINUTE * minutes:,.0f}"}
        | {"met": mark(outcome.requests >= 0.95 * load.A_MINUTE * minutes)},
        {"figure": "errors, %", "measured": 100 * share, "asked for": "< 0.1", "met": mark(share < LARGEST_ERROR_SHARE)},
    ]
    latencies = [
        {
            "kind": kind,
            "requests": len(times),
            **{f"P{percent}, ms": outcome.percentile(percent, (kind,)) for percent in (50, 90, 95, 99)},
        }
        for kind, times in sorted(outcome.milliseconds.items())
    ]
    what = [{"error": name, "times": count} for name, count in outcome.errors.most_common(20)]
    tables = [
        Table(
            "Workers",
            verdicts(watch.samples, minutes * 60, WORKERS),
            "Medians of a tenth of the time, after the warm-up and at the end.",
        ),
        Table("Requests", errors),
        Table("Latencies", latencies),
    ]
    return [*tables, Table("Errors", what)] if what else tables


def main() -> None:
    """Run, print, write; exit 1 when the verdict is no."""
    parser = argparse.ArgumentParser(description="Keep the service busy and watch what it holds.")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--into", type=Path, help="folder of the results instead of benchmarks/results")
    chosen = parser.parse_args()
    facts = results.machine() | {"minutes": chosen.minutes}
    tables = soak(chosen.minutes)
    path = results.write("soak", "Soak", facts, tables, chosen.into)
    print(path.read_text("utf-8"))
    if any(row.get("met") == results.NO for table in tables for row in table.rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
