"""What the tiers keep: a value as JSON, with what it takes to know whether it may still be used."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import orjson

from codyverse.operations.cache.generations import Slots

JITTER = 0.1  # what was loaded together does not expire together

_chance = random.Random()  # noqa: S311  (no secret)

Count = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Entry:
    """A value and its history. Times are the wall clock's, since hosts compare them; whether it is true is told by its tags."""

    key: str
    body: bytes
    as_of: int  # see generations.py
    slots: Slots
    loaded_at: float  # when its load began
    expires_at: float

    def value(self) -> Any:
        """Return the value: a new one each time, so that nobody changes what another one reads."""
        return orjson.loads(self.body)

    def lasting(self, now: float, lifetime_s: float) -> Entry:
        """Return the entry as a tier keeps it: for about its lifetime, and no longer than it was to last anyway."""
        return replace(self, expires_at=min(self.expires_at, now + lifetime_s * _chance.uniform(1 - JITTER, 1 + JITTER)))


class Size(NamedTuple):
    """How much a tier holds."""

    entries: int
    bytes: int


class NullTier:
    """A tier that keeps nothing.

    The tiers in a process and on a host have the same interface, and never fail: what they cannot keep is missing.
    """

    shared = False  # with other processes
    lifetime_s = 0.0

    def get(self, key: str, count_use: bool = True) -> Entry | None:
        """Return nothing."""
        return None

    def put(self, entry: Entry) -> None:
        """Keep nothing."""

    def forget(self, key: str) -> None:
        """Do nothing."""

    def shrink(self, share: float) -> None:
        """Do nothing."""

    def clear(self) -> None:
        """Do nothing."""

    def size(self) -> Size:
        """Return zero."""
        return Size(0, 0)

    def report(self, size: Callable[[], Size]) -> None:
        """Tell nobody."""

    def of_processes(self, own: Size) -> Size:
        """Return what this process holds."""
        return own

    def close(self) -> None:
        """Do nothing."""


def dumps(value: Any) -> bytes:
    """Return a value as JSON. Raises TypeError."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)  # the names of columns are no plain str
