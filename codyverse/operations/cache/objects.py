"""Objects of ours that a process keeps, as they are, while nothing that they were made from has changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import Generic, TypeVar

from cachetools import TTLCache

from codyverse.operations.cache.generations import Generations, NullGenerations, Slots

T = TypeVar("T")


class Objects(Generic[T]):
    """Up to so many objects, each for so long; they never leave the process, so they may be personal."""

    def __init__(
        self,
        generations: Generations | NullGenerations,
        most: int,
        lifetime_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._generations = generations
        self._kept: TTLCache[bytes, tuple[T, int, Slots]] = TTLCache(most, lifetime_s, clock)
        self._guard = threading.Lock()

    def as_of(self) -> int:
        """Return the number to take before an object is made."""
        return self._generations.as_of()

    def get(self, key: bytes) -> T | None:
        """Return an object that is as good as one made now."""
        with self._guard:
            kept = self._kept.get(key)
        return kept[0] if kept is not None and self._generations.fresh(kept[1], kept[2]) else None

    def keep(self, key: bytes, value: T, as_of: int, tags: Collection[str]) -> None:
        """Keep an object until one of the tags changes."""
        with self._guard:
            self._kept[key] = (value, as_of, self._generations.slots(tags))
