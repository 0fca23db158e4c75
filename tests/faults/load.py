"""Load on a server, with a note of every answer: readers, and writers that send again until something is acknowledged."""

from __future__ import annotations

import itertools
import queue
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import requests

from tests.faults.completions import Job
from tests.server import wait_until

BROKEN = 0  # the status of a connection that ended without an answer
CLIENT_WAITS_S = 30.0
GIVES_UP_AFTER_S = 90.0
PAUSE_S = 0.02  # between the requests of a client; the load is to be steady, not to measure how much there can be


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got. `began` is monotonic."""

    kind: str
    url: str
    began: float
    took_s: float
    status: int
    headers: Any

    @property
    def ended(self) -> float:
        """Return when it was there."""
        return self.began + self.took_s


class Load:
    """A context in which clients send requests. At its end every writer has an answer to what it sent, and faults are raised."""

    def __init__(self, url: str, jobs: Iterable[Job] = ()) -> None:
        self.answers: list[Answer] = []
        self.acknowledged: dict[tuple[int, int], dict[str, Any]] = {}
        self.found_done = 0  # completions of which the first answer was lost or a refusal, and which had taken effect
        self.failures: list[BaseException] = []
        self._url = url
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for job in jobs:
            self._jobs.put(job)
        self._numbers = itertools.count()
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Load:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(GIVES_UP_AFTER_S + CLIENT_WAITS_S)
        if error is None and self.failures:
            raise self.failures[0]

    def read(self, kind: str, paths: Collection[str], clients: int) -> None:
        """Have so many clients read the paths, again and again; `{number}` stands for another number each time."""
        for number in range(clients):
            self._begin(self._reader, kind, [*paths][number % len(paths) :] + [*paths][: number % len(paths)])

    def write(self, clients: int) -> None:
        """Have so many clients do the jobs."""
        for _ in range(clients):
            self._begin(self._writer)

    def wait_until_acknowledged(self, completions: int) -> None:
        """Wait until so many completions are acknowledged; raises what a client met."""
        wait_until(lambda: len(self.acknowledged) >= completions or bool(self.failures), within_s=GIVES_UP_AFTER_S)
        if self.failures:
            raise self.failures[0]

    def of(self, kind: str, since: float = 0.0, until: float = float("inf")) -> list[Answer]:
        """Return the answers to requests of a kind that began in between."""
        return [answer for answer in self.answers[:] if answer.kind == kind and since <= answer.began < until]

    def ask(self, session: requests.Session, kind: str, method: str, path: str, **more: Any) -> requests.Response | None:
        """Send a request, note the answer and return it; None when the connection broke."""
        began = time.monotonic()
        try:
            response = session.request(method, self._url + path, timeout=CLIENT_WAITS_S, **more)
        except requests.RequestException:
            response = None
        took_s = time.monotonic() - began
        status, headers = (BROKEN, {}) if response is None else (response.status_code, response.headers)
        self.answers.append(Answer(kind, path, began, took_s, status, headers))
        return response

    def _begin(self, what: Callable[..., None], *arguments: Any) -> None:
        def run() -> None:
            try:
                with requests.Session() as session:
                    session.trust_env = False
                    what(session, *arguments)
            except BaseException as error:
                self.failures.append(error)

        self._threads.append(threading.Thread(target=run, name=f"load-{what.__name__}"))
        self._threads[-1].start()

    def _reader(self, session: requests.Session, kind: str, paths: list[str]) -> None:
        for path in itertools.cycle(paths):
            if self._ending.wait(PAUSE_S):
                return
            self.ask(session, kind, "GET", path.format(number=next(self._numbers)))

    def _writer(self, session: requests.Session) -> None:
        while not self._ending.wait(PAUSE_S):
            try:
                self._complete(session, self._jobs.get_nowait())
            except queue.Empty:
                raise AssertionError("there was too little to write") from None

    def _complete(self, session: requests.Session, job: Job) -> None:
        headers = {"Authorization": f"Bearer {job.token}", "Idempotency-Key": str(uuid.uuid4())}
        deadline, met = time.monotonic() + GIVES_UP_AFTER_S, Counter[int]()
        while time.monotonic() < deadline:
            path, sent_at = f"/api/v1/lessons/{job.lesson_id}/completions", datetime.now(UTC)
            response = self.ask(session, "write", "POST", path, json={}, headers=headers)
            if response is not None and response.status_code in (200, 201):
                body = self.acknowledged[job.user_id, job.lesson_id] = response.json()
                self.found_done += datetime.fromisoformat(body["completed_at"]) < sent_at
                return
            assert response is None or response.status_code in (409, 503), response.text
            met[BROKEN if response is None else response.status_code] += 1
            threading.Event().wait(PAUSE_S)
        raise AssertionError(f"{job} was never acknowledged: {met}")


def wait_for(seconds: float) -> None:
    """Let the load go on: this is how long a fault lasts, not a condition that is waited for."""
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= until, seconds + 5)


def assert_refused_well(answers: list[Answer]) -> None:
    """Check that every one is a problem document that says when to come back."""
    assert answers and {answer.status for answer in answers} == {503}
    for answer in answers:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert int(answer.headers["Retry-After"]) >= 1
