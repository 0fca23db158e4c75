"""What passes between clients and PostgreSQL (protocol 3.0), as far as the tests of faults have to know it."""

from __future__ import annotations

import struct
import threading
from collections import Counter
from collections.abc import Callable

SSL_REQUEST, GSS_REQUEST = 80877103, 80877104
STATEMENTS = (b"Q", b"P")


class Traffic:
    """Counts what all connections of a proxy send, and tells of commits."""

    def __init__(self) -> None:
        self.connections = 0
        self.sent: Counter[str] = Counter()  # messages of clients by their type
        self.on_commit: Callable[[int], None] | None = None  # is told the process id of the session that commits
        self._turn = threading.Lock()

    def listener(self) -> Session:
        """Return the listener of a new connection."""
        with self._turn:
            self.connections += 1
        return Session(self)

    def attempts(self) -> int:
        """Return how often clients tried something: a connection or a statement."""
        with self._turn:
            return self.connections + sum(self.sent[kind.decode()] for kind in STATEMENTS)

    def count(self, kind: str) -> None:
        """Count a message."""
        with self._turn:
            self.sent[kind] += 1


class Session:
    """One connection."""

    def __init__(self, traffic: Traffic) -> None:
        self.pid = 0
        self._traffic = traffic
        self._of_client = bytearray()
        self._of_server = bytearray()
        self._started = False

    def sent(self, data: bytes) -> None:
        """Hear what the client sent."""
        self._of_client += data
        while (message := self._next_of_client()) is not None:
            kind, body = message
            self._traffic.count(kind)
            if kind == "Q" and body.upper().startswith(b"COMMIT") and self._traffic.on_commit:
                self._traffic.on_commit(self.pid)

    def answered(self, data: bytes) -> None:
        """Hear what the server sent: only its first messages, of which one holds the process id of the session."""
        if self.pid:
            return
        self._of_server += data
        if self._of_server[:1] in (b"N", b"S") and not self._started:
            del self._of_server[:1]  # the answer to the question for encryption
        while not self.pid and len(self._of_server) >= 5:
            length = 1 + struct.unpack_from("!I", self._of_server, 1)[0]
            if len(self._of_server) < length:
                return
            if self._of_server[:1] == b"K":
                self.pid = struct.unpack_from("!I", self._of_server, 5)[0]
            del self._of_server[:length]

    def _next_of_client(self) -> tuple[str, bytes] | None:
        head = 1 if self._started else 0  # the messages before the session begins have no type
        if len(self._of_client) < head + 4:
            return None
        length = head + struct.unpack_from("!I", self._of_client, head)[0]
        if len(self._of_client) < length:
            return None
        message = bytes(self._of_client[:length])
        del self._of_client[:length]
        if self._started:
            return message[:1].decode("latin-1"), message[5:]
        if struct.unpack_from("!I", message, 4)[0] in (SSL_REQUEST, GSS_REQUEST):
            return "encryption", b""
        self._started = True
        return "startup", b""
