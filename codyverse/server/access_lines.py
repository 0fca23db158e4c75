"""What a line of the access log holds: no query, cookie, token or e-mail address, and nothing without bounds.

A client's address is personal data. Masked it still tells one home's, school's or company's network from another.
"""

from __future__ import annotations

import time
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import quote

import orjson

from codyverse.operations import log_redaction

LONGEST_METHOD, LONGEST_PATH, LONGEST_AGENT = 20, 1000, 200  # characters: with these a line has less than PIPE_BUF bytes

_SLOW = ',"slow":true'
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))


def line(
    at: float,
    method: str,
    path: str,
    status: int,
    sent_bytes: int,
    seconds: float,
    address: str,
    request_id: str,
    agent: str,
    pid: int,
    is_slow: bool = False,
) -> str:
    """Return the line, with the address as it may be shown; its texts are of LONGEST_PATH and LONGEST_AGENT at the most.

    It is put together by hand: what recurs is looked up, which takes two thirds of a JSON writer's time. An id needs no escapes
    (see operations/request_ids.py).
    """
    return (
        f'{{"time":"{_second(int(at))}.{int(at * 1000) % 1000:03d}Z","method":{_method(method)},"path":{_path(path)},'
        f'"status":{status:d},"bytes":{sent_bytes:d},"ms":{seconds * 1000:.2f}{_SLOW if is_slow else ""},'
        f'"address":{_text(address)},"request_id":"{request_id}","agent":{_text(agent)},"pid":{pid}}}\n'
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


@lru_cache(64)
def _method(text: str) -> str:
    return _json(text[:LONGEST_METHOD])


@lru_cache(1024)
def _path(text: str) -> str:
    text = log_redaction.text(text.partition("?")[0])[:LONGEST_PATH]
    if text.isascii() and text.isprintable():
        return _json(text)
    return _json(quote(text, _PRINTABLE, "latin-1", "replace")[:LONGEST_PATH])  # each character stands for the byte that was sent


@lru_cache(1024)
def _text(text: str) -> str:
    if not text.isprintable():
        text = "".join(character if character.isprintable() else "?" for character in text)
    return _json(log_redaction.text(text)[:LONGEST_AGENT])


def _json(text: str) -> str:
    return orjson.dumps(text).decode()
