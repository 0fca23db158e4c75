"""The site as a visitor sees it: requests without cookies or secrets, each answer fetched once."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 4.0  # below what a check may take
LONGEST_BODY = 1_000_000  # bytes that are read of it
HTTPS_PORT, HTTP_PORT = 443, 80


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a request."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Return every value of a header."""
        return [value for each, value in self.headers if each.lower() == name.lower()]

    def header(self, name: str) -> str:
        """Return the values of a header with commas between them, an empty text for none."""
        return ", ".join(self.all(name))


class Site:
    """A site at `https://host` or `https://host:port`."""

    def __init__(self, url: str, plain_port: int = HTTP_PORT) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self.port = parts.port or HTTPS_PORT
        self.plain_port = plain_port
        self._kept: dict[Any, Answer] = {}

    @property
    def authority(self) -> str:
        """Return the host as a Host header names it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == HTTPS_PORT else f"{host}:{self.port}"

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Return the answer over HTTPS, whoever gives it: the certificate has a check of its own. Raises OSError."""
        asked = (path, tuple(sorted((headers or {}).items())))
        if asked not in self._kept:
            connection = http.client.HTTPSConnection(self.host, self.port, timeout=TIMEOUT_S, context=_trusting())
            self._kept[asked] = _ask(connection, path, {"Host": self.authority, **(headers or {})})
        return self._kept[asked]

    def get_plain(self, path: str) -> Answer:
        """Return the answer over HTTP. Raises OSError."""
        return _ask(http.client.HTTPConnection(self.host, self.plain_port, timeout=TIMEOUT_S), path, {"Host": self.authority})

    def certificate(self) -> dict[str, Any]:
        """Return the certificate, which is good for the host. Raises ssl.SSLCertVerificationError, OSError."""
        context = ssl.create_default_context()
        with (
            socket.create_connection((self.host, self.port), TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=self.host) as secure,
        ):
            return dict(secure.getpeercert() or {})


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _ask(connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str]) -> Answer:
    try:
        connection.request("GET", path, headers={"User-Agent": "codyverse-doctor", **headers})
        answer = connection.getresponse()
        return Answer(answer.status, tuple(answer.getheaders()), answer.read(LONGEST_BODY))
    except http.client.HTTPException as error:
        raise ConnectionError(0, "no answer of HTTP") from error
    finally:
        connection.close()
