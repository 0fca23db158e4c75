"""The real server for tests that need one: gunicorn with its workers, as `make run` starts it, on a free port of 127.0.0.1."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import requests

ROOT = Path(__file__).parent.parent


def wait_until(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    """Poll until the condition holds; fails when it does not in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.02)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Server:
    """A context in which the platform is served at `.url`."""

    def __init__(self, folder: Path, database_url: str, *arguments: str, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._arguments = arguments
        self._environment = {
            "PATH": os.environ["PATH"],
            "PORT": str(self.port),
            "CODYVERSE_ENV": "testing",
            "CODYVERSE_INSTANCE_PATH": str(folder),
            "CODYVERSE_DATABASE_URL": database_url,
            "CODYVERSE_DRAIN_S": "0",  # no balancer has to notice that it stops; tests of stopping choose what they need
            **{f"CODYVERSE_{name.upper()}": value for name, value in settings.items()},
        }
        self._log = folder / "server.log"

    def __enter__(self) -> Server:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", *self._arguments], cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )
        wait_until(self.is_ready)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:  # it is a fault, but none to be left behind
            for pid in (self.process.pid, *self.workers()):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait(10)
            raise
        if kind is not None:
            print(self._log.read_text("utf-8", "replace")[-10_000:])

    def is_ready(self) -> bool:
        """Say whether requests are answered; fails when the server ended."""
        assert self.process.poll() is None, self._log.read_text("utf-8", "replace")
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except (requests.ConnectionError, requests.Timeout):
            return False

    def workers(self) -> list[int]:
        """Return the process ids of the workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text("ascii")
        return [int(pid) for pid in children.split()]
