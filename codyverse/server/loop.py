"""What the event loop does with connections: read requests, answer hits, queue the rest, send what threads have answered.

Every phase has a deadline, and what connections hold in memory is bounded over all of them together, so whoever sends or reads
slowly, however many of them there are, costs a descriptor and a little memory for a few seconds.
"""

from __future__ import annotations

import logging
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol

from gunicorn.config import Config

from codyverse.operations import request_ids
from codyverse.server import heads
from codyverse.server.admission import Admission, classify, waiting_since
from codyverse.server.hits import Answer, Hits, remote_address
from codyverse.server.refusals import is_ordinary, refusal
from codyverse.server.wire import ANSWER, BODY, HEAD, IDLE, LINGER, SLOWEST_BYTES_PER_S, THREAD, Connection, Phase
from config import Settings

log = logging.getLogger("codyverse.performance")

RECEIVE_BYTES = 65_536
RECEIVE_FIRST_BYTES = 4_096  # of the next request: a whole head nearly always, and room for more takes 1.5 µs to make
LONGEST_HEAD_BYTES = 65_536
LONGEST_UPLOAD_BYTES = 4_000_000  # more than any route takes that takes more than others
RECEIVED_BYTES = 64_000_000  # of requests that are not answered, all connections together
UNSENT_BYTES = 64_000_000  # of answers that are not read, all connections together
SMALL_BYTES = 65_536  # what a request may have that is never refused for want of that room
LINGER_S = 2.0


class AccessLog(Protocol):
    """Where answers are noted."""

    def note(
        self, method: str, path: str, status: int, sent_bytes: int, seconds: float, address: str, request_id: str, agent: str
    ) -> None:
        """Note one answer."""


