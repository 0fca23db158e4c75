"""How many reads the cache answers: Zipf-distributed reads of 2,000 lessons, one operation of ten a write.

    python -m benchmarks.hit_rate [--operations 200000] [--json FILE]

Four processes' worth of caches (each its own L1) share one L2. Lessons lie in courses of twenty; a completion outdates nothing
that is kept, an edit every lesson of its course, since each shows its neighbours. The first half warms up and is not counted.
"""

from __future__ import annotations

import argparse
import bisect
import itertools
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

import config
from codyverse.operations import cache

LESSONS, LESSONS_A_COURSE, PROCESSES = 2000, 20, 4
SHARE_OF_WRITES = 0.1
BODY = "x" * 4000  # of a lesson, in bytes


@dataclass(frozen=True)
class Result:
    """Hit rates: of each tier, of what came to it; and of all reads together, those that nothing had to be loaded for."""

    s: float
    writes: str
    process_entries: int
    host_entries: int
    l1: float
    l2: float
    together: float


def zipf(s: float, chance: random.Random) -> Callable[[], int]:
    """Return a source of lesson numbers: the k-th most popular comes in proportion to 1 / k^s."""
    weights = list(itertools.accumulate(1 / rank**s for rank in range(1, LESSONS + 1)))
    lessons = list(range(LESSONS))
    chance.shuffle(lessons)  # favourites are spread over the courses
    return lambda: lessons[bisect.bisect_left(weights, chance.random() * weights[-1])]


def measure(
    folder: Path, s: float, writes: str, operations: int, process_entries: int, host_entries: int, seed: int = 1
) -> Result:
    """Run a mix (`completions` or `edits` are its writes) and return what was hit."""
    chance = random.Random(seed)  # the same mix each time
    counts: Counter[str] = Counter()

    def count(name: str, amount: float = 1) -> None:
        counts[name] += amount  # type: ignore[assignment]

    settings = config.load(
        environment="testing", instance_path=folder, cache_process_entries=process_entries, cache_host_entries=host_entries
    )
    caches = [cache.Cache(cache.opened(settings, count)) for _ in range(PROCESSES)]
    next_lesson = zipf(s, chance)
    reads = 0
    for number in range(operations):
        if number == operations // 2:
            counts.clear()
            reads = 0
        asked = chance.choice(caches)
        if chance.random() >= SHARE_OF_WRITES:
            lesson = next_lesson()
            asked.cached(f"lesson:{lesson}", lambda: BODY, [f"course:{lesson // LESSONS_A_COURSE}"])
            reads += 1
        elif writes == "edits":
            asked.invalidate(f"course:{chance.randrange(LESSONS // LESSONS_A_COURSE)}")
    for one in caches:
        one.close()
    rates = {
        tier: counts[f"cache:hit:{tier}"] / max(1, counts[f"cache:hit:{tier}"] + counts[f"cache:miss:{tier}"])
        for tier in ("l1", "l2")
    }
    return Result(s, writes, process_entries, host_entries, together=1 - counts["cache:loaded"] / reads, **rates)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results: list[dict[str, Any]] = []
    print(f"{'s':>4} {'writes':12}{'L1':>6}{'L2':>6}{'hits L1':>9}{'hits L2':>9}{'together':>10}")
    for (process, host), s, writes in itertools.product(
        ((100, 500), (100, 1500), (500, 2000)), (1.1, 1.0), ("completions", "edits")
    ):
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:  # noqa: S108
            result = measure(Path(folder), s, writes, arguments.operations, process, host)
        results.append(asdict(result))
        print(f"{s:>4} {writes:12}{process:>6}{host:>6}{result.l1:>9.1%}{result.l2:>9.1%}{result.together:>10.1%}", flush=True)
    if arguments.json:
        arguments.json.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    sys.exit(main())
