"""A server for tests of the balancer, which stands for the platform and behaves as it is told.

What it is told and asked by the test goes to `/_be` and `/_seen`, never through the balancer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar

import requests

from tests.server import ROOT, wait_until

WELL: dict[str, Any] = {"status": 200, "delay_s": 0.0, "headers": {}, "ready": True, "ready_delay_s": 0.0, "hangs_up": False}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    name = ""
    be: ClassVar[dict[str, Any]] = WELL
    seen: ClassVar[list[dict[str, Any]]] = []
    checks = 0
    guard = threading.Lock()

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/_be":
            Handler.be = {**WELL, **json.loads(body)}
            with self.guard:
                Handler.seen = []
            self.send(200, [])
        elif self.path == "/_seen":
            self.send(200, {"seen": self.seen, "checks": self.checks})
        elif self.path == "/readyz" and "X-Forwarded-For" not in self.headers:
            Handler.checks += 1
            time.sleep(self.be["ready_delay_s"])
            self.send(200 if self.be["ready"] else 503, {})
        else:
            self.serve()

    do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815

    def serve(self) -> None:
        be = self.be
        asked = {"server": self.name, "method": self.command, "path": self.path, "headers": self.headers.items()}
        with self.guard:
            self.seen.append(asked)
        if be["hangs_up"]:
            self.close_connection = True
            return
        time.sleep(be["delay_s"])
        self.send(be["status"], asked, be["headers"])

    def send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Listening(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be silent about HAProxy closing a connection."""


class TinyServer:
    """One of them in a process of its own, in the place that the prefix of its command leads to."""

    def __init__(self, name: str, host: str, port: int, prefix: Sequence[str] = ()) -> None:
        self.name = name
        self.address = f"{host}:{port}"
        self._command = [*prefix, sys.executable, "-m", "tests.deploy.tiny_server", name, host, str(port)]

    def __enter__(self) -> TinyServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, cwd=ROOT, env={"PATH": os.environ["PATH"]})
        wait_until(self.answers)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(30)

    def answers(self) -> bool:
        assert self._process.poll() is None
        try:
            return requests.get(f"http://{self.address}/_seen", timeout=5).ok
        except requests.ConnectionError:
            return False

    def be(self, **behaviour: Any) -> None:
        """Forget what was seen, and behave so from now on: WELL but for what is named."""
        requests.post(f"http://{self.address}/_be", json=behaviour, timeout=5).raise_for_status()

    def seen(self) -> list[dict[str, Any]]:
        """Return what was asked through the balancer, in the order of its arrival."""
        seen: list[dict[str, Any]] = self._told()["seen"]
        return seen

    def checks(self) -> int:
        """Return how often the balancer asked whether it is ready."""
        checks: int = self._told()["checks"]
        return checks

    def _told(self) -> dict[str, Any]:
        told: dict[str, Any] = requests.get(f"http://{self.address}/_seen", timeout=5).json()
        return told


if __name__ == "__main__":
    Handler.name = sys.argv[1]
    Listening((sys.argv[2], int(sys.argv[3])), Handler).serve_forever()
