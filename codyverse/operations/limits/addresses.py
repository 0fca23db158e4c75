"""The network address that a request comes from, as the limits count it."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from flask import request

UNKNOWN = "address:unknown"


def address() -> str:
    """Return what stands for the address of the request; whose header is believed is ProxyFix's business."""
    return counted(request.remote_addr or "")


@lru_cache(4096)  # asked several times a request
def counted(text: str) -> str:
    """Return what stands for an address in the limits' keys: `address:192.0.2.1`, `address:2001:db8:1:2::`.

    One customer has a whole /64 of IPv6 (RFC 6177) and could otherwise be a new client with every request. What is no address
    is one and the same client.
    """
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return UNKNOWN
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return f"address:{found.ipv4_mapped}"
        found = ipaddress.IPv6Address(int(found) >> 64 << 64)
    return f"address:{found}"
