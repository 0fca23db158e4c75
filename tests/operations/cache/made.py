"""Caches for tests: the parts that an application has, with a clock that is moved and a loader that counts."""

from __future__ import annotations

import multiprocessing
import threading
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from codyverse.operations import cache
from tests.conftest import make_settings

DATABASE_URL = "postgresql://codyverse@localhost/codyverse"  # nothing is asked of it; hosts of one cluster have the same


class SourceAway(Exception):
    """What a loader raises whose source cannot be reached."""


class Wall:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def make(
    folder: Path, wall: Wall | None = None, database_url: str = DATABASE_URL, **settings: Any
) -> tuple[cache.Cache, Counter[str]]:
    """A cache, and what it counted."""
    folder.mkdir(exist_ok=True)
    counts: Counter[str] = Counter()

    def count(name: str, amount: float = 1) -> None:
        counts[name] += amount  # type: ignore[assignment]

    parts = cache.opened(make_settings(folder, database_url, **settings), count)
    parts = replace(parts, failures=(SourceAway,), **({"clock": wall} if wall else {}))
    if wall and hasattr(parts.host, "_clock"):
        parts.host._clock = wall
    return cache.Cache(parts), counts


class Source:
    """Where values come from."""

    def __init__(self, value: Any = None) -> None:
        self.value = value
        self.loads = 0
        self.away = False
        self._guard = threading.Lock()

    def __call__(self) -> Any:
        with self._guard:
            self.loads += 1
        if self.away:
            raise SourceAway
        return self.value


def ask_at_once(folder: Path, threads: int, count_file: Path, barrier: Any) -> None:
    """What one of several processes does: many threads ask for one key at once, whose loader writes a line."""
    made, _ = make(folder)

    def load() -> dict[str, int]:
        with count_file.open("a") as file:
            file.write("loaded\n")
        threading.Event().wait(0.2)  # a load that takes a moment, in which all others come
        return {"value": 1}

    results = []

    def run() -> None:
        barrier.wait(60)
        results.append(made.cached("k", load, ["t"]))

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
    made.close()
    assert results == [{"value": 1}] * threads


def processes(number: int, target: Any, *arguments: Any) -> None:
    """Run the function in so many processes, and fail when one of them does."""
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        started = [context.Process(target=target, args=arguments) for _ in range(number)]
        for process in started:
            process.start()
            stack.callback(process.close)
        for process in started:
            process.join(120)
        assert [process.exitcode for process in started] == [0] * number
