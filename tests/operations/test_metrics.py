"""Figures for Prometheus, for alerts, and for who wants the report's summary."""

from __future__ import annotations

import dataclasses
import random
import sqlite3
import string
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from codyverse import create_app
from codyverse.accounts import service as accounts
from codyverse.database import Database
from codyverse.operations import components, gauges, metrics, tallies
from codyverse.operations.gauges import Process, Sample
from codyverse.operations.metric_families import FromAlerts
from tests.conftest import ImportedCatalogue, Learner

Figures = dict[tuple[str, ...], float]

# Those that the issue names; what reads them (rules of alerts, Grafana) takes their names for granted.
GAUGES = {
    "codyverse_worker_memory_bytes": ("-",),
    "codyverse_worker_memory_budget_bytes": ("-",),
    "codyverse_worker_age_seconds": ("-",),
    "codyverse_database_pool_connections": ("idle", "in_use", "waiting"),
    "codyverse_breaker_open": ("database",),
    "codyverse_cache_entries": ("l1", "l2"),
    "codyverse_disk_free_bytes": ("instance",),
    "codyverse_disk_bytes": ("instance",),
}
COUNTERS = (
    *(f"codyverse_{name}_total" for name in ("slow_requests", "statements", "statement_seconds", "log_lines_lost")),
    *(f"codyverse_{name}_total" for name in ("database_errors", "limits_decisions", "domain_events")),
)


@pytest.fixture
def operator(learner: Learner, database: Database) -> Learner:
    accounts.change_role(database, learner.email, "admin")
    return learner


