"""Finished responses as an event loop sends them: from the bytes of a request's head to the bytes of its answer.

The shell decides, and the parts that stand before it decide who asks and for which host, so nothing is answered here that WSGI
would answer otherwise. What this adds is gunicorn's share: the lines before the application's headers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gunicorn import SERVER
from gunicorn.util import http_date

from codyverse.operations import request_ids
from codyverse.server import heads
from codyverse.server.shell import Hit, Refused

Address = tuple[str, int] | str | bytes | None


@dataclass(slots=True)
class Answer:
    """What to send, and what a log says of it."""

    head: bytes
    body: bytes
    method: str
    path: str
    status: int
    address: str
    request_id: str
    agent: str


class Hits:
    """Answers heads."""

    def __init__(
        self,
        hit: Callable[[dict[str, Any], None], Hit | Refused | None],
        request_id: Callable[[str | None], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`hit` is `Shell.hit` behind what WSGI has before the shell."""
        self._hit = hit
        self._request_id = request_id
        self._clock = clock
        self._second = 0
        self._begin: dict[str, bytes] = {}

    def answer(self, head: bytes, peer: Address) -> Answer | Refused | None:
        """Return the answer to a head, or why it was refused; None when only the application can answer."""
        environ = heads.plain(head)
        if environ is None:
            return None
        environ["REMOTE_ADDR"] = remote_address(peer)
        environ["wsgi.url_scheme"] = "http"
        request_id = self._request_id(environ.get("HTTP_X_REQUEST_ID"))
        hit = self._hit(environ, None)
        if not isinstance(hit, Hit):
            return hit
        last_lines = f"{hit.told.lines()}{request_ids.HEADER}: {request_id}\r\n\r\n"
        answer = b"".join((self._first_lines(hit.status), hit.variant.block(), last_lines.encode("ascii")))
        method, path, agent = environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_USER_AGENT", "")
        return Answer(answer, hit.body, method, path, int(hit.status[:3]), environ["REMOTE_ADDR"], request_id, agent)

    def _first_lines(self, status: str) -> bytes:
        second = int(self._clock())
        if second != self._second:
            self._second, self._begin = second, {}
        found = self._begin.get(status)
        if found is None:
            lines = f"HTTP/1.1 {status}\r\nServer: {SERVER}\r\nDate: {http_date(second)}\r\nConnection: keep-alive\r\n"
            found = self._begin[status] = lines.encode("latin-1")
        return found


def remote_address(peer: Address) -> str:
    """Return the address as gunicorn has it in REMOTE_ADDR."""
    if isinstance(peer, tuple):
        return peer[0]
    return peer.decode() if isinstance(peer, bytes) else peer or ""
