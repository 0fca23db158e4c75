"""One head, answered by the fast path as a worker would, and by gunicorn with an application that keeps no answers.

Gunicorn's part is gunicorn's own code: parser, environment, response and what its gthread worker makes of errors. Only the socket
is made up, and the configuration is read from gunicorn.conf.py.
"""

from __future__ import annotations

import ast
import gzip
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import brotli
from flask import Flask
from flask_compress.compat import compression
from gunicorn.config import Config
from gunicorn.workers.gthread import TConn, ThreadWorker

from codyverse.server.front import NAME, Front
from codyverse.server.hits import Address, Answer
from codyverse.server.shell import REFUSED, Refused
from tests.server import ROOT

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
SERVER = ("127.0.0.1", 8000)
DECODE = {"zstd": compression.zstd.decompress, "br": brotli.decompress, "gzip": gzip.decompress}


def gunicorn_config() -> Config:
    """Return gunicorn's configuration with the plain values of gunicorn.conf.py."""
    cfg = Config()
    for line in ast.parse((ROOT / "gunicorn.conf.py").read_text("utf-8")).body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name) and line.targets[0].id in cfg.settings:
            try:
                cfg.set(line.targets[0].id, ast.literal_eval(line.value))
            except ValueError:
                continue  # depends on the machine: where to listen, where the heartbeat lies
    cfg.set("sendfile", False)  # as the worker has it
    return cfg


class _Socket:
    """What a client has sent, all at once, and what it receives."""

    def __init__(self, data: bytes) -> None:
        self.unread = data
        self.sent = bytearray()
        self.is_asked_for_more = False

    def setblocking(self, flag: bool) -> None:
        pass

    def recv(self, size: int) -> bytes:
        data, self.unread = self.unread[:size], self.unread[size:]
        self.is_asked_for_more = self.is_asked_for_more or not data
        return data

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def send(self, data: bytes) -> int:
        self.sent += data
        return len(data)


class _Log:
    """Gunicorn's log: nothing is expected in it but what clients do wrong."""

    def access(self, *about: Any) -> None:
        pass

    debug = info = warning = access

    def exception(self, message: str, *parts: Any) -> None:
        raise AssertionError(message % parts)


@dataclass
class Outcome:
    """What became of a request: what was sent, whether the connection goes on, and with which bytes behind the request."""

    sent: bytes
    keeps: bool
    left: bytes
    is_asked_for_more: bool
    environ: dict[str, Any] | None  # as the application got it, None when gunicorn refused


class Gunicorn(ThreadWorker):  # type: ignore[misc]
    """The gthread worker without processes, sockets and threads: it has one request at a time."""

    def __init__(self, app: Flask) -> None:
        super().__init__(0, os.getpid(), [], None, 30, gunicorn_config(), _Log())
        self.app = app
        self.wsgi = self._call
        self._seen: dict[str, Any] | None = None
        self._refused: Refused | None = None

    def ask(self, data: bytes, peer: Address, refused: Refused | None = None) -> Outcome:
        """Answer the first request of some bytes."""
        self._seen, self._refused = None, refused
        sock = _Socket(data)
        connection = TConn(self.cfg, sock, peer, SERVER)
        connection.data_ready = True
        keeps = bool(self.handle(connection))
        left = connection.parser.unreader.take_buffered() + sock.unread
        return Outcome(bytes(sock.sent), keeps, left, sock.is_asked_for_more, self._seen)

    def _call(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self._seen = dict(environ)
        if self._refused is not None:
            environ[REFUSED] = self._refused  # as the worker tells it
        answer: Iterable[bytes] = self.app(environ, start_response)
        return answer


class BothWays:
    """An application with the fast path, and the same without any answers kept."""

    def __init__(self, with_store: Flask, without: Flask) -> None:
        front: Front = with_store.extensions[NAME]
        assert front.hits is not None
        assert "codyverse.responses" not in without.extensions
        self.hits = front.hits
        self.with_store = Gunicorn(with_store)
        self.without = Gunicorn(without)

    def fast(self, data: bytes, peer: Address) -> Answer | Refused | None:
        """Ask the fast path."""
        return self.hits.answer(data, peer)

    def close(self) -> None:
        """Close what gunicorn's workers have open."""
        self.with_store.tmp.close()
        self.without.tmp.close()


@dataclass
class Message:
    """An answer taken apart, framing and compression undone: about these both may choose, within what HTTP allows."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes
    has_length: bool


def message(sent: bytes, is_head: bool) -> Message:
    """Return the one answer that was sent, without its request id. Fails for what is none, and for framing that does not fit."""
    head, end, body = sent.removeprefix(CONTINUE).partition(b"\r\n\r\n")
    assert end, f"no answer: {sent!r}"
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
    told = dict(headers)
    left_out = {"transfer-encoding", "x-request-id"}
    if told.get("transfer-encoding") == "chunked":
        body = _joined(body)
    elif "content-length" not in told:
        assert told["connection"] == "close" or is_head or status.split()[1] == "304"
    elif not (is_head or status.split()[1] == "304"):
        assert len(body) == int(told["content-length"])
    assert not (body and is_head)
    encoding = told.get("content-encoding")
    if encoding:
        left_out.add("content-length")  # the same may be squeezed harder
        body = body and DECODE[encoding](body)
    request_id = told.get("x-request-id", "").encode("latin-1")
    body = body.replace(request_id, b"its id") if request_id else body
    return Message(status, [pair for pair in headers if pair[0] not in left_out], body, "content-length" in told)


def _joined(chunks: bytes) -> bytes:
    body = b""
    while True:
        size, _, chunks = chunks.partition(b"\r\n")
        length = int(size, 16)
        body += chunks[:length]
        assert chunks[length : length + 2] == b"\r\n"
        chunks = chunks[length + 2 :]
        if not length:
            assert not chunks
            return body
