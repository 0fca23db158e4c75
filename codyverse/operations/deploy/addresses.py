"""HOST:PORT as the commands read it and HAProxy's configuration has it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from codyverse.operations.commands import CommandError
from config.base import HOST_LABEL

_NAME = re.compile(rf"{HOST_LABEL}(?:\.{HOST_LABEL})*", re.ASCII | re.I)
_NUMBERS = re.compile(r"[0-9.]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """A host, which is a name or an address in its usual spelling, and a port."""

    host: str
    port: int

    @classmethod
    def of(cls, text: str, any_host: bool = False) -> Address:
        """Return the address of `HOST:PORT` or `[IPV6]:PORT`; `*` is a host where any is one. Raises CommandError."""
        host, colon, port = text.rpartition(":")
        if not colon or not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
            raise CommandError(f"{text!r} has no port from 1 to 65535: HOST:PORT.")
        found = host if host == "*" and any_host else _host(host)
        if found is None:
            raise CommandError(f"{text!r} names no host: HOST:PORT, and IPv6 as [ADDRESS]:PORT.")
        return cls(found, int(port))

    @property
    def is_name(self) -> bool:
        """Say whether the host has to be looked up."""
        return ":" not in self.host and self.host != "*" and not _NUMBERS.fullmatch(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _host(text: str) -> str | None:
    try:
        if text.startswith("[") and text.endswith("]"):
            address = IPv6Address(text[1:-1])
            return None if address.scope_id else str(address)
        if _NUMBERS.fullmatch(text):
            return str(IPv4Address(text))
    except AddressValueError:
        return None
    return text.lower() if _NAME.fullmatch(text) and len(text) <= 253 else None
