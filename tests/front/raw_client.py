"""A client that sends bytes as they are, in the pieces it is told to, and takes answers apart one by one."""

from __future__ import annotations

import fcntl
import re
import socket
import struct
import termios
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from tests.server import wait_until

PATIENCE_S = 20.0


class Reply(NamedTuple):
    """An answer as it came over the wire: `interim` says whether a 100 came before it, `framing` how its end was told."""

    status: int
    framing: str
    connection: str
    content_type: str
    body: bytes
    interim: bool = False


class RawClient:
    """A context with a connection to a port of 127.0.0.1, or to a Unix socket."""

    def __init__(self, where: int | Path) -> None:
        if isinstance(where, int):
            self._socket = socket.create_connection(("127.0.0.1", where), timeout=PATIENCE_S)
        else:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(PATIENCE_S)
            self._socket.connect(str(where))
        self._received = b""

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send; that the server has closed already shows when its answer is read."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(data)

    def send_apart(self, *pieces: bytes) -> None:
        """Send pieces through a Unix socket, each after the server has read the one before."""
        for piece in pieces:
            wait_until(self._is_read)
            self.send(piece)

    def end(self) -> None:
        """Say that no more comes."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def reply(self, method: str) -> Reply | None:
        """Return the answer to a request, None when the connection ended instead. Without a method it is refused, and the end."""
        head = self._until(b"\r\n\r\n")
        if head is None:
            return None
        if head.startswith(b"HTTP/1.1 100 "):
            reply = self.reply(method)
            return reply and reply._replace(interim=True)
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        status = int(first.split(" ")[1])
        if method:
            framing, body = self._body(headers, has_none=method == "HEAD" or status == 304)
        else:
            framing, body = "refused", self.rest()
            assert len(body) in (0, int(headers["content-length"]))  # it may have been a HEAD, which not every server heeds
        request_id = headers.get("x-request-id", "-").encode()
        body = re.sub(rb'"request_id":"[^"]*"', b"", body).replace(request_id, b"its id") if request_id != b"-" else body
        return Reply(status, framing, headers.get("connection", ""), headers.get("content-type", ""), body)

    def rest(self) -> bytes:
        """Return what else is sent until the connection ends."""
        while self._more():
            pass
        rest, self._received = self._received, b""
        return rest

    def _body(self, headers: dict[str, str], has_none: bool) -> tuple[str, bytes]:
        if headers.get("transfer-encoding") == "chunked":
            return "chunked", b"" if has_none else self._chunks()
        if "content-length" in headers:
            length = int(headers["content-length"])
            return f"{length} bytes", b"" if has_none else self._exactly(length)
        return "none", b"" if has_none else self.rest()

    def _chunks(self) -> bytes:
        body = b""
        while True:
            length = int(self._until(b"\r\n") or b"", 16)
            body += self._exactly(length)
            assert self._exactly(2) == b"\r\n"
            if not length:
                return body

    def _until(self, mark: bytes) -> bytes | None:
        while mark not in self._received:
            if not self._more():
                assert not self._received, f"the answer is cut off: {self._received!r}"
                return None
        found, _, self._received = self._received.partition(mark)
        return found

    def _exactly(self, length: int) -> bytes:
        while len(self._received) < length:
            assert self._more(), "the answer is cut off"
        found, self._received = self._received[:length], self._received[length:]
        return found

    def _more(self) -> bool:
        try:
            data = self._socket.recv(65_536)
        except ConnectionResetError:
            return False
        self._received += data
        return bool(data)

    def _is_read(self) -> bool:
        """Say whether the server has read all that was sent: until then a Unix socket's kernel counts it as the sender's."""
        unread: int = struct.unpack("i", fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)))[0]
        return unread == 0
