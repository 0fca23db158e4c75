"""The bare twin: a WSGI callable that sends the service's own statements, one by one, and answers the bytes the service answered.

It uses psycopg2 on one connection that each thread keeps, and nothing else: no framework, no pool, no checks. What it says and
sends stands in the file that TWIN_SCRIPT names (see bench.py).
"""

from __future__ import annotations

import ast
import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2

Fill = Callable[[dict[str, Any], list[Any]], Any]


def _fill(kind: str, detail: Any) -> Fill:
    """Return what makes a parameter from the request's own values and from what its earlier statements returned."""
    if kind == "now":
        return lambda values, returned, by=timedelta(seconds=detail): values["now"] + by  # type: ignore[misc]
    if kind == "returned":
        number, column, prefix = detail
        if prefix:
            return lambda values, returned: f"{prefix}{returned[number][0][column]}"
        return lambda values, returned: returned[number][0][column]
    return lambda values, returned: values[kind]


class Parameters:
    """The parameters of a statement: what never changes, and what is filled in for each request."""

    def __init__(self, slots: dict[str, tuple[str, Any]]) -> None:
        self._fixed = {name: detail for name, (kind, detail) in slots.items() if kind == "value"}
        self._fills = [(name, _fill(kind, detail)) for name, (kind, detail) in slots.items() if kind != "value"]

    def filled(self, values: dict[str, Any], returned: list[Any]) -> dict[str, Any]:
        """Return them for one request."""
        return self._fixed | {name: fill(values, returned) for name, fill in self._fills}


class Answer:
    """One address: its statements, and then always the same bytes."""

    def __init__(self, script: dict[str, Any]) -> None:
        self.status: str = script["status"]
        self.headers: list[tuple[str, str]] = script["headers"]
        self.body: bytes = script["body"]
        self._statements = [(each["sql"], [Parameters(one) for one in each["parameters"]], each) for each in script["statements"]]
        self.asks = bool(self._statements)

    def ask(self, connection: Any, values: dict[str, Any]) -> None:
        """Send the statements and read what they return."""
        returned: list[Any] = []
        with connection.cursor() as cursor:
            for sql, parameters, each in self._statements:
                if connection.autocommit is each["in_transaction"]:
                    connection.autocommit = not each["in_transaction"]
                if each["many"]:
                    cursor.executemany(sql, [one.filled(values, returned) for one in parameters])
                else:
                    cursor.execute(sql, parameters[0].filled(values, returned))
                returned.append(cursor.fetchall() if cursor.description is not None else None)
                if each["ends_transaction"]:
                    connection.commit()


class Twin:
    """The WSGI callable."""

    def __init__(self, script: dict[str, Any]) -> None:
        self._dsn: str = script["dsn"]
        self._answers = {key: Answer(each) for key, each in script["answers"].items()}
        self._thread = threading.local()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        path: str = environ["PATH_INFO"]
        if path == "/readyz":
            start_response("200 OK", [("Content-Length", "0")])
            return []
        method: str = environ["REQUEST_METHOD"]
        answer = self._answers[f"{method} {'completion' if method == 'POST' else path}"]
        if method == "POST":
            environ["wsgi.input"].read()
        if answer.asks:
            answer.ask(self._connection(), _values(environ, path))
        start_response(answer.status, answer.headers)
        return [answer.body]

    def _connection(self) -> Any:
        if not hasattr(self._thread, "connection"):
            self._thread.connection = psycopg2.connect(self._dsn, options="-c timezone=UTC")
        return self._thread.connection


def _values(environ: dict[str, Any], path: str) -> dict[str, Any]:
    token: str = environ["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    values: dict[str, Any] = {
        "now": datetime.now(UTC),
        "token_hash": hashlib.sha256(token.encode()).digest(),
        "learner": int(token.removeprefix("cv_learner")),
    }
    key = environ.get("HTTP_IDEMPOTENCY_KEY")
    if key:
        values["key_hash"] = hashlib.sha256(key.encode()).digest()
        values["claim"] = int.from_bytes(values["key_hash"][:8]) >> 1
        values["lesson"] = int(path.split("/")[4])
    return values


def _read(path: str) -> dict[str, Any]:
    script: dict[str, Any] = ast.literal_eval(Path(path).read_text("utf-8"))
    return script


application = Twin(_read(os.environ["TWIN_SCRIPT"])) if "TWIN_SCRIPT" in os.environ else None
