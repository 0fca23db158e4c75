"""Who hears of alerts in tests: a web server and a mail server on 127.0.0.1 that write down what they are told."""

from __future__ import annotations

import socketserver
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import TracebackType
from typing import Any

import orjson


@dataclass
class Posted:
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self.body)
        return found


class _Listening:
    """A context in which a server listens in a thread of its own."""

    _server: socketserver.BaseServer

    def __enter__(self) -> Any:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join(30)
        self._server.server_close()


class Web(_Listening):
    """A web server; `statuses` are what it answers next, 200 when they are used up."""

    def __init__(self) -> None:
        self.posted: list[Posted] = []
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.posted.append(Posted(self.path, dict(self.headers), body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                self.send_header("Content-Length", "0")
                self.send_header("Location", receiver.url)
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?for=us"


@dataclass
class Post(_Listening):
    """A mail server without TLS; `refuses` are the codes that it answers to the next recipients."""

    refuses: list[int] = field(default_factory=list)
    mails: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        office = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.say("220 ready")
                for line in self.rfile:
                    text = line.decode().strip()
                    command = text[:4].upper()
                    if command == "DATA":
                        self.say("354 go on")
                        office.mails.append(self.mail())
                        self.say("250 taken")
                    elif command == "EHLO":
                        self.say("250-here\r\n250 AUTH PLAIN")
                    elif command == "AUTH":
                        office.logins.append(text)
                        self.say("235 welcome")
                    elif command == "RCPT" and office.refuses:
                        self.say(f"{office.refuses.pop(0)} no")
                    elif command == "QUIT":
                        self.say("221 bye")
                        return
                    else:
                        self.say("250 well")

            def say(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())

            def mail(self) -> str:
                lines = []
                while (line := self.rfile.readline()) not in (b".\r\n", b""):
                    lines.append(line.decode())
                return "".join(lines)

        self._server = socketserver.TCPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
