"""Learners at their screens: 100 connections, 1,000 requests a minute all together, whatever a request takes (report row R23)."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from benchmarks import history
from benchmarks.place import HEADERS

CONNECTIONS = 100
A_MINUTE = 1000
PUBLIC, SIGNED_IN, WRITE, SIGN_IN = "cached", "database", "write", "sign-in"
SIGN_INS_EVERY = 4  # visits: most learners are signed in already


@dataclass(frozen=True)
class Request:
    """What a learner asks for."""

    kind: str
    method: str
    path: str
    body: Any = None
    once: bool = False


@dataclass(frozen=True)
class Lessons:
    """What there is to do: lessons to read, and a quiz."""

    course_slug: str
    readable: tuple[int, ...]
    quiz: int


@dataclass
class Outcome:
    """What all of them saw."""

    milliseconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def requests(self) -> int:
        """Return how many requests were sent."""
        return self.statuses.total() + self.errors["no answer"]

    @property
    def failed(self) -> int:
        """Return how many were not answered, or with a status from 400 on."""
        return self.errors.total()

    def note(self, request: Request, status: int, seconds: float) -> None:
        """Count an answer."""
        with self.lock:
            self.statuses[status] += 1
            self.milliseconds[request.kind].append(seconds * 1000)
            if status >= 400:
                self.errors[f"{request.method} {request.path.rstrip('0123456789')} {status}"] += 1

    def note_silence(self) -> None:
        """Count a request without an answer."""
        with self.lock:
            self.errors["no answer"] += 1

    def percentile(self, percent: float, kinds: tuple[str, ...] = (PUBLIC, SIGNED_IN, WRITE)) -> float | None:
        """Return a percentile in milliseconds, of these kinds of request; None without any."""
        times = sorted(itertools.chain.from_iterable(self.milliseconds.get(kind, ()) for kind in kinds))
        return round(times[min(len(times) - 1, int(len(times) * percent / 100))], 2) if times else None


Steps = Generator[Request, Any, None]


def visit(user_id: int, signs_in: bool, lessons: Lessons) -> Steps:
    """Yield what a learner asks for one after the other, and take what was answered."""
    if signs_in:
        credentials = {"email": history.email(user_id), "password": history.PASSWORD}
        yield Request(SIGN_IN, "POST", "/api/v1/auth/login", credentials)
    parts = [_look_around, _learn, _be_examined, _look_back]
    for number in range(len(parts)):  # they begin at different places, so that even a short run has something of everything
        yield from parts[(user_id + number) % len(parts)](lessons)


def _look_around(lessons: Lessons) -> Steps:
    yield Request(PUBLIC, "GET", "/api/v1/courses")
    yield Request(PUBLIC, "GET", f"/api/v1/courses/{lessons.course_slug}")


def _learn(lessons: Lessons) -> Steps:
    for number, lesson_id in enumerate(lessons.readable):
        yield Request(PUBLIC, "GET", f"/api/v1/lessons/{lesson_id}")
        yield Request(WRITE, "POST", f"/api/v1/lessons/{lesson_id}/completions", {"time_spent_seconds": 90}, once=True)
        if number % 3 == 0:
            yield Request(SIGNED_IN, "GET", "/api/v1/me/progress")


def _be_examined(lessons: Lessons) -> Steps:
    attempt = yield Request(WRITE, "POST", f"/api/v1/lessons/{lessons.quiz}/attempts", {}, once=True)
    for question in attempt.get("questions", ()):
        path = f"/api/v1/attempts/{attempt['id']}/answers/{question['id']}"
        yield Request(WRITE, "PUT", path, {"answer": some_answer(question)})
    if "id" in attempt:
        yield Request(WRITE, "POST", f"/api/v1/attempts/{attempt['id']}/submission", {}, once=True)
        yield Request(SIGNED_IN, "GET", f"/api/v1/attempts/{attempt['id']}")


def _look_back(lessons: Lessons) -> Steps:
    yield Request(SIGNED_IN, "GET", f"/api/v1/me/progress/{lessons.course_slug}")
    yield Request(SIGNED_IN, "GET", "/api/v1/me/wallet")
    yield Request(SIGNED_IN, "GET", "/api/v1/me/ledger")


def some_answer(question: dict[str, Any]) -> Any:
    """Return what could be an answer, right or wrong."""
    names = [option["id"] for option in question.get("options", ())]
    return {
        "single": names[:1] and names[0],
        "multiple": names[:1],
        "ordering": names,
        "true_false": True,
        "short_text": "an answer",
        "numeric": 1,
    }[question["kind"]]


class Browser:
    """One connection that is kept as long as the server keeps it."""

    def __init__(self, port: int, outcome: Outcome) -> None:
        self._port = port
        self._outcome = outcome
        self._connection: http.client.HTTPConnection | None = None
        self._keys = itertools.count()

    def ask(self, user_id: int, request: Request) -> Any:
        """Send the request and return the answer, `{}` for none and for an error."""
        headers = dict(HEADERS) | {"Accept-Encoding": "identity"}
        body = None
        if request.kind in (SIGNED_IN, WRITE):
            headers["Authorization"] = f"Bearer {history.token(user_id)}"
        if request.once:
            headers["Idempotency-Key"] = f"visit-{user_id}-{next(self._keys)}"
        if request.body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(request.body)
        began = time.monotonic()
        try:
            status, text = self._exchange(request, body, headers)
        except (OSError, http.client.HTTPException):
            self.close()
            self._outcome.note_silence()
            return {}
        self._outcome.note(request, status, time.monotonic() - began)
        return json.loads(text) if status < 400 and text else {}

    def _exchange(self, request: Request, body: str | None, headers: dict[str, str]) -> tuple[int, bytes]:
        if self._connection is not None:
            try:
                return self._send(self._connection, request, body, headers)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                # The server let go of an idle connection in this very moment; browsers send the request again, too.
                self.close()
        self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        return self._send(self._connection, request, body, headers)

    def _send(
        self, connection: http.client.HTTPConnection, request: Request, body: str | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        connection.request(request.method, request.path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


@dataclass(frozen=True)
class Population:
    """Who comes: learners by number, each of them once."""

    first: int
    last: int
    lessons: Lessons


def run(port: int, seconds: float, people: Population, connections: int = CONNECTIONS, a_minute: int = A_MINUTE) -> Outcome:
    """Send requests for that long and return what came of them. Ends early when nobody is left to come."""
    outcome, end = Outcome(), time.monotonic() + seconds
    coming, interval_s = itertools.count(people.first), connections * 60 / a_minute
    waiting = threading.Event()

    def browse(number: int) -> None:
        browser, due = Browser(port, outcome), time.monotonic() + interval_s * number / connections
        try:
            for user_id in coming:
                if user_id > people.last or time.monotonic() >= end:
                    return
                asking, answer = visit(user_id, (user_id // 4) % SIGN_INS_EVERY == 0, people.lessons), None
                while True:
                    try:
                        request = asking.send(answer)
                    except StopIteration:
                        break
                    waiting.wait(max(0.0, due - time.monotonic()))
                    if time.monotonic() >= end:
                        return
                    due += interval_s
                    answer = browser.ask(user_id, request)
        finally:
            browser.close()

    threads = [threading.Thread(target=browse, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcome
