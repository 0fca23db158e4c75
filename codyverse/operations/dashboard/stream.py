"""Server-sent events: what has changed on the page, every few seconds, for a minute; then the browser connects again.

A stream holds its thread, so a process serves MOST at once, whatever stands before it; who comes then is told to come back later.
A stream ends early when its process is told to stop.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping

MOST = 2
EVERY_S = 5.0
LOOK_S = 1.0  # how soon a client that is gone is noticed, and a process that ends
NOTHING = ":\n\n"  # a comment, which browsers pass over: only who writes hears that nobody listens
AGAIN_MS = 1_000
LATER_MS = 15_000

Sections = Mapping[str, str]


class Streams:
    """The streams of a process."""

    def __init__(self, for_s: float, is_ending: Callable[[], bool], most: int = MOST, every_s: float = EVERY_S) -> None:
        self._for_s = for_s
        self._every_s = every_s
        self._is_ending = is_ending
        self._places = threading.BoundedSemaphore(most)
        self._closed = threading.Event()

    def events(self, sections: Callable[[], Sections]) -> Iterator[str]:
        """Yield events: first every section, later those that have changed; `busy` when there is no place.

        The place is taken at the first event and given back when the iterator is closed, which servers do whatever happens.
        """
        if not self._places.acquire(blocking=False):
            yield _event("busy", {}, LATER_MS)
            return
        try:
            yield from self._changes(sections)
        finally:
            self._places.release()

    def _changes(self, sections: Callable[[], Sections]) -> Iterator[str]:
        until = time.monotonic() + self._for_s
        sent: dict[str, str] = {}
        while True:
            now = sections()
            yield _event("sections", {name: html for name, html in now.items() if sent.get(name) != html}, AGAIN_MS)
            sent.update(now)
            at = time.monotonic() + self._every_s
            if at > until:
                return
            while (left := at - time.monotonic()) > 0:
                if self._closed.wait(min(left, LOOK_S)) or self._is_ending():
                    return
                yield NOTHING

    def close(self) -> None:
        """End every stream."""
        self._closed.set()


def _event(kind: str, data: Sections, retry_ms: int) -> str:
    return f"retry: {retry_ms}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"
