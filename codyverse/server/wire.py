"""A connection: what the event loop knows of it, and what gunicorn's code takes for its socket while a thread has it.

A thread never waits for a client that reads slowly: what the kernel does not take at once is kept, and the event loop sends it
later. Only an answer that is larger than BUFFERED_BYTES has its thread wait. A thread reads from the client only the bodies that
the event loop could not read beforehand, such as chunked ones, and only until a deadline.

A connection is the event loop's or a thread's, never both at a time, so it needs no lock.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from gunicorn.config import Config
from gunicorn.http import get_parser

from codyverse.server.heads import Outline
from codyverse.server.shell import Refused

BUFFERED_BYTES = 4_000_000
SLOWEST_BYTES_PER_S = 20_000  # what a client must send or read beyond the first seconds
PATIENCE_S = 10.0
_MOST_PIECES = 16
_HEAD, _HEAD_END = b"HTTP/1.", b"\r\n\r\n"
_CHUNKED = b"\r\nTransfer-Encoding: chunked\r\n"


class Phase(Enum):
    """What the event loop waits for."""

    IDLE = auto()  # for the first byte of a head
    HEAD = auto()
    BODY = auto()
    THREAD = auto()  # for nothing: a thread has it, or will have it
    ANSWER = auto()  # for the client to read
    LINGER = auto()  # for the client to close, who may still be sending


IDLE, HEAD, BODY, THREAD, ANSWER, LINGER = Phase  # to look one up in its class takes three times as long as to compare it


class Connection:
    """One client's connection. `deadline` is when the present phase must be over, by the monotonic clock."""

    # What gunicorn's worker looks at.
    initialized = True
    data_ready = True
    is_http2 = False

    def __init__(self, cfg: Config, peer: socket.socket, client: Any, server: Any) -> None:
        peer.setblocking(False)
        self.peer = peer
        self.client = client
        self.server = server
        self.phase = IDLE
        self.deadline = 0.0
        self.received = bytearray()
        self.wanted_bytes = 0  # of head and body together, before a thread gets it
        self.outline: Outline | None = None  # of the head that was read
        self.reaction: Callable[[Any], None] | None = None
        self.read_until = 0.0  # for a thread, which reads nothing later
        self.counted_received = 0  # bytes, as the event loop has added them up
        self.counted_unsent = 0
        self.keeps = True
        self.is_dropped = False
        self.refused: Refused | None = None
        self.sock = self  # the socket, as far as gunicorn knows
        self.parser: Any = None
        self.unsent_bytes = 0
        self._patience_s = PATIENCE_S  # of a thread with one answer
        self._cfg = cfg
        self._unsent: deque[memoryview] = deque()

    # ---- for the event loop

    def receive(self, most: int) -> bytes | None:
        """Return what has come, None for nothing yet, no bytes at the end. Raises OSError."""
        try:
            return self.peer.recv(most)
        except (BlockingIOError, InterruptedError):
            return None

    def prepare(self, read_s: float) -> None:
        """Make ready what a thread parses: a parser for one request, with all that was received. More is read for `read_s`."""
        self.read_until = time.monotonic() + read_s
        self._patience_s = PATIENCE_S
        self.parser = get_parser(self._cfg, self, self.client)
        self.parser.unreader.unread(bytes(self.received))
        self.received = bytearray()

    def left_over(self) -> bytes:
        """Return what was received behind the request that was answered."""
        self.refused = self.outline = None
        if self.parser is None:
            return b""
        rest: bytes = self.parser.unreader.take_buffered()
        self.parser = None
        return rest

    def queue(self, *pieces: bytes) -> None:
        """Keep something to send."""
        for piece in pieces:
            if piece:
                self._unsent.append(memoryview(piece))
                self.unsent_bytes += len(piece)

    def answer(self, head: bytes, body: bytes) -> bool:
        """Send an answer when nothing else is unsent; returns whether that was all, the rest is kept. Raises OSError."""
        try:
            sent = self.peer.sendmsg((head, body))
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent == len(head) + len(body):
            return True
        self.queue(head, body)
        self._forget(sent)
        return False

    def flush(self) -> bool:
        """Send what the client takes now; returns whether that was all. Raises OSError."""
        while self._unsent:
            pieces = [self._unsent[number] for number in range(min(_MOST_PIECES, len(self._unsent)))]
            try:
                sent = self.peer.sendmsg(pieces)
            except (BlockingIOError, InterruptedError):
                return False
            self._forget(sent)
        return True

    def _forget(self, sent: int) -> None:
        self.unsent_bytes -= sent
        while sent:
            first = self._unsent[0]
            if sent < len(first):
                self._unsent[0] = first[sent:]
                return
            sent -= len(first)
            self._unsent.popleft()

    def drop(self) -> None:
        """Close the connection, whatever is unsent."""
        self.is_dropped = True
        self._unsent.clear()
        self.unsent_bytes = 0
        self.peer.close()

    # ---- for gunicorn, in a thread

    def init(self) -> None:
        """Do nothing: a connection is ready when a thread gets it."""

    def recv(self, size: int) -> bytes:
        """Return what the client sends in time. Raises OSError: a client that is too slow is as good as gone."""
        if not self._can(select.POLLIN, self.gettimeout()):
            raise ConnectionResetError(errno.ECONNRESET, "too slow")
        return self.peer.recv(size)

    def sendall(self, data: bytes) -> None:
        """Send, now or later. Raises OSError, also when a large answer is read too slowly.

        The head of an answer is held until its body comes, so that both go in one packet; not that of a stream, whose body may
        take its time.
        """
        if not self._unsent and data.startswith(_HEAD) and data.endswith(_HEAD_END) and _CHUNKED not in data:
            self.queue(data)
            return
        self.queue(bytes(data))
        if not self.flush():
            while self.unsent_bytes > BUFFERED_BYTES:
                self._wait_for_reader()

    def _wait_for_reader(self) -> None:
        """Send some more once the client reads: waiting takes from the thread's patience, what is read gives some back."""
        began, before = time.monotonic(), self.unsent_bytes
        if self._patience_s <= 0 or not self._can(select.POLLOUT, self._patience_s):
            raise BrokenPipeError(errno.EPIPE, "too slow")
        self.flush()
        earned_s = (before - self.unsent_bytes) / SLOWEST_BYTES_PER_S
        self._patience_s = min(PATIENCE_S, self._patience_s - (time.monotonic() - began) + earned_s)

    def send(self, data: bytes) -> int:
        """Send all of it, and return its length."""
        self.queue(bytes(data))
        self.flush()
        return len(data)

    def _can(self, event: int, within_s: float) -> bool:
        waiting = select.poll()
        waiting.register(self.peer, event)
        return bool(waiting.poll(within_s * 1000))

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self.peer.fileno()

    def setblocking(self, flag: bool) -> None:
        """Do nothing: whether a thread waits is decided here."""

    def gettimeout(self) -> float:
        """Return the seconds that are left to a thread."""
        return max(0.0, self.read_until - time.monotonic())

    def settimeout(self, seconds: float) -> None:
        """Do nothing: gunicorn's own limits are longer than what is left."""

    def shutdown(self, how: int) -> None:
        """Read no more; the event loop ends what a thread has answered."""
        self.read_until = 0.0

    def close(self) -> None:
        """Do nothing, as above, but keep no more requests."""
        self.keeps = False