def figures(app: Flask) -> Figures:
    """Return the figures that every other part reads, by name and labels in the order of their names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value for sample in metrics.samples(app)
    }


def exposed(client: FlaskClient) -> Figures:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_it_works(operator: Learner, client: FlaskClient) -> None:
    for _ in range(3):
        client.get("/api/v1/courses")
    client.get("/api/v1/courses/nothing")
    found = exposed(operator.client)
    assert found["http_requests_total", "GET", "/api/v1/courses", "200"] == 3
    assert found["http_requests_total", "GET", "/api/v1/courses/<slug:slug>", "404"] == 1
    assert found["http_request_duration_seconds_count", "GET", "/api/v1/courses"] == 3
    assert found["http_request_duration_seconds_bucket", "+Inf", "GET", "/api/v1/courses"] == 3
    assert 0 < found["http_request_duration_seconds_sum", "GET", "/api/v1/courses"] < 60
    assert exposed(operator.client)["http_requests_total", "GET", "/metrics", "200"] == 1


def test_what_others_read_is_what_is_exposed(operator: Learner, app: Flask) -> None:
    told = exposed(operator.client)
    read = figures(app)
    changing = {name for name in told if "worker_" in name[0] or "disk_free" in name[0] or "http" in name[0]}
    assert {name: value for name, value in read.items() if name in told and name not in changing} == {
        name: value for name, value in told.items() if name not in changing
    }
    assert set(told) <= set(read)


def test_every_figure_of_the_issue_is_there_from_the_start(client: FlaskClient, app: Flask) -> None:
    client.get("/livez")
    found = figures(app)
    for name, labels in GAUGES.items():
        assert {key[1:] for key in found if key[0] == name} == {(label,) for label in labels}, name
    names = {key[0] for key in found}
    assert names >= {"codyverse_build_info", "codyverse_alert_state", *COUNTERS}
    assert found["codyverse_worker_memory_bytes", "-"] > 10_000_000
    assert found["codyverse_disk_bytes", "instance"] >= found["codyverse_disk_free_bytes", "instance"] > 0


def test_names_and_help_follow_the_rules(operator: Learner) -> None:
    answer = operator.client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    families = list(read_openmetrics(answer.text))  # which is strict about names, suffixes and the end
    assert len(families) > 20
    for family in families:
        assert family.documentation.endswith("."), family.name
        assert family.name.startswith(("codyverse_", "http_")), family.name
        assert (family.type == "counter") == any(
            sample.name.endswith("_total") for sample in family.samples
        ) or not family.samples


def test_who_accepts_anything_gets_text(operator: Learner) -> None:
    for accept in ("*/*", "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", "text/html,application/xml;q=0.9", None):
        answer = operator.client.get("/metrics", headers={"Accept": accept} if accept else {})
        assert answer.headers["Content-Type"].startswith("text/plain"), accept


def test_the_reports_summary(operator: Learner, client: FlaskClient) -> None:
    for _ in range(3):
        client.get("/api/v1/courses")
    answer = operator.client.get("/metrics", headers={"Accept": "application/json"})
    told: dict[str, Any] = answer.json  # type: ignore[assignment]
    assert set(told) == {"server", "optimizer", "architecture", "database"}
    assert set(told["server"]) == {"requests", "errors", "avgResponseTime", "uptime"}
    assert set(told["optimizer"]) == {"optimizations", "performance", "memory"}
    assert set(told["architecture"]) == {"components", "scaling", "health"}
    assert set(told["database"]) == {"connections", "queries", "performance", "errors"}
    assert told["server"]["requests"] >= 4
    assert told["server"]["errors"] == 0
    assert 0 < told["server"]["avgResponseTime"] < 60_000
    assert 0 < told["server"]["uptime"] < 86_400
    assert told["database"]["queries"] > 0
    assert told["database"]["performance"]["avgQueryMs"] > 0
    assert told["optimizer"]["memory"]["usedBytes"] > 10_000_000
    assert told["architecture"]["scaling"]["workers"] == 1


def test_what_clients_make_up_is_no_label(operator: Learner, client: FlaskClient, app: Flask) -> None:
    chance = random.Random(1)

    def word() -> str:
        return "".join(chance.choices(string.ascii_letters + string.digits + "-._~%", k=chance.randint(1, 30)))

    def ask() -> None:
        method = chance.choice(["GET", "POST", "PUT", "BREW", word().upper()])
        path = chance.choice(
            [f"/{word()}", f"/api/v1/courses/{word()}", f"/api/v1/{word()}/{word()}", "/metrics", f"/static/{word()}"]
        )
        headers = {
            "User-Agent": word(),
            "Origin": f"https://{word()}",
            "X-Request-ID": word(),
            "Authorization": f"Bearer {word()}",
        }
        client.open(path, method=method, headers=headers, environ_overrides={"HTTP_HOST": f"{word()}.example"})

    for _ in range(300):
        ask()
    first = set(figures(app))
    for _ in range(300):
        ask()
    after = set(figures(app))
    known = {str(rule) for rule in app.url_map.iter_rules()} | {"-"}
    assert {name[2] for name in after if name[0] == "http_requests_total"} <= known
    assert {name[1] for name in after if name[0] == "http_requests_total"} <= {"GET", "POST", "PUT", "other"}
    assert all(name[0].startswith("http_") for name in after - first)
    assert len(after - first) < 100, sorted(after - first)  # routes with methods and statuses that had not come up


def test_slow_requests(settings: Any) -> None:
    app = create_app(dataclasses.replace(settings, slow_request_ms=10.0))
    counted = metrics.of(app)
    assert counted is not None
    counted.observe("GET", "/x", 200, 0.0099)
    assert figures(app)["codyverse_slow_requests_total",] == 0
    counted.observe("GET", "/x", 200, 0.01)
    counted.observe("GET", "/x", 200, 2.0)
    assert figures(app)["codyverse_slow_requests_total",] == 2
    components.of(app).close()


def test_refusals_are_requests_that_took_no_time(app: Flask) -> None:
    counted = metrics.of(app)
    assert counted is not None
    counted.refused("GET", 503)
    counted.refused("", 400)
    found = figures(app)
    assert found["http_requests_total", "GET", "-", "503"] == 1
    assert found["http_requests_total", "other", "-", "400"] == 1
    assert not [name for name in found if name[0] == "http_request_duration_seconds_count"]


def happened(app: Flask) -> dict[str, float]:
    return {name[1]: value for name, value in figures(app).items() if name[0] == "codyverse_domain_events_total"}


def test_what_was_committed_is_counted(
    app: Flask, learner: Learner, catalogue: ImportedCatalogue, client: FlaskClient, database: Database
) -> None:
    nothing = dict.fromkeys(("registration", "sign_in", "completion", "ledger_entry", "attempt"), 0.0)
    assert happened(app) == nothing | {"registration": 1}
    client.post("/api/v1/auth/login", json={"email": learner.email, "password": "wrong, and long enough"})
    assert happened(app) == nothing | {"registration": 1}
    client.post("/api/v1/auth/login", json={"email": learner.email, "password": learner.password})
    lesson = next(number for path, number in catalogue.ids.items() if is_completed(learner, number))
    assert learner.client.post(f"/api/v1/lessons/{lesson}/completions", json={}).status_code == 200  # again: nothing happens
    expected = nothing | {"registration": 1, "sign_in": 1, "completion": 1, "ledger_entry": 2}
    assert happened(app) == expected
    quiz = next(number for path, number in catalogue.ids.items() if is_begun(learner, number))
    assert quiz
    assert happened(app) == expected | {"attempt": 1}
    with pytest.raises(RuntimeError), database.transaction() as tx:
        tx.note("attempt")
        raise RuntimeError  # and so it never was
    assert happened(app)["attempt"] == 1


def is_completed(learner: Learner, lesson: int) -> bool:
    return learner.client.post(f"/api/v1/lessons/{lesson}/completions", json={}).status_code == 201


def is_begun(learner: Learner, lesson: int) -> bool:
    return learner.client.post(f"/api/v1/lessons/{lesson}/attempts", json={}).status_code == 201


def errors(app: Flask) -> dict[str, float]:
    return {name[1]: value for name, value in figures(app).items() if name[0] == "codyverse_database_errors_total"}


def test_errors_of_the_database_by_kind(app: Flask, database: Database) -> None:
    def use(error: Exception) -> None:
        with pytest.raises(type(error)), database.read():
            raise error

    none = {"connection": 0.0, "timeout": 0.0, "other": 0.0}
    assert errors(app) == none
    use(sa.exc.IntegrityError("INSERT", {}, Exception("there already")))
    use(ValueError("of ours"))
    assert errors(app) == none
    use(sa.exc.TimeoutError("none came back"))
    use(sa.exc.ProgrammingError("SELECT", {}, Exception("no such column")))
    assert errors(app) == none | {"timeout": 1, "other": 1}


def test_a_database_that_is_away_is_an_error_of_connections(settings: Any, tmp_path: Path) -> None:
    away = dataclasses.replace(settings, database_url=f"sqlite:///{tmp_path}/nowhere/at/all.sqlite3")
    app = create_app(away)
    for _ in range(3):
        assert app.test_client().get("/api/v1/courses").status_code == 503
    assert errors(app) == {"connection": 3, "timeout": 0, "other": 0}
    components.of(app).close()


def test_statements_are_counted_together(app: Flask, client: FlaskClient) -> None:
    before = figures(app)["codyverse_statements_total",]
    client.get("/api/v1/courses")
    client.get("/api/v1/courses/nothing")
    found = figures(app)
    assert found["codyverse_statements_total",] >= before + 2
    assert 0 < found["codyverse_statement_seconds_total",] < 60


def test_connections_that_are_lent(app: Flask, client: FlaskClient, database: Database) -> None:
    client.get("/livez")
    with database.read() as reader:
        reader.execute(sa.select(sa.literal(1)))
        found = figures(app)
    assert found["codyverse_database_pool_connections", "in_use"] == 1
    assert figures(app)["codyverse_database_pool_connections", "in_use"] == 0
    assert figures(app)["codyverse_database_pool_connections", "idle"] >= 1


def test_a_breaker_that_opened(app: Flask, client: FlaskClient, database: Database) -> None:
    client.get("/livez")
    assert figures(app)["codyverse_breaker_open", "database"] == 0
    period = database.breaker.allow()
    for _ in range(5):
        database.breaker.failed(period)
    found = figures(app)
    assert found["codyverse_breaker_open", "database"] == 1
    assert found["codyverse_breaker_transitions_total", "database", "open"] == 1


def show_only(app: Flask, states: Callable[[Flask], list[Any]]) -> None:
    """Show these alerts in place of the application's."""
    counted = metrics.of(app)
    assert counted is not None
    for collector in [one for one in counted.registry._collector_to_names if isinstance(one, FromAlerts)]:
        counted.registry.unregister(collector)
    metrics.show_alerts(app, states)


