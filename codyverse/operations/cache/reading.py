"""What a request has read by way of the cache: the tags that its answer depends on, and how old the oldest part of it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(slots=True)
class Reading:
    """What was read so far."""

    tags: set[str] = field(default_factory=set)
    outdated_s: float | None = (
        None  # age of the oldest value that was used although it is outdated, since nothing newer could be had
    )


_reading: ContextVar[Reading | None] = ContextVar("reading", default=None)


@contextmanager
def reading() -> Iterator[Reading]:
    """Note what the block reads."""
    noted = Reading()
    token = _reading.set(noted)
    try:
        yield noted
    finally:
        _reading.reset(token)


def depends_on(tags: Iterable[str]) -> None:
    """Note that the present answer depends on tags; the cache does so for what it is asked for."""
    noted = _reading.get()
    if noted is not None:
        noted.tags.update(tags)


def used_outdated(age_s: float) -> None:
    """Note that the present answer holds a value that is outdated and that old."""
    noted = _reading.get()
    if noted is not None:
        noted.outdated_s = max(age_s, noted.outdated_s or 0.0)
