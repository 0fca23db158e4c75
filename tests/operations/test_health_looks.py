# ruff: noqa: F401, F811  (fixtures come by import)
"""What `/health` finds when something is not well, and that it finds nothing when all is well."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from codyverse.operations import components, gauges
from codyverse.operations.gauges import Process, Sample
from codyverse.operations.health_looks import MEGABYTE
from tests.operations.made import Make, make
from tests.redis import Redis, redis_server
from tests.server import wait_until

__all__ = ["redis_server"]

LOOKED_AT = {"database", "cache_l1", "cache_l2", "cache_l3", "limiter", "disk", "memory", "workers"}

pytestmark = pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)  # the database's own are in test_health.py


def found(app: Flask) -> dict[str, dict[str, Any]]:
    answer = app.test_client().get("/health")
    assert answer.status_code in (200, 503)
    of_parts: dict[str, dict[str, Any]] = answer.json["components"]  # type: ignore[index]
    return of_parts


def process(worker: str, held: float, at: float) -> Process:
    values = [Sample("codyverse_worker_memory_bytes", {}, held), Sample("codyverse_worker_memory_budget_bytes", {}, 100.0)]
    return Process(worker, 1, at - 60, at, values)


def test_all_is_well(make: Make) -> None:
    parts = found(make())
    assert set(parts) >= LOOKED_AT
    for name in LOOKED_AT:
        assert {"status", "since", "latency_ms"} <= set(parts[name]), name
    assert {name: parts[name]["status"] for name in LOOKED_AT} == dict.fromkeys(LOOKED_AT, "ok") | {"cache_l3": "off"}
    assert parts["database"]["threshold"] == {"latency_ms": 250.0}
    assert parts["disk"]["free_mb"] > 0
    assert parts["workers"]["number"] == 1


def test_what_is_switched_off_is_off(make: Make) -> None:
    parts = found(make(feature_caching=False, feature_rate_limit=False))
    assert {parts[name]["status"] for name in ("cache_l1", "cache_l2", "cache_l3", "limiter")} == {"off"}


def test_a_slow_database_is_degraded(make: Make) -> None:
    app = make(health_latency_ms=0.0001)
    assert found(app)["database"]["status"] == "degraded"


def test_a_disk_that_is_nearly_full(make: Make, tmp_path: Path) -> None:
    free_mb = shutil.disk_usage(tmp_path).free / MEGABYTE
    assert found(make(health_disk_free_mb=free_mb * 0.5))["disk"]["status"] == "ok"
    nearly = found(make(health_disk_free_mb=free_mb * 2))["disk"]
    assert (nearly["status"], nearly["threshold"]) == ("degraded", {"free_mb": free_mb * 2})


def test_a_disk_without_anything_free(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 100, 0))  # type: ignore[attr-defined]
    assert found(app)["disk"]["status"] == "unavailable"


@pytest.mark.parametrize(("held", "status"), [(84.9, "ok"), (85.0, "degraded")])
def test_memory_is_that_of_the_largest_worker(make: Make, monkeypatch: pytest.MonkeyPatch, held: float, status: str) -> None:
    app = make()
    told = [process("0", 10.0, time.time()), process("1", held, time.time())]
    monkeypatch.setattr(gauges.of(app), "processes", lambda: told)
    memory = found(app)["memory"]
    assert (memory["status"], memory["largest_percent"], memory["threshold"]) == (status, held, {"largest_percent": 85.0})


@pytest.mark.parametrize(
    ("ages_s", "wanted", "status"),
    [
        ([0, 0], 2, "ok"),
        ([0, 0, 0], 2, "ok"),
        ([0], 2, "degraded"),
        ([0, 0, 11], 2, "degraded"),
        ([0, 9], 2, "ok"),
        ([11], 1, "unavailable"),
        ([], 1, "unavailable"),
    ],
)
def test_workers_that_are_missing_or_silent(
    make: Make, monkeypatch: pytest.MonkeyPatch, ages_s: list[float], wanted: int, status: str
) -> None:
    app = make()
    components.of(app).workers_wanted = lambda: wanted
    told = [process(str(number), 1.0, time.time() - age_s) for number, age_s in enumerate(ages_s)]
    monkeypatch.setattr(gauges.of(app), "processes", lambda: told)
    workers = found(app)["workers"]
    assert (workers["status"], workers["number"], workers["threshold"]["number"]) == (status, len(ages_s), wanted)


def test_a_cache_file_that_cannot_be_used(make: Make, tmp_path: Path) -> None:
    app = make()
    assert found(app)["cache_l2"]["status"] == "ok"
    (path,) = tmp_path.glob("cache-*.sqlite3")
    other = make(database_pool_kept=3)
    for each in tmp_path.glob("cache-*"):
        each.unlink()
    path.mkdir()
    parts = found(other)
    assert (parts["cache_l2"]["status"], parts["cache_l1"]["status"]) == ("unavailable", "ok")


def test_redis_that_is_away(make: Make, redis_server: Redis) -> None:
    app = make(redis_url=redis_server.url, breaker_redis_open_s=0.1)
    app.test_client().get("/api/v1/courses")
    assert {found(app)[name]["status"] for name in ("cache_l3", "limiter")} == {"ok"}
    assert found(app)["limiter"]["counted_by"] == "redis"
    redis_server.stop()
    parts = found(app)
    assert parts["cache_l3"]["status"] == "unavailable"
    assert (parts["limiter"]["status"], parts["limiter"]["counted_by"]) == ("degraded", "the host")
    redis_server.start()
    wait_until(lambda: {found(app)[name]["status"] for name in ("cache_l3", "limiter")} == {"ok"})


def test_a_part_that_fails_is_no_error_of_the_answer(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make()

    def fail() -> Any:
        raise RuntimeError("hunter2")

    monkeypatch.setattr(gauges.of(app), "processes", fail)
    answer = app.test_client().get("/health")
    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["components"]["workers"]["status"] == "unavailable"
    assert "hunter2" not in answer.text


def test_a_look_is_made_once_however_many_ask(make: Make) -> None:
    app = make()
    checks = app.extensions["codyverse.health"].checks
    checks._every_s = 600.0
    looks: list[int] = []
    check = checks._checks["limiter"]
    inner = check.look
    check.look = lambda: looks.append(1) or inner()
    for _ in range(100):
        found(app)
    assert len(looks) == 1
