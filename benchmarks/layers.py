"""Where the time of a request goes, layer by layer: the application called in this process, one request after the other.

Every layer's functions are wrapped, and a layer's time is what passes in its own functions without those they call. The wrapping
itself costs about half a microsecond a call, which the table leaves in.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import flask_smorest.response
import marshmallow
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.pool import base as pool
from webargs.core import Parser
from werkzeug import Response
from werkzeug.test import EnvironBuilder

from benchmarks import cases, place, results, scripts
from benchmarks.place import HEADERS
from codyverse.http import auth, idempotency, pagination
from codyverse.operations import idempotency as records
from codyverse.rewards import rules

REQUESTS = 3000
OTHER = "WSGI and Flask: routing, contexts, dispatch, the rest"
Wrapped = Callable[..., Any]


class Clock:
    """Adds up the time of each layer in a request, without that of the layers it calls."""

    def __init__(self) -> None:
        self.requests: list[dict[str, float]] = []
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self._stack: list[str] = []
        self._since = 0.0

    def _pass_on(self, to: str | None) -> None:
        now = time.perf_counter()
        if self._stack:
            self.seconds[self._stack[-1]] += now - self._since
        if to is None:
            self._stack.pop()
        else:
            self._stack.append(to)
        self._since = time.perf_counter()

    def next_request(self) -> None:
        """Keep what one request took."""
        self.requests.append(self.seconds)
        self.seconds = defaultdict(float)

    def middle_us(self) -> dict[str, float]:
        """Return the median of each layer in microseconds: requests that waited for their turn on a busy machine tell nothing."""
        layers = {layer for request in self.requests for layer in request}
        return {layer: round(median(request.get(layer, 0.0) for request in self.requests) * 1e6, 1) for layer in layers}

    def wrapped(self, layer: str, function: Wrapped) -> Wrapped:
        """Return the function, timed as part of a layer."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            self.calls[layer] += 1
            self._pass_on(layer)
            try:
                return function(*args, **kwargs)
            finally:
                self._pass_on(None)

        timed.__name__ = getattr(function, "__name__", "timed")
        return timed

    def watch(self, layer: str, owner: Any, *names: str) -> None:
        """Time these functions of a module or class."""
        for name in names:
            setattr(owner, name, self.wrapped(layer, getattr(owner, name)))


def watch(app: Flask, clock: Clock) -> None:
    """Wrap every layer of the application."""
    for moment, functions in (("before", app.before_request_funcs), ("after", app.after_request_funcs)):
        for listed in functions.values():
            listed[:] = [clock.wrapped(f"{moment} request: {_where(function)}", function) for function in listed]
    clock.watch("who sends it: the caller", auth, "_find_caller")
    clock.watch("smorest: read and validate arguments", Parser, "parse")
    clock.watch("smorest: dump by the schema", marshmallow.Schema, "dump")
    clock.watch("smorest: make the response", flask_smorest.response, "jsonify")
    clock.watch("idempotency: hash the key", idempotency, "key")
    clock.watch("idempotency: JSON of the answer", records, "_dumps", "_loads")
    clock.watch("rules: level", rules, "level_for")
    clock.watch("pagination", pagination, "page")
    clock.watch("JSON of the body", app.json, "dumps", "response")
    clock.watch("ETag", Response, "add_etag", "make_conditional")
    clock.watch("SQLAlchemy around a statement", sa.Connection, "execute")
    clock.watch("SQLAlchemy: rows", sa.CursorResult, "_fetchall_impl", "one", "one_or_none", "scalar_one", "scalar_one_or_none")
    clock.watch("SQLAlchemy: lend and take back a connection", sa.Engine, "connect")
    clock.watch("SQLAlchemy: lend and take back a connection", sa.Connection, "close")
    clock.watch("PostgreSQL: statements", sa.dialects.postgresql.psycopg2.dialect, "do_execute", "do_executemany")
    clock.watch("PostgreSQL: ping before use", sa.dialects.postgresql.psycopg2.dialect, "do_ping")
    clock.watch("PostgreSQL: commit", DefaultDialect, "do_commit")
    clock.watch("PostgreSQL: rollback", DefaultDialect, "do_rollback")
    clock.watch(
        "PostgreSQL: change of isolation", sa.dialects.postgresql.psycopg2.dialect, "set_isolation_level", "reset_isolation_level"
    )
    clock.watch("SQLAlchemy: take back a connection", pool, "_finalize_fairy")


