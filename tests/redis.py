"""A real Redis for one test: Debian's redis-server on a free port, in memory only."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.server import free_port, wait_until

WHY_NOT = "no Redis: install Debian's redis-server"


class Redis:
    """A server that can be stopped, frozen and started again."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = ["--dir", str(folder)] if folder else []  # for snapshots: they are saved when asked for, and started from
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis.from_url(self.url, socket_timeout=5)

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", *self._folder],
            stdout=subprocess.DEVNULL,
            cwd="/",
        )
        wait_until(self.answers)

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(30)


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    if not shutil.which("redis-server"):
        assert os.environ.get("CI") != "true", WHY_NOT
        pytest.skip(WHY_NOT)
    server = Redis(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()
    server.client.close()
