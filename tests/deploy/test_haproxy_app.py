"""The platform itself behind the generated HAProxy, and HTTPS before it."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests

from tests.deploy.conftest import Balanced
from tests.haproxy import Haproxy, config_text
from tests.server import Server, free_port, wait_until

Balance = Callable[..., Balanced]


@pytest.fixture
def served(tmp_path: Path, sqlite_template: Path) -> Iterator[Haproxy]:
    shutil.copy(sqlite_template, tmp_path / "test.sqlite3")
    haproxy = Haproxy(tmp_path)
    settings = {"trusted_proxies": "1", "https": "true", "limit_client": "100000 per minute"}
    with Server(tmp_path, f"sqlite:///{tmp_path}/test.sqlite3", **settings) as server:
        haproxy.server = server
        with haproxy(config_text(haproxy, [f"127.0.0.1:{server.port}"])):
            wait_until(lambda: haproxy.state("stable", "s1") == "UP")  # /readyz is answered although HTTPS is demanded
            yield haproxy


def test_the_platform_believes_the_balancer(served: Haproxy) -> None:
    spoofed = {"Host": "learn.example", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example", "X-Request-ID": "mine"}
    answer = requests.get(f"{served.url}/courses", headers=spoofed, timeout=10, allow_redirects=False)
    assert answer.status_code == 308
    assert answer.headers["Location"] == "https://learn.example/courses"
    assert answer.headers.get("X-Request-ID") != "mine"
    assert requests.get(f"{served.url}/readyz", timeout=10).status_code == 200


def test_no_read_fails_while_workers_are_killed(served: Haproxy) -> None:
    killed: list[int] = []
    with requests.Session() as session:
        for number in range(200):
            if number % 50 == 25:
                worker = served.server.workers()[0]
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)
            answer = session.get(f"{served.url}/health", timeout=30)
            assert answer.status_code == 200, answer.text
    assert len(set(killed)) == 4


def test_a_large_body_passes(served: Haproxy) -> None:
    answer = requests.post(f"{served.url}/api/v1/auth/login", data=b"x" * 2_000_000, timeout=30, allow_redirects=False)
    assert answer.status_code < 500


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    if not shutil.which("openssl"):
        pytest.skip("no openssl")
    key, chain, both = tmp_path / "key.pem", tmp_path / "chain.pem", tmp_path / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(chain)],
        check=True, capture_output=True,
    )  # fmt: skip
    both.write_text(chain.read_text("ascii") + key.read_text("ascii"), "ascii")
    return both


def test_https_speaks_http_2_and_tells_the_application(balance: Balance, tiny, certificate: Path) -> None:
    plain = free_port()
    balanced = balance([tiny[0].address], [tiny[1].address], certificate=str(certificate), plain=f"127.0.0.1:{plain}")
    trust = ssl.create_default_context(cafile=str(certificate))
    trust.set_alpn_protocols(["h2", "http/1.1"])
    where = (balanced.haproxy.host, balanced.haproxy.port)
    with socket.create_connection(where, 5) as raw, trust.wrap_socket(raw, server_hostname="localhost") as secured:
        assert secured.selected_alpn_protocol() == "h2"
        assert secured.version() in ("TLSv1.2", "TLSv1.3")
    trust.set_alpn_protocols(["http/1.1"])
    with closing(http.client.HTTPSConnection("localhost", where[1], timeout=5, context=trust)) as asking:
        asking.request("GET", "/secured")
        cookie = asking.getresponse().headers["Set-Cookie"]
    assert cookie.endswith("; HttpOnly; SameSite=Lax; Secure")
    assert requests.get(f"http://127.0.0.1:{plain}/plain", timeout=5).ok
    told = {asked["path"]: dict(asked["headers"])["x-forwarded-proto"] for asked in tiny[0].seen()}
    assert told == {"/secured": "https", "/plain": "http"}
