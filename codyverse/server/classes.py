"""What a request's head says about its place in the queue: its class, and since when it has been waiting."""

from __future__ import annotations

import re
from enum import IntEnum


class Class(IntEnum):
    """Classes of requests, the best first: it is served first, and shed last."""

    HEALTH = 0  # who is not answered here is taken out of service, which makes an overload worse
    AUTH = 1  # who is not signed in can do nothing else
    SUBMISSION = 2  # a learner's work, which nobody can do for him again
    API = 3
    STREAM = 4  # server-sent events, which hold their thread for as long as they last
    SLOW = 5  # a body in chunks holds the thread that reads it for as long as the client likes
    PAGE = 6
    STATIC = 7  # files, and reports for which nobody waits


# An overload is when the figures are wanted.
_HEALTH = frozenset({"/livez", "/readyz", "/health", "/metrics", "/operations", "/operations/history"})
_SIGNING_IN = frozenset({"/login", "/logout"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_FILES = ("/static/", "/media/")
_UNAWAITED = frozenset({"/favicon.ico", "/robots.txt", "/api/v1/events", "/api/v1/csp-reports"})

# A time as proxies write it: seconds, milliseconds or microseconds since 1970, which their length tells apart until 2286.
_STARTED = re.compile(r"(?:t=)?([0-9]{10})(?:\.?([0-9]{3}|[0-9]{6}))?", re.ASCII)
LONGEST_S = 60.0  # more is the fault of a clock: no proxy queues for as long


def classify(method: str, path: str, accept: str, chunked: bool) -> Class:
    """Return the class of a request by its path as the application sees it, decoded once."""
    if chunked:
        return Class.SLOW
    if path in _HEALTH:
        return Class.HEALTH
    if path in _UNAWAITED or path.startswith(_FILES):
        return Class.STATIC
    if path.startswith("/api/v1/auth/") or path in _SIGNING_IN:
        return Class.AUTH
    if "text/event-stream" in accept.lower():
        return Class.STREAM
    if method not in _SAFE:
        return Class.SUBMISSION
    return Class.API if path.startswith("/api/") else Class.PAGE


def waiting_since(started: str | None, now: float, wall: float) -> float:
    """Return since when a request has been waiting, on the clock of `now`, by a trusted proxy's X-Request-Start.

    `wall` is the same moment in seconds since 1970. What is no time, lies ahead or is implausibly old counts as now. The clocks
    of proxy and server must agree within a fraction of the budgets, as NTP makes them.
    """
    found = _STARTED.fullmatch(started) if started else None
    if found is None:
        return now
    waited = wall - float(f"{found[1]}.{found[2] or 0}")
    return now - waited if 0 < waited <= LONGEST_S else now
