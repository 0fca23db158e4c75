"""Clients that send half a head, half a body, or do not read: others do not notice, and all of them are cut in time.

1,000 of them in `make faults`, 150 in `make test`.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.faults.completions import FULL
from tests.faults.served import ALONE, BALANCED, platform
from tests.server import wait_until

SLOW = 1_000 if FULL else 150
ASKS = 1_000 if FULL else 200
DEADLINE_S = 4.0
KINDS = (
    b"GET /api/v1/courses HTTP/1.1\r\nHost: localhost\r\nX-Half:",
    b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{",
    b"GET /test/large HTTP/1.1\r\nHost: localhost\r\n\r\n",
)


@contextmanager
def slow_clients(url: str, number: int) -> Iterator[list[socket.socket]]:
    address = urlsplit(url)
    clients: list[socket.socket] = []
    try:
        for begun in islice(cycle(KINDS), number):
            client = socket.socket()
            clients.append(client)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(20)
            client.connect((address.hostname, address.port))
            client.sendall(begun)
        yield clients
    finally:
        for client in clients:
            client.close()


def times(url: str, number: int) -> list[float]:
    """Return how long a client that behaves well waits for each answer: a hit, and one that a thread makes."""
    took = []
    with requests.Session() as session:
        for path in islice(cycle(("/api/v1/courses", "/livez")), number):
            began = time.perf_counter()
            answer = session.get(url + path, timeout=20)
            took.append(time.perf_counter() - began)
            assert answer.status_code == 200, answer.text
    return sorted(took)


def p99(took: list[float]) -> float:
    return took[int(0.99 * len(took))]


def connections(port: int) -> int:
    """Return how many connections to a port the server's side has open (TCP states 01 and 08: established, and half closed)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] in ("01", "08") for row in rows)


@pytest.mark.parametrize("way", [ALONE, BALANCED])
def test_slow_clients_hold_up_nobody(tmp_path, sqlite_template, way):
    deadlines = dict.fromkeys(("head_deadline_s", "body_deadline_s", "answer_deadline_s"), str(DEADLINE_S))
    patient = {} if FULL else {"admission_wait_s": "30"}  # a machine that is busy with other tests makes the quick wait, too
    with platform(tmp_path, sqlite_template, way, **patient, **deadlines) as (server, url):
        times(url, 20)  # what is asked for twice is kept
        before = min(p99(times(url, ASKS)) for _ in range(3))
        with slow_clients(url, SLOW):
            meanwhile = min(p99(times(url, ASKS)) for _ in range(3 if FULL else 1))
            print(f"\n{way}: p99 {before * 1000:.2f} ms, with {SLOW} slow {meanwhile * 1000:.2f} ms, {meanwhile / before:.2f} ×")
            if FULL:
                assert meanwhile <= 2 * before or meanwhile < 0.005  # below it the machine's own noise is measured
            if way == ALONE:  # HAProxy has deadlines of its own
                wait_until(lambda: connections(server.port) == 0, 60)
        with requests.Session() as session:
            assert session.get(f"{url}/livez", timeout=20).status_code == 200