def test_alerts(app: Flask) -> None:
    states = [SimpleNamespace(name=name, state=name) for name in ("inactive", "pending", "firing")]
    show_only(app, lambda told: states if told is app else [])
    found = {name[1]: value for name, value in figures(app).items() if name[0] == "codyverse_alert_state"}
    assert found == {"inactive": 0, "pending": 1, "firing": 2}


def test_alerts_that_cannot_be_told_take_nothing_with_them(app: Flask) -> None:
    def fail(told: Flask) -> list[Any]:
        raise OSError("no space left")

    show_only(app, fail)
    found = figures(app)
    assert not [name for name in found if name[0] == "codyverse_alert_state"]
    assert ("codyverse_slow_requests_total",) in found


def told(worker: str, pid: int, started_at: float, **values: float) -> Process:
    kinds = {
        "held": ("codyverse_worker_memory_bytes", {}),
        "lent": ("codyverse_database_pool_connections", {"state": "in_use"}),
        "open": ("codyverse_breaker_open", {"breaker": "database"}),
        "l1": ("codyverse_cache_entries", {"tier": "l1"}),
        "l2": ("codyverse_cache_entries", {"tier": "l2"}),
    }
    return Process(worker, pid, started_at, 2000.0, [Sample(*kinds[name], value) for name, value in values.items()])


