"""What a worker is told before it can hear anything."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.server import ROOT, Server, wait_until


class Slow(Server):
    """A server whose first worker waits in the moment in which it was forked."""

    def __init__(self, folder: Path, database_url: str, worker_class: str) -> None:
        super().__init__(folder, database_url, "-w", "1", "--worker-class", f"tests.front.slow_birth.{worker_class}")
        self.birth = folder / "birth"
        self.birth.mkdir()
        self._environment |= {"BIRTH": str(self.birth), "PYTHONPATH": str(ROOT)}

    def is_ready(self) -> bool:
        assert self.process.poll() is None
        return bool(self.born())

    def born(self) -> list[int]:
        return sorted(int(path.name) for path in self.birth.iterdir() if path.name != "go")

    def go_on(self) -> None:
        (self.birth / "go").touch()


@pytest.mark.parametrize("worker_class", ["Worker", "Gthread"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_worker_that_is_told_to_stop_as_it_is_forked_does(tmp_path, sqlite_template, worker_class, number):
    database = shutil.copy(sqlite_template, tmp_path / "test.sqlite3")
    with Slow(tmp_path, f"sqlite:///{database}", worker_class) as server:
        (first,) = server.born()
        os.kill(first, number)
        server.go_on()
        wait_until(lambda: len(server.born()) == 2)
        wait_until(lambda: Server.is_ready(server))
        assert first not in server.workers()
    assert server.process.returncode == 0
