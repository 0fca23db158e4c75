"""Two versions of a tiny service behind a real HAProxy, visitors, and the commands that steer it."""

from __future__ import annotations

import functools
import http.client
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from flask import Flask
from flask.cli import ScriptInfo

from codyverse import create_app
from codyverse.database import Database
from codyverse.operations import components
from codyverse.operations.audit.reading import list_entries
from codyverse.operations.deploy import canary_cli, drain_cli, request_times
from codyverse.operations.deploy.group import group
from codyverse.operations.deploy.runtime import Runtime
from tests.conftest import make_settings
from tests.haproxy import Haproxy, config_text
from tests.server import free_port, wait_until

COMMANDS = (canary_cli, drain_cli)  # what is imported hangs on the group

NUMBERS = {"stable": "99", "canary": "0"}  # what a visitor of each keeps, at any percentage between 0 and 100


class Version:
    """A server that answers its name; how fast, how well and whether ready, a test may change while it runs."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = 200
        self.fails_every = 0  # how manieth answer is 500
        self.takes_s = 0.0
        self.is_ready = True
        self.answered = 0
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = _Server(("127.0.0.1", self.port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # not waited for: HAProxy keeps connections open
    request_queue_size = 128

    def handle_error(self, request, client_address) -> None:
        """Be silent about HAProxy closing a connection."""


def _handler(version: Version) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            if self.path == "/readyz":
                return self._answer(200 if version.is_ready else 503)
            time.sleep(version.takes_s)  # the work of a slow version, not a wait for something
            version.answered += 1
            fails = version.fails_every and version.answered % version.fails_every == 0
            self._answer(500 if fails else version.status)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(version.name)))
            self.end_headers()
            self.wfile.write(version.name.encode())

        def log_message(self, *arguments) -> None:
            pass

    return Handler


@dataclass
class Tracks:
    """What runs, and how to ask and steer it."""

    haproxy: Haproxy
    runtime: Runtime
    stable: list[Version]
    canary: list[Version]
    map_path: Path
    log: str
    database: Database  # in which is recorded what was changed

    def run(self, *arguments: str) -> Result:
        """Return what a command of `flask deploy` does."""
        return command(*arguments, "--socket", str(self.haproxy.socket_path), database=self.database)

    def recorded(self) -> list[dict[str, Any]]:
        """Return what the audit trail says of the canary, the oldest first."""
        entries = list_entries(self.database, action="canary_changed", actor="cli", subject="canary", limit=100)
        return [entry["details"] for entry in reversed(entries)]

    def done(self, *arguments: str) -> str:
        """Return what a command prints that has to succeed."""
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output or result.exception
        return result.output

    def visit(self, track: str | None = None) -> tuple[int, str, str | None]:
        """Return status and body, and the number that a new visitor was given; `track` makes it one who belongs there."""
        with connection(self.haproxy.port) as asked:
            return ask(asked, NUMBERS[track] if track else None)


def command(*arguments: str, database: Database | None = None) -> Result:
    app = Flask("nothing")
    app.extensions["codyverse.database"] = database
    return CliRunner().invoke(group, arguments, obj=ScriptInfo(create_app=lambda: app))


@functools.cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.sqlite3"
        app = create_app(make_settings(path.parent, f"sqlite:///{path}"))
        app.test_cli_runner().invoke(args=["db", "upgrade"])
        components.of(app).close()
        return path.read_bytes()


@contextmanager
def connection(port: int) -> Iterator[http.client.HTTPConnection]:
    opened = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        yield opened
    finally:
        opened.close()


def ask(asked: http.client.HTTPConnection, number: str | None = None) -> tuple[int, str, str | None]:
    asked.request("GET", "/", headers={"Cookie": f"cv_track={number}"} if number else {})
    answer = asked.getresponse()
    given = answer.headers.get("Set-Cookie", "").partition("cv_track=")[2].partition(";")[0]
    return answer.status, answer.read().decode(), given or None


@contextmanager
def two_tracks(folder: Path, stable: int = 1, canary: int = 1, percent: int = 10) -> Iterator[Tracks]:
    """Start so many servers of each version, HAProxy before them, and wait until it has found them ready."""
    with ExitStack() as running:
        versions = {"stable": _versions(running, "stable", stable), "canary": _versions(running, "canary", canary)}
        map_path = folder / "canary.map"
        map_path.write_text(f"pct {percent}\n", "utf-8")
        haproxy = Haproxy(folder)
        log = f"127.0.0.1:{free_port()}"  # the generated one is the same for every process
        text = config_text(haproxy, *([one.address for one in versions[name]] for name in ("stable", "canary")))
        running.enter_context(haproxy(text.replace(request_times.ADDRESS, log)))
        runtime = Runtime(str(haproxy.socket_path))
        (folder / "audit.sqlite3").write_bytes(_migrated())
        database = Database(make_settings(folder, f"sqlite:///{folder}/audit.sqlite3"))
        running.callback(database.close)
        tracks = Tracks(haproxy, runtime, versions["stable"], versions["canary"], map_path, log, database)
        wait_until(lambda: all(row.status == "UP" for row in runtime.rows() if row.is_checked))
        yield tracks


def _versions(running: ExitStack, name: str, count: int) -> list[Version]:
    versions = [Version(name) for _ in range(count)]
    for version in versions:
        version.start()
        running.callback(version.stop)
    return versions


@contextmanager
def visitors(port: int, count: int = 8) -> Iterator[list[int]]:
    """Have visitors, each request another one's, ask one after the other at so many connections; lend the statuses they saw."""
    ended, seen = threading.Event(), []

    def keep_asking() -> None:
        with connection(port) as asked:
            while not ended.is_set():
                with suppress(http.client.HTTPException, OSError):
                    seen.append(ask(asked)[0])
                    continue
                seen.append(0)
                asked.close()

    threads = [threading.Thread(target=keep_asking) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        ended.set()
        for thread in threads:
            thread.join(30)
