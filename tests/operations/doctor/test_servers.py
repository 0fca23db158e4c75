"""What is wrong with servers and files of databases, and cannot be seeded in one line."""

from __future__ import annotations

import shutil
from contextlib import closing
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa

from codyverse.operations.doctor import postgresql, redis, sqlite
from codyverse.operations.doctor.check import FAULT, OK, WARNING
from tests.operations.doctor.deployments import Case
from tests.redis import Redis
from tests.server import wait_until


@pytest.fixture
def redis_client(on_postgresql: Case, redis_server: Redis) -> Any:
    return redis_server.client


def test_a_full_redis_is_found(on_postgresql: Case, redis_client: Any) -> None:
    redis_client.set("codyverse", "x" * 3_000_000)
    redis_client.config_set("maxmemory", int(redis_client.info("memory")["used_memory"] * 1.05))
    assert on_postgresql.findings("redis")["redis-memory"].status == FAULT
    redis_client.config_set("maxmemory-policy", "volatile-ttl")
    assert on_postgresql.findings("redis")["redis-memory"].status == OK
    redis_client.config_set("maxmemory-policy", "allkeys-lru")
    assert on_postgresql.findings("redis")["redis-memory"].status == WARNING


def test_a_redis_that_cannot_write_is_found(on_postgresql: Case, redis_client: Any) -> None:
    shutil.rmtree(redis_client.config_get("dir")["dir"])
    redis_client.bgsave()
    wait_until(lambda: redis_client.info("persistence")["rdb_last_bgsave_status"] != "ok")
    assert on_postgresql.findings("redis")["redis-disk"].status == FAULT


def test_an_old_redis_is_found(on_postgresql: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "OLDEST", (99, 0))
    assert on_postgresql.findings("redis")["redis-version"].status == FAULT


def test_old_engines_are_found(on_postgresql: Case, on_sqlite: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "OLDEST", 99)
    monkeypatch.setattr(sqlite, "OLDEST", (99, 0, 0))
    assert on_postgresql.findings("database")["server-version"].status == FAULT
    assert on_sqlite.findings("database")["library-version"].status == FAULT


def test_transactions_that_are_open_for_long_are_found(on_postgresql: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "LONG_S", 0.0)
    url = on_postgresql.deployment.database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(url)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute("SELECT 1")
        found = on_postgresql.findings("database")["transactions"]
    assert found.status == WARNING
    assert str(connection.info.backend_pid if not connection.closed else "") in found.what


def test_dead_rows_are_found(on_postgresql: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "DEAD_ROWS", 100)
    on_postgresql.run(
        "ALTER TABLE alembic_version SET (autovacuum_enabled = false)",
        *["UPDATE alembic_version SET version_num = version_num"] * 150,
    )
    wait_until(lambda: on_postgresql.findings("database")["dead-rows"].status == WARNING)


def test_numbers_that_run_out_are_found(on_postgresql: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "XIDS_WARNING", -1)
    assert on_postgresql.findings("database")["transaction-ids"].status == WARNING
    monkeypatch.setattr(postgresql, "XIDS_FAULT", -1)
    assert on_postgresql.findings("database")["transaction-ids"].status == FAULT


def test_a_way_that_is_not_encrypted_is_found(on_postgresql: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "is_here", lambda address: False)
    assert on_postgresql.findings("database")["encryption"].status == WARNING


def test_a_file_without_a_write_ahead_log_is_found(on_sqlite: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "LARGEST_JOURNAL", -1)
    assert on_sqlite.findings("database")["journal-size"].status == WARNING
    connect = sa.event.listens_for(on_sqlite.deployment.database.engine, "checkout")
    connect(lambda connection, record, lent: connection.execute("PRAGMA journal_mode = DELETE").close())
    assert on_sqlite.findings("database")["journal"].status == FAULT
