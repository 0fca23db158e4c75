"""Single flight: of all who miss a key at once, on the whole host, one loads it, and the others wait for what it brings.

Threads of a process wait for an event; processes for a claim, looking meanwhile at the tier that they share.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from codyverse.claims import FileClaims
from codyverse.operations.cache.entries import Entry

WAIT_S = 2.0  # then one loads oneself
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.001, 0.02  # between two looks at another process's work

Find = Callable[[], Entry | None]


@dataclass(slots=True)
class Flight:
    """A load, and what came of it."""

    began_at: float
    landed: threading.Event = field(default_factory=threading.Event)
    entry: Entry | None = None
    error: Exception | None = None


class Flights:
    """The loads of a process, kept apart from those of others by claims; without claims each process loads for itself."""

    def __init__(self, claims: FileClaims | None, wait_s: float = WAIT_S) -> None:
        self._claims = claims
        self._wait_s = wait_s
        self._flights: dict[str, Flight] = {}
        self._guard = threading.Lock()

    def fly(
        self,
        key: str,
        find: Find,
        load: Callable[[], Entry],
        good: Callable[[Entry], bool],
        failures: tuple[type[Exception], ...],
    ) -> Entry:
        """Return what `find` finds, what another thread has loaded, or else what `load` loads. Raises its errors.

        Of what another thread began to load before this one asked only what is `good` is taken: it may be from before a change
        that this one knows of. So may an error, such as that there is no such thing: of those only `failures` of the source reach
        this one. An error of a load that began later reaches everybody who waits for it; who comes later has it tried again.
        """
        asked_at = time.monotonic()
        deadline = asked_at + self._wait_s
        while time.monotonic() < deadline:
            with self._guard:
                flight = self._flights.get(key)
                if leading := flight is None:
                    flight = self._flights[key] = Flight(time.monotonic())
            if leading:
                return self._lead(key, flight, find, load, deadline)
            flight.landed.wait(deadline - time.monotonic())
            later = flight.began_at > asked_at
            if flight.error is not None and (later or isinstance(flight.error, failures)):
                raise flight.error
            if flight.entry is not None and (later or good(flight.entry)):
                return flight.entry
        return load()

    @contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Keep other processes from loading or adding the key during the block, or for the waiting time at the most."""
        deadline = time.monotonic() + self._wait_s
        pause = FIRST_PAUSE_S
        while self._claims is not None and time.monotonic() < deadline:
            with self._claims.held(_claim(key)) as mine:
                if mine:
                    yield
                    return
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
        yield

    def _lead(self, key: str, flight: Flight, find: Find, load: Callable[[], Entry], deadline: float) -> Entry:
        try:
            flight.entry = self._first_of_host(key, find, load, deadline)
            return flight.entry
        except Exception as error:
            flight.error = error
            raise
        finally:
            with self._guard:
                del self._flights[key]
            flight.landed.set()

    def _first_of_host(self, key: str, find: Find, load: Callable[[], Entry], deadline: float) -> Entry:
        if self._claims is None:
            return load()
        pause = FIRST_PAUSE_S
        while True:
            with self._claims.held(_claim(key)) as mine:
                # Also when it is ours: another process may have landed before.
                found = find()
                if found is not None:
                    return found
                if mine or time.monotonic() > deadline:
                    return load()
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)


def _claim(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) >> 1
