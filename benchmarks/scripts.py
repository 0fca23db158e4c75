"""What the twin is told: the statements and the bytes of the service, taken from it at the start of each run."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from flask import Flask

from benchmarks import history
from benchmarks.place import HEADERS, database_of
from benchmarks.recording import LESSON, recorded, script
from codyverse.operations.idempotency import Key
from tests.server import Server

PROGRESS = "/api/v1/me/progress"
# What the server in front adds by itself, for the twin too.
OF_THE_SERVER = {"server", "date", "connection", "transfer-encoding"}

SAME = 8  # answers in a row; each may come from another worker

Answer = dict[str, Any]


def ask(server: Server, method: str, path: str, headers: dict[str, str], body: str | None = None) -> Answer:
    """Return an answer of the server, byte for byte. Raises SystemExit unless it is 200 or 201."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, path, body, HEADERS | headers)
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status not in (200, 201):
        raise SystemExit(f"{method} {path} answered {response.status}: {content[:500]!r}")
    told = [(name, value) for name, value in response.getheaders() if name.lower() not in OF_THE_SERVER]
    return {"status": f"{response.status} {response.reason}", "headers": told, "body": content}


def settled(server: Server, path: str) -> Answer:
    """Return what the server answers once every worker has it ready: finished answers are compressed harder than the first."""
    answers = [ask(server, "GET", path, {}) for _ in range(SAME)]
    for _ in range(100):
        if len({answer["body"] for answer in answers[-SAME:]}) == 1:
            break
        answers.append(ask(server, "GET", path, {}))
    return answers[-1]


def signed_in(user_id: int, key: str | None = None) -> dict[str, str]:
    """Return the headers of a program that acts for the learner."""
    headers = {"Authorization": f"Bearer {history.token(user_id)}"}
    return headers | {"Idempotency-Key": key, "Content-Type": "application/json"} if key else headers


def progress_statements(app: Flask, user_id: int) -> list[dict[str, Any]]:
    """Record `GET /me/progress`."""
    known: dict[Any, str] = {_token_hash(user_id): "token_hash", user_id: "learner"}
    began = datetime.now(UTC)
    with recorded(database_of(app).engine) as statements:
        _check(app.test_client().get(PROGRESS, headers=HEADERS | signed_in(user_id)).status_code, 200)
    return script(statements, known, began)


def completion_statements(app: Flask, user_id: int, lesson_id: int, key: str = "a-recorded-key") -> list[dict[str, Any]]:
    """Record the completion of a lesson that the learner has not completed."""
    secret: str = app.config["CODYVERSE"].secret_key
    key_hash = hmac.digest(secret.encode(), key.encode(), hashlib.sha256)
    known: dict[Any, str] = {
        _token_hash(user_id): "token_hash",
        key_hash: "key_hash",
        Key(user_id, key_hash, b"").claim: "claim",
        lesson_id: LESSON,
        user_id: "learner",
    }
    began = datetime.now(UTC)
    with recorded(database_of(app).engine, keep_rows=True) as statements:
        path = f"/api/v1/lessons/{lesson_id}/completions"
        answer = app.test_client().post(path, json={}, headers=HEADERS | signed_in(user_id, key))
        _check(answer.status_code, 201)
    return script(statements, known, began)


def write(path: Path, url: str, answers: dict[str, tuple[Answer, list[dict[str, Any]]]]) -> Path:
    """Write what the twin reads: a literal of Python, since JSON has no bytes."""
    dsn = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    told = {key: answer | {"statements": statements} for key, (answer, statements) in answers.items()}
    path.write_text(repr({"dsn": dsn, "answers": told}), "utf-8")
    return path


def write_bare(path: Path, answers: dict[str, Answer]) -> Path:
    """Write what bare.js reads: answers by target, bodies in base64."""
    told = {"/readyz": {"status": 200, "headers": [], "body": ""}} | {
        target: {
            "status": int(answer["status"][:3]),
            "headers": [word for pair in answer["headers"] for word in pair],
            "body": base64.b64encode(answer["body"]).decode("ascii"),
        }
        for target, answer in answers.items()
    }
    path.write_bytes(orjson.dumps(told))
    return path


def _token_hash(user_id: int) -> bytes:
    return hashlib.sha256(history.token(user_id).encode()).digest()


def _check(status: int, expected: int) -> None:
    if status != expected:
        raise SystemExit(f"the request to be recorded answered {status}")
