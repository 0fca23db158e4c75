"""What a line of the access log holds: no query, cookie or token, and nothing without bounds.

A client's address is personal data. Masked it still tells one home's, school's or company's network from another.
"""

from __future__ import annotations

import time
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

LONGEST_METHOD, LONGEST_PATH, LONGEST_AGENT = 20, 1000, 200  # characters: with these a line has less than PIPE_BUF bytes

_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))


class Answered(NamedTuple):
    """A request that was answered: what is known at once, and made a line of later."""

    at: float
    method: str
    path: str
    status: int
    sent_bytes: int
    seconds: float
    address: str
    request_id: str
    agent: str


def line(answered: Answered, address: str, pid: int) -> bytes:
    """Return the line, with the address as it may be shown."""
    at = answered.at
    return orjson.dumps(
        {
            "time": f"{_second(int(at))}.{int(at * 1000) % 1000:03d}Z",
            "method": answered.method[:LONGEST_METHOD],
            "path": _path(answered.path.partition("?")[0]),
            "status": answered.status,
            "bytes": answered.sent_bytes,
            "ms": round(answered.seconds * 1000, 2),
            "address": address,
            "request_id": answered.request_id,
            "agent": _printable(answered.agent),
            "pid": pid,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


@lru_cache(4096)
def masked(address: str) -> str:
    """Return an address without its last number, of IPv6 without what is beyond /48; an empty text for what is none."""
    try:
        found: Any = ip_address(address)
    except ValueError:
        return ""
    found = getattr(found, "ipv4_mapped", None) or found
    return str(ip_network((found.packed, 24 if found.version == 4 else 48), strict=False).network_address)


@lru_cache(4)
def _second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


def _path(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return quote(text, _PRINTABLE, "latin-1", "replace")[:LONGEST_PATH]  # every character stands for the byte that was sent


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text)
