"""The main calls of `make scale`, each by a learner of its own through the application in this process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from benchmarks import history, load
from benchmarks.place import HEADERS, database_of
from benchmarks.recording import Statement, recorded
from codyverse.accounts import passwords

PLAIN = HEADERS | {"Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Call:
    """One measured call: in all, and in its statements alone; `keep` says which of these belong to it."""

    name: str
    send: Callable[[Learner], TestResponse]
    keep: Callable[[Statement], bool] = lambda statement: True


@dataclass
class Learner:
    """A learner with a program of their own, and what they do to a quiz."""

    user_id: int
    client: FlaskClient
    course_slug: str
    lesson_id: int
    quiz_id: int
    attempt: Any = None

    def send(self, method: str, path: str, body: Any = None, key: str = "") -> TestResponse:
        """Return the answer of the application."""
        headers = PLAIN | {"Authorization": f"Bearer {history.token(self.user_id)}"} | ({"Idempotency-Key": key} if key else {})
        return self.client.open(path, method=method, json=body, headers=headers)

    def start(self) -> TestResponse:
        """Begin an attempt."""
        answer = self.send("POST", f"/api/v1/lessons/{self.quiz_id}/attempts", {}, f"start-{self.user_id}")
        self.attempt = json.loads(answer.data)
        return answer

    def answer(self) -> TestResponse:
        """Answer the attempt's first question."""
        question = self.attempt["questions"][0]
        path = f"/api/v1/attempts/{self.attempt['id']}/answers/{question['id']}"
        return self.send("PUT", path, {"answer": load.some_answer(question)})

    def submit(self) -> TestResponse:
        """Submit the attempt."""
        return self.send("POST", f"/api/v1/attempts/{self.attempt['id']}/submission", {}, f"submit-{self.user_id}")

    def complete(self) -> TestResponse:
        """Complete a lesson."""
        return self.send("POST", f"/api/v1/lessons/{self.lesson_id}/completions", {}, f"complete-{self.user_id}")

    def sign_in(self) -> TestResponse:
        """Sign in with a password that nobody checks, since argon2 would hide everything else."""
        body = {"email": history.email(self.user_id), "password": history.PASSWORD}
        return self.client.post("/api/v1/auth/login", json=body, headers=PLAIN)


def _is_of_the_token(statement: Statement) -> bool:
    return "api_tokens" in statement.sql


CALLS = (
    Call("catalogue", lambda one: one.send("GET", "/api/v1/courses")),
    Call("course search", lambda one: one.send("GET", "/api/v1/courses?q=agent")),
    Call("lesson", lambda one: one.send("GET", f"/api/v1/lessons/{one.lesson_id}")),
    Call("token look-up", lambda one: one.send("GET", "/api/v1/me/wallet"), _is_of_the_token),
    Call("progress", lambda one: one.send("GET", "/api/v1/me/progress")),
    Call("progress in a course", lambda one: one.send("GET", f"/api/v1/me/progress/{one.course_slug}")),
    Call("ledger page", lambda one: one.send("GET", "/api/v1/me/ledger")),
    Call("attempt: start", Learner.start),
    Call("attempt: answer", Learner.answer),
    Call("attempt: submit", Learner.submit),
    Call("completion", Learner.complete),
    Call("sign-in without argon2", Learner.sign_in),
)


@dataclass(frozen=True)
class Measured:
    """A call by one learner."""

    seconds: float
    statement_seconds: float
    statements: list[Statement]


@contextmanager
def passwords_unchecked() -> Iterator[None]:
    """Take every password for right."""
    with mock.patch.object(passwords, "matches", lambda *_: True), mock.patch.object(passwords, "is_outdated", lambda *_: False):
        yield


def measure(app: Flask, call: Call, learner: Learner) -> Measured:
    """Send one call. Raises SystemExit when it is refused."""
    with recorded(database_of(app).engine) as statements:
        began = time.perf_counter()
        answer = call.send(learner)
        seconds = time.perf_counter() - began
    if answer.status_code not in (200, 201):
        raise SystemExit(f"{call.name} answered {answer.status_code}: {answer.text[:500]}")
    kept = [statement for statement in statements if call.keep(statement)]
    return Measured(seconds, sum(statement.seconds for statement in kept), kept)
