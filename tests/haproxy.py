"""A real HAProxy for tests: Debian's, with the configuration that a test gives it, on free ports of 127.0.0.1."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from codyverse.operations.deploy import haproxy as generation
from tests.server import free_port, wait_until

WHY_NOT = "no HAProxy: install Debian's haproxy"


def need_haproxy() -> None:
    """Skip the test where there is no HAProxy."""
    if not generation.find():
        assert os.environ.get("CI") != "true", WHY_NOT
        pytest.skip(WHY_NOT)


class Haproxy:
    """A context in which a HAProxy runs in the foreground; what the configuration binds is the caller's choice.

    `port` is for the configuration to bind on the address `host`, `socket_path` for its `stats socket`; `prefix` stands before
    the command, to run it in a network namespace.
    """

    def __init__(self, folder: Path, host: str = "127.0.0.1", prefix: Sequence[str] = ()) -> None:
        need_haproxy()
        self.folder = folder
        self.host = host
        self.port, self.metrics_port = free_port(), free_port()
        self.url = f"http://{host}:{self.port}"
        self.socket_path = folder / "haproxy.sock"
        self._prefix = prefix
        self._log = folder / "haproxy.log"

    def __call__(self, text: str) -> Haproxy:
        """Take the text of the configuration: `with Haproxy(folder)(text) as haproxy`."""
        (self.folder / "haproxy.cfg").write_text(text, "utf-8")
        return self

    def __enter__(self) -> Haproxy:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*self._prefix, str(generation.find()), "-db", "-f", str(self.folder / "haproxy.cfg")],
                stdout=log,
                stderr=log,
                cwd="/",
            )
        wait_until(self.listens)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait(30)
        if kind is not None:
            print(self._log.read_text("utf-8", "replace")[-10_000:])

    def listens(self) -> bool:
        """Say whether it answers at its socket; fails when it ended."""
        assert self.process.poll() is None, self._log.read_text("utf-8", "replace")
        try:
            return "Uptime" in self.tell("show info")
        except OSError:
            return False

    def tell(self, command: str) -> str:
        """Return what the runtime socket answers."""
        with socket.socket(socket.AF_UNIX) as runtime:
            runtime.settimeout(5)
            runtime.connect(str(self.socket_path))
            runtime.sendall(f"{command}\n".encode())
            answer = b""
            while chunk := runtime.recv(65_536):
                answer += chunk
        return answer.decode()

    def rows(self, backend: str) -> dict[str, dict[str, str]]:
        """Return the columns of `show stat` of a backend's servers, by name, and of the whole, which is called BACKEND."""
        head, *lines = self.tell("show stat").removeprefix("# ").splitlines()
        rows = (dict(zip(head.split(","), line.split(","), strict=False)) for line in lines if line)
        return {row["svname"]: row for row in rows if row["pxname"] == backend}

    def state(self, backend: str, server: str) -> str:
        """Return what HAProxy thinks of a server: UP, DOWN, DRAIN, MAINT, `no check`, or a transition such as `UP 1/2`."""
        return self.rows(backend)[server]["status"]


def config_text(haproxy: Haproxy, servers: Sequence[str], canaries: Sequence[str] = (), **chosen: Any) -> str:
    """Return what `flask deploy haproxy` makes for these servers (`HOST:PORT,weight=N`), on the free ports of this HAProxy.

    The folder gets a canary.map with 0 percent when it has none. What is chosen are fields of Plan.
    """
    map_file = haproxy.folder / "canary.map"
    if not map_file.exists():
        map_file.write_text(generation.initial_map(), "ascii")
    fields = {
        "strategy": "roundrobin",
        "bind": f"{haproxy.host}:{haproxy.port}",
        "plain": "",
        "certificate": "",
        "socket": str(haproxy.socket_path),
        "folder": str(haproxy.folder),
        "metrics_port": haproxy.metrics_port,
        "concurrency": 500,
        "user": "",
        "host": "localhost",
        "dns": False,
        "shield": None,
        **chosen,
    }
    plan = generation.Plan(
        servers=tuple(generation.server(f"s{number}", text) for number, text in enumerate(servers, 1)),
        canaries=tuple(generation.server(f"c{number}", text) for number, text in enumerate(canaries, 1)),
        **fields,
    )
    generation.check(plan)
    return generation.render(plan)