def _where(function: Wrapped) -> str:
    function = getattr(function, "func", function)  # of a functools.partial
    owner = getattr(function, "__self__", None)
    name = f"{type(owner).__module__}.{type(owner).__name__}" if owner is not None else function.__module__
    return f"{name.removeprefix('codyverse.')}.{function.__name__}"


def _answered(app: Flask, environ: dict[str, Any]) -> int:
    status: list[str] = []
    body: Iterable[bytes] = app.wsgi_app(environ, lambda line, headers, error=None: status.append(line))  # type: ignore[arg-type]
    b"".join(body)
    if hasattr(body, "close"):
        body.close()
    return int(status[0][:3])


def measure(app: Flask, environs: Callable[[int], dict[str, Any]], expected: int, requests: int) -> list[dict[str, Any]]:
    """Return the layers with their microseconds a request, the longest first."""
    for number in range(requests // 10):
        _answered(app, environs(number))
    statuses: Counter[int] = Counter()
    plain = []
    for number in range(requests, 2 * requests):
        environ, began = environs(number), time.perf_counter()
        statuses[_answered(app, environ)] += 1
        plain.append(time.perf_counter() - began)
    clock = Clock()
    watch(app, clock)
    entry = clock.wrapped(OTHER, _answered)
    for number in range(2 * requests, 3 * requests):
        statuses[entry(app, environs(number))] += 1
        clock.next_request()
    if set(statuses) != {expected}:
        raise SystemExit(f"answers {dict(statuses)}, expected {expected}")
    middle = sorted(clock.middle_us().items(), key=lambda item: -item[1])
    rows = [{"layer": layer, "µs": us, "calls": round(clock.calls[layer] / requests, 2)} for layer, us in middle]
    with_clocks = round(sum(us for _, us in middle), 1)
    return [
        *rows,
        {"layer": "all, with the clocks", "µs": with_clocks, "calls": 1.0},
        {"layer": "all, without them", "µs": round(median(plain) * 1e6, 1), "calls": 1.0},
    ]


def _environ(method: str, path: str, headers: dict[str, str], body: str | None = None) -> dict[str, Any]:
    builder = EnvironBuilder(path=path, method=method, headers=list((HEADERS | headers).items()), data=body)
    environ = builder.get_environ()
    environ["REMOTE_ADDR"] = "127.0.0.1"
    return environ


def profile(kind: str, requests: int, **chosen: Any) -> list[dict[str, Any]]:
    """Return the table of a kind of request: `progress`, `completion` or `courses`."""
    with ExitStack() as stack:
        path, url = stack.enter_context(place.folder()), stack.enter_context(place.postgresql_database())
        ground = stack.enter_context(cases.ground(path, url, learners=3 * requests))
        app = stack.enter_context(place.application(path, url, **chosen))
        lesson = f"/api/v1/lessons/{ground.lesson_ids[0]}/completions"

        def environs(number: int) -> dict[str, Any]:
            user_id = ground.first + number
            if kind == "courses":
                return _environ("GET", "/api/v1/courses", {})
            if kind == "progress":
                return _environ("GET", scripts.PROGRESS, scripts.signed_in(user_id))
            return _environ("POST", lesson, scripts.signed_in(user_id, f"key-{number}"), "{}")

        return measure(app, environs, 201 if kind == "completion" else 200, requests)


def main() -> None:
    """Print the tables; each kind in a process of its own, since the wrapping stays."""
    parser = argparse.ArgumentParser(description="Show where the time of a request goes.")
    parser.add_argument("kind", choices=("courses", "progress", "completion"))
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--into", type=Path, help="file of the table")
    chosen = parser.parse_args()
    rows = profile(chosen.kind, chosen.requests)
    table = results.markdown(f"Layers: {chosen.kind}", results.machine(), [results.Table("Microseconds a request", rows)])
    if chosen.into:
        chosen.into.write_text(table, "utf-8")
    sys.stdout.write(table)


if __name__ == "__main__":
    main()
