"""Where counters lie: in Redis if there is one, on the host, in the process; a tier that fails is left out for a while.

A request never fails for want of a counter: the next tier counts it. The last one, in the process, always answers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from codyverse.operations import host_memory
from codyverse.operations.limits.shared import SharedStorage
from codyverse.operations.limits.storage import Acquired, Ask, HostStorage, SlidingWindows
from config import Settings

log = logging.getLogger("codyverse.limits")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0


class TierDown(Exception):
    """A tier cannot be used now."""


class Tier:
    """A storage that is asked only while it answers: after a failure one request asks again, later and later."""

    def __init__(self, name: str, storage: HostStorage | SharedStorage, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.is_far = isinstance(storage, SharedStorage)  # who asks it waits for the network
        self.failures = 0  # since the start
        self._storage = storage
        self._clock = clock
        self._in_a_row = 0
        self._pause_until = 0.0
        self._guard = threading.Lock()

    def call(self, method: str, *arguments: Any) -> Any:
        """Return what the storage's method returns. Raises TierDown."""
        asking_again = self._in_a_row > 0
        if asking_again and not self._may_ask_again():
            raise TierDown
        try:
            answer = getattr(self._storage, method)(*arguments)
        except self._storage.base_exceptions as error:
            self._failed(error, asking_again)
            raise TierDown from error
        if asking_again:
            log.warning("limits are counted again by: %s", self.name)
            self._in_a_row = 0
        return answer

    def _may_ask_again(self) -> bool:
        with self._guard:
            if self._clock() < self._pause_until:
                return False
            self._pause_until = self._clock() + self._pause_s()  # nobody else waits while this one asks
            return True

    def _failed(self, error: Exception, asking_again: bool) -> None:
        with self._guard:
            self.failures += 1
            if self._in_a_row and not asking_again:
                return  # it began before another one failed, which has been noted
            if not self._in_a_row:
                # Only the name of the error: the address of a server, and its password, may be part of the text.
                log.warning("limits are no longer counted by: %s (%s)", self.name, type(error).__name__)
            self._in_a_row += 1
            self._pause_until = self._clock() + self._pause_s()

    def _pause_s(self) -> float:
        return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._in_a_row, 10))


class Tiers(SlidingWindows):
    """The tiers as one storage for flask-limiter: the first that answers counts."""

    STORAGE_SCHEME = ["tiers"]  # noqa: RUF012  (as the base class declares it)
    base_exceptions = ()

    def __init__(self, uri: str = "tiers://", tiers: Sequence[Tier] = (), **options: Any) -> None:
        super().__init__(uri)
        self.tiers = tiers

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count an entry in the first tier that answers, unless it would exceed the limit."""
        return bool(self._first("acquire_sliding_window_entry", key, limit, expiry, amount))

    def acquire_windows(self, asks: Sequence[Ask], in_order: bool) -> tuple[Tier, list[Acquired]]:
        """Count the entries of several counters in the first tier that answers; returns which one that is, and what it gave."""
        for answer in self._all("acquire_windows", asks, in_order):
            return answer
        raise TierDown

    def acquire_with_spare(self, key: str, limit: int, expiry: int) -> bool:
        """Count an entry like `acquire_sliding_window_entry`, and also on the host while Redis decides, for when Redis is gone.

        The process counts for itself only when nothing else does: it would not hear of what other processes take back.
        """
        decided: bool | None = None
        for tier in self.tiers:
            if decided is None or (decided and tier is not self.tiers[-1]):
                with suppress(TierDown):
                    answer = tier.call("acquire_sliding_window_entry", key, limit, expiry)
                    decided = answer if decided is None else decided
        return bool(decided)

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return the windows in the first tier that answers."""
        windows: tuple[int, float, int, float] = self._first("get_sliding_window", key, expiry)
        return windows

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget a key in every tier that answers."""
        list(self._all("clear_sliding_window", key, expiry))

    def release(self, key: str, amount: int = 1) -> None:
        """Take entries back in every tier that answers."""
        list(self._all("release", key, amount))

    def names(self) -> list[str]:
        """Return the keys in every tier that answers."""
        return sorted({name for _, names in self._all("names") for name in names})

    def reset(self) -> int:
        """Forget everything in every tier that answers."""
        return sum(answer or 0 for _, answer in self._all("reset"))

    def check(self) -> bool:
        """Say that requests can be counted, which they always can."""
        return True

    def _first(self, method: str, *arguments: Any) -> Any:
        for _, answer in self._all(method, *arguments):
            return answer
        raise TierDown

    def _all(self, method: str, *arguments: Any) -> Iterator[tuple[Tier, Any]]:
        for tier in self.tiers:
            try:
                yield tier, tier.call(method, *arguments)
            except TierDown:
                continue


def of(settings: Settings) -> Tiers:
    """Return the tiers of an installation."""
    tiers = [
        Tier("the host", HostStorage(f"host://{host_memory.folder(settings) / 'limits.sqlite3'}")),
        Tier("the process", HostStorage("host://")),
    ]
    if settings.redis_url:
        tiers.insert(0, Tier("redis", SharedStorage(settings.redis_url)))
    return Tiers(tiers=tiers)
