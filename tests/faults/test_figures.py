"""What clients count is what `/metrics` tells, while four workers replace each other.

Short form in `make test`; `make faults` runs the full one.
"""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from codyverse import create_app
from codyverse.accounts import service as accounts
from codyverse.database import Database
from codyverse.operations import components, metrics
from codyverse.operations.tallies import Tallies
from tests.conftest import make_settings
from tests.faults.completions import FULL, import_lessons, make_learners
from tests.faults.figures_app import MARK
from tests.faults.served import PLENTY
from tests.server import Server, wait_until

WORKERS, CLIENTS = 4, 8
REQUESTS_OF_A_WORKER = 100
REPLACED = 40 if FULL else 3

OF_WORKERS = ("age_seconds", "memory_bytes", "memory_budget_bytes", "requests", "requests_in_flight", "requests_waiting")

# The address, and its rule.
COURSES = "/api/v1/courses"
ASKED = (
    *((COURSES, COURSES),) * 5,
    (f"{COURSES}/nothing", f"{COURSES}/<slug:slug>"),
    ("/nothing/here", "-"),
    ("/test/fail", "/test/fail"),
)


class Client(threading.Thread):
    """Asks and counts, until told to end."""

    def __init__(self, url: str, ended: threading.Event) -> None:
        super().__init__(name="client")
        self.answers: Counter[tuple[str, str]] = Counter()
        self.seconds: Counter[str] = Counter()
        self.hits = 0
        self.failure: BaseException | None = None
        self._url = url
        self._ended = ended

    def run(self) -> None:
        try:
            with requests.Session() as session:
                session.trust_env = False
                while not self._ended.is_set():
                    for path, rule in ASKED:
                        self._ask(session, path, rule)
        except BaseException as error:
            self.failure = error

    def _ask(self, session: requests.Session, path: str, rule: str) -> None:
        began = time.monotonic()
        answer = session.get(self._url + path, timeout=60)
        self.seconds[rule] += time.monotonic() - began  # type: ignore[assignment]
        self.answers[rule, str(answer.status_code)] += 1
        self.hits += MARK not in answer.headers


def prepare(folder: Path, url: str) -> str:
    """Import the catalogue, and return the token of an operator."""
    app = create_app(make_settings(folder, url))
    database: Database = app.extensions["codyverse.database"]
    import_lessons(database, 1)
    ((user_id, _),) = make_learners(database, 1)
    accounts.change_role(database, "learner0@example.org", "admin")
    made = accounts.create_token(database, None, "k" * 32, user_id, "prometheus", ["operations:read"], None)
    components.of(app).close()
    token: str = made["token"]
    return token


def told(url: str, token: str) -> dict[tuple[str, ...], float]:
    answer = requests.get(f"{url}/metrics", headers={"Authorization": f"Bearer {token}"}, timeout=60)
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def send(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(data)
        return client.recv(65_536)


def of_workers(url: str, token: str, figure: str) -> set[str]:
    """Return the slots of the workers that tell a figure."""
    return {name[1] for name in told(url, token) if name[0] == f"codyverse_worker_{figure}"}


def are_well(url: str) -> bool:
    """Say whether there are as many workers as there should be, and no one that is about to leave."""
    found: dict[str, Any] = requests.get(f"{url}/health", timeout=60).json()["components"]["workers"]
    return found["status"] == "ok" and found["number"] == WORKERS


def load(server: Server, counts: Tallies) -> list[Client]:
    """Have clients ask until enough workers were replaced, and return them with what they counted."""
    ended = threading.Event()
    clients = [Client(server.url, ended) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        wait_until(
            lambda: counts.totals("worker:").get("worker:replaced", 0) >= REPLACED or any(client.failure for client in clients),
            within_s=600,
        )
    finally:
        ended.set()
        for client in clients:
            client.join(120)
    for client in clients:
        if client.failure:
            raise client.failure
    return clients


@pytest.fixture
def served(tmp_path: Path, sqlite_template: Path) -> str:
    shutil.copy(sqlite_template, tmp_path / "test.sqlite3")
    return f"sqlite:///{tmp_path}/test.sqlite3"


def test_figures_are_what_clients_counted(tmp_path: Path, served: str) -> None:
    token = prepare(tmp_path, served)
    counts = Tallies(tmp_path / "tallies.sqlite3")
    arguments = ("--workers", str(WORKERS), "--threads", "4", "--max-requests", str(REQUESTS_OF_A_WORKER))
    settings = {**PLENTY, "admission_wait_s": "30"}
    with Server(
        tmp_path, served, *arguments, "--max-requests-jitter", "20", "tests.faults.figures_app:app", **settings
    ) as server:
        clients = load(server, counts)
        answers = sum((client.answers for client in clients), Counter())
        requested = {("http_requests_total", "GET", rule, status): float(n) for (rule, status), n in answers.items()}

        def is_told() -> bool:
            found = told(server.url, token)
            return {name: found.get(name) for name in requested} == requested

        refused = send(server.port, b"GET /nothing HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert refused.startswith(b"HTTP/1.1 400 "), refused
        requested["http_requests_total", "GET", "-", "400"] = 1.0
        wait_until(is_told, within_s=60)  # within the two seconds of a flush, or what a busy machine makes of them
        wait_until(lambda: are_well(server.url), within_s=60)
        # What a worker that has just begun holds, it tells at its second time.
        wait_until(lambda: len({frozenset(of_workers(server.url, token, figure)) for figure in OF_WORKERS}) == 1, within_s=60)
        workers = of_workers(server.url, token, "age_seconds")
    # After the last worker has ended, and has told all that it knew, there is still not one more.
    app = create_app(make_settings(tmp_path, served))
    last = {(one.name, *(value for _, value in sorted(one.labels.items()))): one.value for one in metrics.samples(app)}
    left = list((tmp_path / "gauges").iterdir())
    components.of(app).close()
    counts.close()
    assert {name: last.get(name) for name in requested} == requested
    assert last["codyverse_responses_total", "hit"] == sum(client.hits for client in clients)
    assert 0 < sum(client.hits for client in clients) < sum(answers.values())
    of_errors = sum(n for (_, status), n in answers.items() if status.startswith("5"))
    assert answers["/test/fail", "500"] == of_errors > 0
    failed = {name: value for name, value in last.items() if name[0] == "http_requests_total" and name[3].startswith("5")}
    assert sum(value for name, value in failed.items() if name[2] != "/readyz") == of_errors  # which says 503 until all is there
    for rule in {rule for _, rule in ASKED}:
        timed = last["http_request_duration_seconds_count", "GET", rule]
        assert timed == sum(n for (counted, _), n in answers.items() if counted == rule)
        assert last["http_request_duration_seconds_bucket", "+Inf", "GET", rule] == timed
        spent = sum(client.seconds[rule] for client in clients)
        assert 0 < last["http_request_duration_seconds_sum", "GET", rule] < spent
    limited = last["codyverse_limits_decisions_total", "allowed", "address"]
    assert limited >= sum(answers.values())
    assert WORKERS <= len(workers) <= 2 * WORKERS  # slots, and not one for each that ever lived
    assert left == []
    print(f"\n{sum(answers.values())} requests of {CLIENTS} clients, {last['codyverse_workers_total', 'replaced']:.0f} replaced")
