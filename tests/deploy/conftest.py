"""A HAProxy with the generated configuration before three tiny servers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.deploy.hosts import three_servers
from tests.deploy.tiny_server import TinyServer
from tests.haproxy import Haproxy, config_text, need_haproxy
from tests.server import wait_until


@pytest.fixture(scope="session")
def _running_servers() -> Iterator[list[TinyServer]]:
    need_haproxy()
    with three_servers() as servers:
        yield servers


@pytest.fixture
def tiny(_running_servers: list[TinyServer]) -> list[TinyServer]:
    """Three servers that are well."""
    for server in _running_servers:
        server.be()
    return _running_servers


@dataclass
class Balanced:
    """A HAProxy and the servers behind it."""

    haproxy: Haproxy
    servers: list[TinyServer]
    session: requests.Session = field(default_factory=requests.Session)

    def ask(self, path: str = "/", method: str = "GET", **options: Any) -> requests.Response:
        return self.session.request(method, self.haproxy.url + path, timeout=40, allow_redirects=False, **options)

    def served_by(self, path: str = "/") -> str:
        """Return the name of the server that answers."""
        answer = self.ask(path)
        assert answer.ok, answer.text
        name: str = answer.json()["server"]
        return name

    def ask_at_once(self, count: int, path: str = "/") -> list[requests.Response]:
        """Send so many requests side by side."""

        def one(_: int) -> requests.Response:
            return requests.get(self.haproxy.url + path, timeout=40)

        with ThreadPoolExecutor(count) as threads:
            return list(threads.map(one, range(count)))

    def is_up(self, name: str, backend: str = "stable") -> bool:
        return self.haproxy.state(backend, name).startswith("UP")

    def wait_for(self, name: str, is_up: bool) -> None:
        """Wait until a server is in the rotation, or out of it."""
        wait_until(lambda: self.haproxy.state("stable", name) == ("UP" if is_up else "DOWN"), 20)


@pytest.fixture
def balance(tiny: list[TinyServer], tmp_path: Path) -> Iterator[Callable[..., Balanced]]:
    """Start a HAProxy before servers (all three unless named): `balance(strategy="leastconn")`; the rest are fields of Plan."""
    with ExitStack() as running:

        def start(
            servers: Sequence[str] | None = None, canaries: Sequence[str] = (), is_well: bool = True, **chosen: Any
        ) -> Balanced:
            haproxy = Haproxy(tmp_path)
            addresses = [server.address for server in tiny] if servers is None else servers
            running.enter_context(haproxy(config_text(haproxy, addresses, canaries, **chosen)))
            balanced = Balanced(haproxy, tiny)
            running.callback(balanced.session.close)
            # Until its first checks HAProxy takes every server for half up, `UP 1/2`.
            if is_well:
                wait_until(lambda: all(haproxy.state("stable", f"s{number}") == "UP" for number in range(1, len(addresses) + 1)))
            return balanced

        yield start


def problem(answer: requests.Response) -> dict[str, Any]:
    """Return the problem of an error that HAProxy answered, complete with what every one of them has."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    found: dict[str, Any] = json.loads(answer.text)
    assert found["status"] == answer.status_code
    assert found["title"]
    assert found["request_id"] == answer.headers["X-Request-ID"]
    return found
