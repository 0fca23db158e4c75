"""Many clients at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def in_parallel(times: int, call: Callable[[], Result]) -> list[Result]:
    """Run the call in that many threads, let go together, and return what each returned."""
    barrier, results = threading.Barrier(times), list[Result]()

    def run() -> None:
        barrier.wait(30)
        results.append(call())

    threads = [threading.Thread(target=run) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == times
    return results
