"""SIGTERM under load: nobody gets an error, what is in flight is answered, and the server is gone within its 30 seconds."""

from __future__ import annotations

import http.client
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import requests

from config import Settings
from tests.faults.completions import FULL
from tests.faults.served import ALONE, platform
from tests.haproxy import Haproxy, config_text
from tests.server import wait_until

CLIENTS = 30
IN_FLIGHT_S = 20 if FULL else 4
DRAIN_S = str(Settings.drain_s)


class Client(threading.Thread):
    """Asks one thing after the other on a kept connection, as browsers do: once more where a kept connection was closed."""

    def __init__(self, url: str, stop: threading.Event) -> None:
        super().__init__()
        address = urlsplit(url)
        self.host, self.port, self.stop = address.hostname, address.port, stop
        self.statuses: Counter = Counter()
        self.failures: list[str] = []

    def run(self) -> None:
        connection, used = http.client.HTTPConnection(self.host, self.port, timeout=60), False
        while not self.stop.is_set():
            try:
                connection.request("GET", "/livez" if self.statuses.total() % 2 else "/api/v1/courses")
                answer = connection.getresponse()
                answer.read()
            except (ConnectionError, http.client.HTTPException) as error:
                connection.close()
                if not used and isinstance(error, ConnectionRefusedError):
                    return  # nobody listens any more
                if not used:
                    self.failures.append(repr(error))
                    return
                used = False
                continue
            used = True
            self.statuses[answer.status] += 1
            if answer.getheader("Connection") == "close":
                connection.close()
                used = False
        connection.close()


def test_alone_no_request_fails_and_what_is_in_flight_is_answered(tmp_path, sqlite_template):
    stop = threading.Event()
    with platform(tmp_path, sqlite_template, ALONE, drain_s=DRAIN_S) as (server, url), ThreadPoolExecutor(1) as pool:
        clients = [Client(url, stop) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        wait_until(lambda: all(client.statuses for client in clients))
        in_flight = pool.submit(requests.get, f"{url}/test/sleeping?s={IN_FLIGHT_S}", timeout=60)
        wait_until(lambda: sum(client.statuses.total() for client in clients) > 300)
        server.process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        wait_until(lambda: requests.get(f"{url}/readyz", timeout=5).status_code == 503)
        assert requests.get(f"{url}/livez", timeout=5).status_code == 200  # it still accepts
        server.process.wait(40)
        took_s = time.monotonic() - told
        stop.set()
        for client in clients:
            client.join()
        answer = in_flight.result()
    assert (answer.status_code, answer.text) == (200, "awake")
    assert [failure for client in clients for failure in client.failures] == []
    assert set().union(*(client.statuses for client in clients)) == {200}
    assert server.process.returncode == 0
    print(f"\nended {took_s:.1f} s after SIGTERM, with a request of {IN_FLIGHT_S} s in flight")
    assert took_s < 30


def test_behind_a_balancer_one_server_of_two_goes_without_an_error(tmp_path, sqlite_template):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    stop = threading.Event()
    with (
        platform(folders[0], sqlite_template, ALONE, trusted_proxies="1", drain_s=DRAIN_S) as (one, _),
        platform(folders[1], sqlite_template, ALONE, trusted_proxies="1", drain_s=DRAIN_S) as (two, _),
    ):
        haproxy = Haproxy(tmp_path)
        with haproxy(config_text(haproxy, [f"127.0.0.1:{server.port}" for server in (one, two)])):
            wait_until(lambda: all(haproxy.state("stable", name) == "UP" for name in ("s1", "s2")))
            clients = [Client(haproxy.url, stop) for _ in range(CLIENTS)]
            for client in clients:
                client.start()
            wait_until(lambda: sum(client.statuses.total() for client in clients) > 300)
            one.process.send_signal(signal.SIGTERM)
            one.process.wait(40)
            asked = sum(client.statuses.total() for client in clients)
            wait_until(lambda: sum(client.statuses.total() for client in clients) > asked + 300)
            stop.set()
            for client in clients:
                client.join()
    assert [failure for client in clients for failure in client.failures] == []
    assert set().union(*(client.statuses for client in clients)) == {200}
