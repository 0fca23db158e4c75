"""What a client is told about its limits.

`RateLimit-Policy` and `RateLimit` follow draft-ietf-httpapi-ratelimit-headers-10 (September 2025), with named policies:

    RateLimit-Policy: "client";q=1000;w=900         1000 requests in 900 seconds
    RateLimit: "client";r=998;t=880                 998 of them are left for the next 880 seconds

They tell of the policy that leaves least. `X-RateLimit-*` say the same to older clients, Reset as a Unix time.
"""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

from flask import Response
from limits import RateLimitItem

POLICIES = {
    "address": "Requests from one address, whoever sends them.",
    "client": "Requests of one client: an account, else an address.",
    "endpoint": "Requests of one client to one operation.",
    "upload": "Uploads of one client.",
    "sign-in": "Failed attempts to sign in to one account from one address.",
    "sign-in-account": "Failed attempts to sign in to one account.",
    "sign-in-address": "Failed attempts to sign in, and registrations, from one address.",
}

_WHOLE = {"type": "integer", "minimum": 0}
DOCUMENTATION: dict[str, Any] = {
    "RateLimit-Policy": {
        "description": 'The limit that leaves least, as `"client";q=1000;w=900`: name, requests, seconds.',
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": 'What is left of it, as `"client";r=998;t=880`: name, requests, seconds.',
        "schema": {"type": "string"},
    },
    "X-RateLimit-Limit": {"description": "The same for older clients: requests of the limit.", "schema": _WHOLE},
    "X-RateLimit-Remaining": {"description": "Requests that are left.", "schema": _WHOLE},
    "X-RateLimit-Reset": {"description": "When there will be more, as a Unix time in seconds.", "schema": _WHOLE},
}
RETRY_AFTER: dict[str, Any] = {
    "Retry-After": {"description": "Seconds after which to try again.", "schema": {"type": "integer", "minimum": 1}}
}


class Standing(NamedTuple):
    """How a client stands with a policy."""

    policy: str
    quota: int
    window_s: int
    remaining: int
    wait_s: int  # until there is more: until the window ends or, when nothing is left, until one request is let through

    def fields(self) -> list[tuple[str, str]]:
        """Return the headers that tell the client so."""
        return [
            ("RateLimit-Policy", f'"{self.policy}";q={self.quota};w={self.window_s}'),
            ("RateLimit", f'"{self.policy}";r={self.remaining};t={self.wait_s}'),
            ("X-RateLimit-Limit", str(self.quota)),
            ("X-RateLimit-Remaining", str(self.remaining)),
            ("X-RateLimit-Reset", str(int(time.time()) + self.wait_s)),
        ]

    def lines(self) -> str:
        """Return the same as HTTP/1.1 has them."""
        policy, quota, window_s, remaining, wait_s = self
        return (
            f'RateLimit-Policy: "{policy}";q={quota};w={window_s}\r\nRateLimit: "{policy}";r={remaining};t={wait_s}\r\n'
            f"X-RateLimit-Limit: {quota}\r\nX-RateLimit-Remaining: {remaining}\r\n"
            f"X-RateLimit-Reset: {int(time.time()) + wait_s}\r\n"
        )


def standing(policy: str, item: RateLimitItem, window: tuple[int, float, int, float]) -> Standing:
    """Return how the client stands whose windows are these (the entries and seconds that `get_sliding_window` returns)."""
    expiry_s = item.get_expiry()
    previous, previous_s, current, current_s = window
    left_s = max(0.0, current_s - expiry_s) or previous_s
    remaining = max(0, item.amount - int(previous * previous_s / expiry_s) - current)
    if remaining:
        return Standing(policy, item.amount, expiry_s, remaining, math.ceil(left_s))
    # What is left of the window before must come to weigh less than what the present one leaves. Of a present one that is full
    # that can be said only when it is the window before itself, and then it is true at once.
    weighs_too_much_s = left_s - (item.amount - current) * expiry_s / previous if current < item.amount else left_s
    return Standing(policy, item.amount, expiry_s, 0, int(weighs_too_much_s) + 1)


def send(response: Response, told: Standing) -> None:
    """Tell the client how it stands."""
    response.headers.extend(told.fields())
    if response.status_code == 429:
        response.headers["Retry-After"] = str(told.wait_s)
