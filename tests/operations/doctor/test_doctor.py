"""What the doctor is for: it finds nothing in a good deployment, and in a broken one what is broken, nothing else."""

from __future__ import annotations

from typing import Any

from codyverse.operations.doctor import registry
from codyverse.operations.doctor.check import FAULT, OK, SKIPPED, WARNING
from tests.operations.doctor.deployments import (
    Case,
)
from tests.redis import Redis

COMMON = {
    "debugger",
    "cookies",
    "guesses",
    "wildcard",
    "key",
    "files",
    "indexes",
    "open-files",
    "memory",
    "backup-age",
    "balances",
}


def break_it(case: Case) -> None:
    """Seed eleven faults."""
    case.deployment.app.debug = True
    case.choose(
        session_cookie_secure=False,
        limit_sign_in_account="500 per minute",
        cors_origins=("https://*.example.org",),
        cors_credentials_with_wildcard=True,
        secret_key="please-change-this-key-before-you-begin",
        memory_worker_mb=3000,
        backup_path=str(case.instance / "backups"),
    )
    (case.instance / "secret_key").write_text("a key", "ascii")
    (case.instance / "secret_key").chmod(0o644)
    case.instance.chmod(0o755)
    case.stand_on(open_files=(1024, 1024))
    case.run(
        "DROP INDEX ix_sessions_user_id",
        "INSERT INTO ledger_entries (user_id, currency, amount, balance_after, source, created_at) "
        "VALUES (1, 'coins', 5, 25, 'by-hand', '2026-11-24 12:00:00')",
    )


def test_a_good_deployment_has_no_faults(case: Case) -> None:
    assert case.names(FAULT) == set()
    assert case.names(WARNING) == set()


def test_every_part_of_a_good_deployment_is_looked_at(on_postgresql: Case, on_sqlite: Case) -> None:
    looked_at = on_postgresql.names(OK) | on_sqlite.names(OK)
    not_there = {"wildcard", "plain-origins", "log-folder"}
    checks = {check.name for check in registry.of(on_sqlite.deployment.app) if check.group != "site"}
    assert checks - looked_at == not_there
    assert len(looked_at) >= 25


def test_twelve_faults_are_found_with_sqlite(on_sqlite: Case) -> None:
    break_it(on_sqlite)
    raw = on_sqlite.deployment.database.engine.raw_connection()
    raw.execute("PRAGMA foreign_keys = OFF")
    raw.execute("INSERT INTO wallets VALUES (4711, 0, 0)")
    raw.close()

    assert on_sqlite.names(FAULT) == COMMON | {"integrity"}
    assert on_sqlite.names(WARNING) == set()


def test_twelve_faults_are_found_with_postgresql(on_postgresql: Case, redis_server: Redis) -> None:
    break_it(on_postgresql)
    redis_server.stop()

    assert on_postgresql.names(FAULT) == COMMON | {"redis-reachable"}
    assert on_postgresql.names(WARNING) == set()


def test_what_needs_something_that_is_broken_is_not_a_fault_too(on_postgresql: Case, filled_server: Any) -> None:
    on_postgresql.deployment.database.engine.dispose()
    filled_server.run(f"ALTER DATABASE {on_postgresql.deployment.database.url.database} ALLOW_CONNECTIONS false")

    assert on_postgresql.names(FAULT) == {"reachable"}
    findings = on_postgresql.findings()
    assert "not currently accepting connections" in findings["reachable"].what
    assert findings["indexes"].status == findings["balances"].status == SKIPPED