class Loop:
    """The connections of a worker that no thread has."""

    def __init__(
        self,
        cfg: Config,
        poller: selectors.BaseSelector,
        admission: Admission[Connection],
        settings: Settings,
        hits: Hits | None,
        access_log: AccessLog | None,
        released: Callable[[], None],
        refused: Callable[[str, int], None] = lambda *_: None,
    ) -> None:
        """`released` hears of every connection that is gone, `refused` the method and the status of every refusal."""
        self.answered_here = 0
        self._cfg = cfg
        self._keepalive_s = cfg.keepalive  # which gunicorn's object takes long to tell
        self._poller = poller
        self._admission = admission
        self._settings = settings
        self._longest_body = max(LONGEST_UPLOAD_BYTES, settings.max_body_bytes)
        self._hits = hits
        self._access_log = access_log
        self._released = released
        self._refused = refused
        self._connections: dict[Connection, None] = {}
        self._received_bytes = 0
        self._unsent_bytes = 0
        self._leaving = False

    def take(self, peer: socket.socket, client: Any, server: Any) -> None:
        """Begin with a connection that was accepted."""
        connection = Connection(self._cfg, peer, client, server)
        connection.reaction = partial(self._react, connection)
        self._attempt(connection, self._wait, HEAD, self._settings.head_deadline_s)

    def answered(self, connection: Connection, keeps: bool) -> None:
        """Go on with a connection that a thread has finished with."""
        connection.keeps = connection.keeps and keeps
        self._attempt(connection, self._send)

    def leave(self) -> None:
        """Let connections end: those on which nothing is under way soon, the others with their next answer."""
        self._leaving = True
        self._hits = None
        soon = time.monotonic() + LINGER_S  # a client may be sending its next request already
        for connection in self._connections:
            if connection.phase is IDLE:
                connection.deadline = min(connection.deadline, soon)

    def close(self) -> None:
        """Close everything; who waited for a thread hears that there will be none."""
        for _, connection in self._admission.expired():
            self.shed(connection)
        for connection in list(self._connections):
            self._drop(connection)

    def sweep(self) -> None:
        """End what is late, and what takes too much room."""
        for _, connection in self._admission.expired():
            self.shed(connection)
        now = time.monotonic()
        for connection in [each for each in self._connections if each.deadline < now]:
            self._attempt(connection, self._late)
        self._make_room()

    def refused(self, connection: Connection, status: int, keeps: bool = False) -> None:
        """Have a refusal sent next, with which the connection ends unless it is kept."""
        request_id = request_ids.take(None, trusted=False)
        connection.keeps = keeps
        head, body = refusal(status, request_id, keeps)
        outline = connection.outline
        method, path = (outline.method, outline.path) if outline is not None else ("", "")
        body = b"" if method == "HEAD" else body
        connection.queue(head, body)
        self._refused(method, status)
        if self._access_log is not None:
            address = remote_address(connection.client)
            self._access_log.note(method, path, status, len(body), 0.0, address, request_id, "")

    def shed(self, connection: Connection) -> None:
        """Refuse a request that no thread will take; its connection may be used again, which costs less than a new one."""
        is_whole = len(connection.received) == connection.wanted_bytes and is_ordinary(connection.received)
        self._attempt(connection, self._refuse, HTTPStatus.SERVICE_UNAVAILABLE, is_whole and not self._leaving)

    # ---- waiting

    def _wait(self, connection: Connection, phase: Phase, deadline_s: float, event: int = selectors.EVENT_READ) -> None:
        connection.phase = phase
        connection.deadline = time.monotonic() + deadline_s
        if connection in self._connections:
            self._poller.modify(connection.peer, event, connection.reaction)
        else:
            self._poller.register(connection.peer, event, connection.reaction)
            self._connections[connection] = None

    def _react(self, connection: Connection, _: Any) -> None:
        try:
            self._proceed(connection)
        except Exception as error:
            self._fail(connection, error)

    def _attempt(self, connection: Connection, step: Callable[..., None], *arguments: Any) -> None:
        """Do something with a connection. What goes wrong with one is the end of that one: the worker serves others."""
        try:
            step(connection, *arguments)
        except Exception as error:
            self._fail(connection, error)

    def _fail(self, connection: Connection, error: Exception) -> None:
        if not isinstance(error, OSError):
            log.error("a connection failed", exc_info=error)
        self._drop(connection)

    def _proceed(self, connection: Connection) -> None:
        if connection.phase is ANSWER:
            self._send(connection)
        elif connection.phase is LINGER:
            if connection.receive(RECEIVE_BYTES) == b"":
                self._drop(connection)
        else:
            self._read(connection)

    def _forget(self, connection: Connection) -> None:
        if connection in self._connections:
            del self._connections[connection]
            with suppress(KeyError):  # a selector that could not modify what it waits for has forgotten it
                self._poller.unregister(connection.peer)

    def _drop(self, connection: Connection) -> None:
        if connection.is_dropped:  # already, by what the caller did before it failed
            return
        self._forget(connection)
        self._account(connection, 0, 0)
        connection.drop()
        self._released()

    def _late(self, connection: Connection) -> None:
        begun = connection.phase is BODY or (connection.phase is HEAD and connection.received)
        if begun:
            self._refuse(connection, HTTPStatus.REQUEST_TIMEOUT)
        else:
            self._drop(connection)

    def _account(self, connection: Connection, received: int, unsent: int) -> None:
        """Note what a connection holds now."""
        self._received_bytes += received - connection.counted_received
        self._unsent_bytes += unsent - connection.counted_unsent
        connection.counted_received, connection.counted_unsent = received, unsent

    def _make_room(self) -> None:
        """End the largest requests that are not complete, and the answers with the least time left, until others have room."""
        if self._received_bytes > RECEIVED_BYTES:
            log.warning("requests that are not complete hold %d bytes: the largest are given up", self._received_bytes)
            for connection in sorted(self._connections, key=lambda each: -each.counted_received):
                if self._received_bytes > RECEIVED_BYTES and connection.counted_received:
                    self.shed(connection)
        if self._unsent_bytes > UNSENT_BYTES:
            for connection in sorted(self._connections, key=lambda each: each.deadline):
                if self._unsent_bytes > UNSENT_BYTES and connection.counted_unsent:
                    self._drop(connection)

    # ---- reading

    def _read(self, connection: Connection) -> None:
        data = connection.receive(RECEIVE_FIRST_BYTES if connection.phase is IDLE else RECEIVE_BYTES)
        if data is None:
            return
        if not data:
            if connection.phase is BODY:  # who has sent less than announced may still be reading
                self._refuse(connection, HTTPStatus.BAD_REQUEST)
            else:
                self._drop(connection)
            return
        self._arrived(connection, data)

    def _wait_on(self, connection: Connection, phase: Phase, deadline_s: float) -> None:
        """Go into another phase that waits for the same event."""
        connection.phase = phase
        connection.deadline = time.monotonic() + deadline_s

    def _arrived(self, connection: Connection, data: bytes) -> None:
        """Go on with what has come: of a head, a hit, or a body."""
        received = connection.received
        searched = max(0, len(received) - len(heads.END) + 1)
        is_first = not received
        if not is_first:
            received += data
        if connection.phase is not BODY:
            whole = data if is_first else received
            if whole.endswith(heads.END) and self._answers(connection, bytes(whole)):
                return
            if connection.phase is IDLE:
                self._wait_on(connection, HEAD, self._settings.head_deadline_s)
            if is_first:
                received += data
            end = received.find(heads.END, searched)
            if end < 0:
                self._is_part_of_head(connection)
                return
            self._has_head(connection, end + len(heads.END))
        if len(received) < connection.wanted_bytes:
            self._account(connection, len(received), 0)
        else:
            self._enqueue(connection)

    def _is_part_of_head(self, connection: Connection) -> None:
        received = connection.received
        if len(received) > LONGEST_HEAD_BYTES:
            too_long = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            self._refuse(connection, too_long if b"\r\n" in received else HTTPStatus.REQUEST_URI_TOO_LONG)
        elif received.count(b"\n") != received.count(b"\r\n"):
            self._refuse(connection, HTTPStatus.BAD_REQUEST)  # a head with bare line feeds has no end that all would agree on
        else:
            self._account(connection, len(received), 0)

    def _has_head(self, connection: Connection, length: int) -> None:
        """Decide where a request goes whose head is complete."""
        outline = connection.outline = heads.outline(bytes(connection.received[:length]))
        is_read_here = outline.length is not None and outline.length <= self._longest_body
        connection.wanted_bytes = length + (outline.length or 0) if is_read_here else 0
        body_s = self._settings.body_deadline_s + (outline.length or 0) / SLOWEST_BYTES_PER_S
        self._wait_on(connection, BODY, body_s)

    def _answers(self, connection: Connection, head: bytes) -> bool:
        """Answer a head if its finished response is at hand; returns whether it is answered."""
        if self._hits is None:
            return False
        began = time.monotonic()
        found = self._hits.answer(head, connection.client)
        if not isinstance(found, Answer):
            connection.refused = found
            return False
        self.answered_here += 1
        if connection.received:
            connection.received = bytearray()
        is_sent = connection.answer(found.head, found.body)
        ended = time.monotonic()
        if is_sent:
            connection.phase, connection.deadline = IDLE, ended + self._keepalive_s
            if connection.counted_received:
                self._account(connection, 0, 0)
        else:
            self._send(connection)
        if self._access_log is not None:
            self._access_log.note(
                found.method,
                found.path,
                found.status,
                len(found.body),
                ended - began,
                found.address,
                found.request_id,
                found.agent,
            )
        return True

    # ---- queueing

    def _enqueue(self, connection: Connection) -> None:
        outline = connection.outline
        assert outline is not None
        klass = classify(outline.method, outline.path, outline.accept, outline.length is None)
        started = outline.started if self._settings.trusted_proxies else None
        since = waiting_since(started, time.monotonic(), time.time())
        self._forget(connection)
        self._account(connection, len(connection.received), 0)  # until it is answered
        connection.phase = THREAD
        if self._received_bytes > RECEIVED_BYTES and len(connection.received) > SMALL_BYTES:
            self.shed(connection)
            return
        for _, shed in self._admission.put(klass, connection, since):
            self.shed(shed)

    # ---- sending

    def _refuse(self, connection: Connection, status: HTTPStatus, keeps: bool = False) -> None:
        connection.received = bytearray()
        self.refused(connection, status, keeps)
        self._send(connection)

    def _send(self, connection: Connection) -> None:
        """Send what there is; go on when all is sent, wait for the client when not."""
        try:
            done = connection.flush()
        except OSError:
            self._drop(connection)
            return
        if done:
            self._account(connection, 0, 0)
            self._sent(connection)
            return
        self._account(connection, 0, connection.unsent_bytes)
        if connection.phase is not ANSWER:
            answer_s = self._settings.answer_deadline_s + connection.unsent_bytes / SLOWEST_BYTES_PER_S
            self._wait(connection, ANSWER, answer_s, selectors.EVENT_WRITE)

    def _sent(self, connection: Connection) -> None:
        left_over = connection.left_over()
        if not connection.keeps:
            self._linger(connection)
            return
        keepalive_s = min(self._cfg.keepalive, LINGER_S) if self._leaving else self._cfg.keepalive
        if connection.phase in (HEAD, IDLE):
            self._wait_on(connection, IDLE, keepalive_s)
        else:
            self._wait(connection, IDLE, keepalive_s)
        if left_over:
            self._wait_on(connection, HEAD, self._settings.head_deadline_s)
            self._arrived(connection, left_over)

    def _linger(self, connection: Connection) -> None:
        """Close, but let a client that is still sending read the answer first (RFC 9112, 9.6)."""
        try:
            connection.peer.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(connection)
            return
        self._wait(connection, LINGER, LINGER_S)