def test_workers_are_told_apart_or_added_up(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = [
        told("0", 1, 900.0, held=10, lent=1, open=0, l1=5, l2=40),
        told("0", 2, 950.0, held=20, lent=2, open=1, l1=6, l2=41),  # takes over from the first, which is about to end
        told("1", 3, 910.0, held=30, lent=4, open=0, l1=7, l2=40),
    ]
    monkeypatch.setattr(gauges.of(app), "processes", lambda: processes)
    found = figures(app)
    assert {name[1]: value for name, value in found.items() if name[0] == "codyverse_worker_memory_bytes"} == {"0": 20, "1": 30}
    assert found["codyverse_database_pool_connections", "in_use"] == 7
    assert found["codyverse_breaker_open", "database"] == 1
    assert (found["codyverse_cache_entries", "l1"], found["codyverse_cache_entries", "l2"]) == (18, 41)


def test_only_operators_see_them(learner: Learner, client: FlaskClient) -> None:
    for accept in ("text/plain", "application/json"):
        assert client.get("/metrics", headers={"Accept": accept}).status_code == 401
        assert learner.client.get("/metrics", headers={"Accept": accept}).status_code == 403


def test_switched_off_there_is_nothing(settings: Any) -> None:
    app = create_app(dataclasses.replace(settings, feature_monitoring=False))
    client = app.test_client()
    assert client.get("/api/v1/courses").status_code == 200
    assert client.get("/metrics").status_code == 404
    assert metrics.samples(app) == []
    components.of(app).close()


def test_counters_that_cannot_be_read_are_no_counters_at_nothing(operator: Learner, app: Flask, client: FlaskClient) -> None:
    client.get("/api/v1/courses")
    assert exposed(operator.client)["http_requests_total", "GET", "/api/v1/courses", "200"] == 1
    with closing(sqlite3.connect(tallies.of(app)._path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        answer = operator.client.get("/metrics")
        holder.execute("ROLLBACK")
    assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
    assert exposed(operator.client)["http_requests_total", "GET", "/api/v1/courses", "200"] == 1
