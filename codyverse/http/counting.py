"""Hits of finished responses count like requests that the application answers: same limits, same clients, same headers.

The client is the account. Who a cookie or a token belongs to only the database knows, so what the application found out is
remembered for KNOWN_S. That a session was ended meanwhile does no harm: a hit shows what everybody may see.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import lru_cache

from flask import Flask

from codyverse.operations import limits
from codyverse.operations.limits import addresses
from codyverse.operations.limits.leases import Exceeded
from codyverse.server.shell import UNTOLD, Refused, Told

STATIC = "/static/"
KNOWN_S = 30.0
MOST = 10_000
NOBODY = ""  # the credentials are nobody's: the address is the client


class Clients:
    """Who credentials belong to; the credentials themselves are not kept."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[int, tuple[str, float]] = {}
        self._turn = threading.Lock()

    def learn(self, authorization: str, cookie: str, client: str) -> None:
        """Hear that these headers were found to be a client's, such as `account:17`, or NOBODY's."""
        place = hash((authorization, cookie))
        with self._turn:
            self._known.pop(place, None)
            if len(self._known) >= MOST:
                del self._known[next(iter(self._known))]  # learned longest ago
            self._known[place] = (client, self._clock())

    def client(self, authorization: str, cookie: str) -> str | None:
        """Return whose headers these are, None when that was not found out lately."""
        found = self._known.get(hash((authorization, cookie)))
        return found[0] if found and self._clock() - found[1] < KNOWN_S else None


def count(
    app: Flask, known: Clients, address: str, authorization: str, cookie: str, rule: str, waits: bool
) -> Told | Refused | None:
    """Count a hit of a rule; returns what is to be told of it.

    None for credentials that are not known, and, for who does not wait, when another server would have to be asked.
    """
    found = limits.of(app)
    if found is None:
        return UNTOLD
    is_file, operation = _kind(rule)
    client = known.client(authorization, cookie) if (authorization or cookie) and not is_file else NOBODY
    if client is None:
        return None
    address = addresses.counted(address)
    meter = found.meter
    try:
        told = (meter.all if waits else meter.all_at_once)(address, "" if is_file else client or address, operation)
    except Exceeded as error:
        return Refused(error.standing)
    if told is None:
        return None
    return told if operation is not None else UNTOLD


@lru_cache(1024)
def _kind(rule: str) -> tuple[bool, str | None]:
    """Return whether a rule is that of files, and its operation if it is one of the API."""
    return rule.startswith(STATIC), limits.operation("GET", rule) if rule.startswith(limits.API) else None
