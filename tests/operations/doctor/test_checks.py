"""Each check finds what it is for: here it is broken on purpose, and nothing else with it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from codyverse.database import Database
from codyverse.operations import alerts, gauges, tallies
from codyverse.operations.alerts.states import FIRING, Standing
from codyverse.operations.alerts.store import Change
from codyverse.operations.backup import shelf
from codyverse.operations.doctor import registry
from codyverse.operations.doctor.check import FAULT, OK, WARNING
from codyverse.operations.logging import LOST
from tests.operations.doctor.deployments import (
    DISK,
    Case,
)
from tests.operations.doctor.test_served import BREAKS as BREAKS_OF_SITES

Break = Callable[[Case], Any]
BREAKS: dict[str, list[tuple[str, str, Break]]] = {}  # by check: engine, status, how


def breaks(name: str, status: str = FAULT, engine: str = "sqlite") -> Callable[[Break], Break]:
    """Say which check the function below breaks, what is found then, and on which engine."""

    def add(how: Break) -> Break:
        BREAKS.setdefault(name, []).append((engine, status, how))
        return how

    return add


def by_setting(name: str, status: str = FAULT, engine: str = "sqlite", **settings: Any) -> None:
    breaks(name, status, engine)(lambda case: case.choose(**settings))


def by_machine(name: str, status: str = FAULT, **machine: Any) -> None:
    breaks(name, status)(lambda case: case.stand_on(**machine))


def by_plan(name: str, status: str = FAULT, **plan: Any) -> None:
    breaks(name, status)(lambda case: case.plan(**plan))


def by_sql(name: str, *statements: str, status: str = FAULT, engine: str = "sqlite") -> None:
    breaks(name, status, engine)(lambda case: case.run(*(each.replace("{name}", case.database) for each in statements)))


KEY = "dS3-x9Lq_7RtYw2Zb8NcVf5GhJk4Mp6Q"

by_setting("environment", environment="development")
by_setting("environment", environment="testing")
by_setting("https", https=False)
by_setting("hsts", WARNING, hsts_seconds=86_400)
by_setting("cookies", session_cookie_secure=False)
by_setting("features", feature_security=False)
by_setting("features", feature_rate_limit=False)
by_setting("comforts", WARNING, feature_monitoring=False)
by_setting("guesses", limit_sign_in_account="101 per hour")
by_setting("hosts", WARNING, allowed_hosts=())
by_setting("proxies", trusted_proxies=0)
by_plan("proxies", WARNING, bind=("0.0.0.0:8000",))
by_setting("policy", WARNING, csp_connect=("https://*.example.org",))
by_setting("policy", WARNING, csp_font=("http://fonts.example.org",))
by_setting("deadlines", request_deadline_s=4.0)
by_setting("memory-steps", memory_warn_percent=90.0)
by_setting("log-level", WARNING, log_level="DEBUG")
by_setting("wildcard", cors_origins=("https://*.example.org",), cors_credentials_with_wildcard=True)
by_setting("plain-origins", cors_origins=("http://app.example.org",))
by_setting("key", secret_key="0123456789abcdef-Changeme-0123456789abcdef")
by_setting("key", secret_key="ab" * 40)
by_setting("reused", secret_key=KEY, alerts_webhook_secret=KEY)
by_setting("passwords", WARNING, smtp_url="smtp://codyverse:short@mail.example.org:587")
by_setting("one-host", WARNING, redis_url="redis://127.0.0.1:1/0")
by_setting("redis-reachable", engine="postgresql", redis_url="redis://127.0.0.1:1/0")
by_setting("redis-password", engine="postgresql", redis_url="redis://redis.invalid:6379/0")
by_setting("pool-room", engine="postgresql", database_pool_size=80)
by_setting("pool-threads", database_pool_size=3, database_pool_kept=1)
by_setting("pool-threads", WARNING, database_pool_kept=30)
by_setting("timeouts", engine="postgresql", database_statement_timeout_s=2.0)
by_setting("memory", memory_worker_mb=1_950)
by_setting("memory", memory_worker_mb=100)
by_setting("memory-folder", WARNING, memory_path="/nowhere")
by_setting("backup-age", backup_path="/nowhere")
by_setting("log-folder", log_path="/nowhere")
by_setting("log-folder", access_log="/nowhere/access.log")
by_setting("alerts-told", WARNING, alerts_webhook_url="")
by_setting("alerts-told", alerts_email_to=("ada@example.org",))
by_setting("alerts-signed", WARNING, alerts_webhook_secret="")
by_setting("alerts-signed", WARNING, alerts_webhook_url="http://alerts.example.org")
by_setting("alerts-rules", alerts_path=Path("/nowhere.yaml"))
by_setting("catalogue-files", content_path=Path("/nowhere"))

by_machine("account", WARNING, uid=0)
by_machine("open-files", open_files=(1024, 2048))
by_machine("open-files", WARNING, open_files=(1024, 65_536))
by_machine("memory", memory_bytes=300_000_000)
by_machine("python", WARNING, now=lambda: datetime(2099, 1, 1, tzinfo=UTC).timestamp())
by_machine("disk-space", disk=lambda path: replace(DISK, free_bytes=200_000_000))
by_machine("disk-space", WARNING, disk=lambda path: replace(DISK, free_bytes=1_500_000_000))
by_machine("disk-files", disk=lambda path: replace(DISK, free_files=10_000))
by_machine("disk-files", WARNING, disk=lambda path: replace(DISK, free_files=90_000))
by_machine("memory-folder", WARNING, disk=lambda path: replace(DISK, free_bytes=3_000_000_000 if path.name == "instance" else 1))
by_machine("backup-place", WARNING, device=lambda path: 1)

by_sql("migrations", "UPDATE alembic_version SET version_num = '0001'")
by_sql("migrations", "DELETE FROM alembic_version")
by_sql("migrations", "UPDATE alembic_version SET version_num = '9999'", status=WARNING)
by_sql("schema", "ALTER TABLE users ADD COLUMN nickname TEXT")
by_sql("schema", "ALTER TABLE course_images RENAME TO pictures", engine="postgresql")
by_sql("indexes", "DROP INDEX ix_sessions_user_id")
by_sql("indexes", "ALTER TABLE completions DROP CONSTRAINT uq_completions_user_id_lesson_id", engine="postgresql")
by_sql("durability", "ALTER ROLE codyverse IN DATABASE {name} SET synchronous_commit = off", engine="postgresql")
by_sql("vacuum", "ALTER ROLE codyverse IN DATABASE {name} SET track_counts = off", engine="postgresql")
by_sql("triggers", "ALTER TABLE ledger_entries DISABLE TRIGGER ledger_entries_no_change", engine="postgresql")
by_sql(
    "valid-indexes",
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_sessions_user_id'::regclass",
    engine="postgresql",
)
by_sql("balances", "UPDATE wallets SET xp = xp + 1", engine="sqlite")
by_sql("balances", "DELETE FROM wallets", engine="postgresql")
by_sql("operator", "UPDATE users SET role = 'teacher'", status=WARNING)
by_sql("catalogue", "UPDATE courses SET retired_at = '2026-11-24 12:00:00'", status=WARNING)
by_sql("audit-chain", "DROP TRIGGER audit_entries_no_update", "UPDATE audit_entries SET actor = 'nobody' WHERE id = 1")


@breaks("debugger")
def debugger(case: Case) -> None:
    case.deployment.app.debug = True


@breaks("files")
def a_key_for_everybody(case: Case) -> None:
    (case.instance / "secret_key").write_text("a key", "ascii")
    (case.instance / "secret_key").chmod(0o640)
    case.instance.chmod(0o710)


@breaks("files")
def a_database_for_everybody(case: Case) -> None:
    (case.instance / "codyverse.sqlite3").chmod(0o604)
    case.instance.chmod(0o701)


@breaks("files")
def a_folder_for_everybody_to_write_in(case: Case) -> None:
    case.instance.chmod(0o703)


@breaks("reachable")
def a_file_that_is_none(case: Case) -> None:
    case.deployment.database.close()
    (case.instance / "codyverse.sqlite3").write_bytes(b"no database at all" * 100)


@breaks("reachable")
def a_server_that_is_away(case: Case) -> None:
    settings = replace(case.deployment.settings, database_url="postgresql://127.0.0.1:1/nothing")
    case.deployment = replace(case.deployment, settings=settings, database=Database(settings))


@breaks("integrity")
def a_broken_page(case: Case) -> None:
    case.deployment.database.close()
    file = case.instance / "codyverse.sqlite3"
    data = bytearray(file.read_bytes())
    data[-20_000:-12_000] = b"\xff" * 8_000
    file.write_bytes(bytes(data))


@breaks("local-file")
def a_network(case: Case) -> None:
    case.write("proc/self/mounts", f"/dev/disk / ext4 rw 0 0\nserver:/ {case.instance} nfs4 rw 0 0\n")


@breaks("memory-folder", WARNING)
def a_disk_for_memory(case: Case) -> None:
    case.write("proc/self/mounts", "/dev/disk / ext4 rw 0 0\n")


@breaks("backlog", WARNING)
def a_small_backlog(case: Case) -> None:
    case.write("proc/sys/net/core/somaxconn", "128\n")


@breaks("open-files")
def a_worker_that_may_open_few_files(case: Case) -> None:
    _one_worker(case).joinpath("limits").write_text("Limit  Soft  Hard  Units\nMax open files  1024  2048  files\n", "ascii")


@breaks("account")
def a_worker_of_root(case: Case) -> None:
    if _one_worker(case).stat().st_uid:
        pytest.skip("only root can make files of root's")


def _one_worker(case: Case) -> Path:
    """Have this process for the only worker; returns its folder on the machine."""
    gauges.of(case.deployment.app).serves = True
    folder: Path = case.deployment.machine.root / "proc" / str(os.getpid())
    folder.mkdir()
    return folder


@breaks("disk-writable")
def a_folder_that_is_none(case: Case) -> None:
    case.choose(instance_path=case.instance / "gone")


@breaks("backup-age", WARNING)
def an_old_backup(case: Case) -> None:
    _one_backup(case, timedelta(hours=27))


@breaks("backup-age")
def a_very_old_backup(case: Case) -> None:
    _one_backup(case, timedelta(days=4))


def _one_backup(case: Case, age: timedelta) -> None:
    folder = shelf.folder(case.deployment.settings)
    for archive in shelf.archives(case.deployment.settings):
        archive.path.unlink()
    (folder / shelf.name(datetime.now(UTC) - age)).touch()


@breaks("catalogue-files")
def a_fault_in_a_file(case: Case) -> None:
    folder = case.instance / "content"
    shutil.copytree(case.deployment.settings.content_path, folder)
    next(folder.rglob("course.yaml")).write_text("title: 17\n", "utf-8")
    case.choose(content_path=folder)


@breaks("alerts-quiet", WARNING)
def an_alert(case: Case) -> None:
    name = alerts.rules_of(case.deployment.app)[0].name
    case.deployment.app.extensions["codyverse.alerts"].store.save(Change({name: Standing(FIRING, 1.0)}, 1.0, {}, 0.0))


@breaks("log-lines", WARNING)
def lost_lines(case: Case) -> None:
    tallies.of(case.deployment.app).count(LOST, 3)


@breaks("role", WARNING, "postgresql")
def a_superuser(case: Case) -> None:
    _connect_to(case, username="postgres")


@breaks("encoding", FAULT, "postgresql")
def another_encoding(case: Case) -> None:
    case.run(f"CREATE DATABASE {case.database}_ascii TEMPLATE template0 ENCODING 'SQL_ASCII'")
    _connect_to(case, database=f"{case.database}_ascii")


def _connect_to(case: Case, **part: str) -> None:
    settings = case.deployment.settings
    url = case.deployment.database.url.set(drivername="postgresql", **part).render_as_string(hide_password=False)
    case.deployment = replace(case.deployment, database=Database(replace(settings, database_url=url)))


@breaks("database-clock", FAULT, "postgresql")
def a_wrong_clock(case: Case) -> None:
    case.stand_on(now=lambda: time.time() + 60)


@breaks("redis-clock", WARNING, "postgresql")
def a_clock_that_is_a_little_wrong(case: Case) -> None:
    case.stand_on(now=lambda: time.time() - 5)


@pytest.mark.parametrize(
    ("name", "engine", "status", "how"),
    [pytest.param(name, *one, id=f"{name}-{number}") for name, ways in BREAKS.items() for number, one in enumerate(ways)],
)
def test_a_check_finds_what_it_is_for(name: str, engine: str, status: str, how: Break, request: pytest.FixtureRequest) -> None:
    case: Case = request.getfixturevalue(f"on_{engine}")
    before = case.deployment.database
    how(case)

    found = case.findings(next(check.group for check in registry.of(case.deployment.app) if check.name == name))
    if case.deployment.database is not before:
        case.deployment.database.close()

    assert found[name].status == status, found[name]
    assert found[name].what.endswith(".")
    assert "Error" not in found[name].what


def test_a_container_may_listen_to_its_network(on_sqlite: Case) -> None:
    on_sqlite.plan(bind=("0.0.0.0:8000",))
    on_sqlite.write(".dockerenv", "")
    assert on_sqlite.findings("settings")["proxies"].status == OK


BROKEN_ELSEWHERE = {
    *("redis-memory", "redis-disk", "redis-version", "server-version", "library-version", "transactions", "dead-rows"),
    *("transaction-ids", "encryption", "journal", "journal-size"),
}


def test_every_check_is_broken_once(on_sqlite: Case) -> None:
    checks = [check.name for check in registry.of(on_sqlite.deployment.app)]
    assert len(checks) == len(set(checks))
    assert set(checks) == set(BREAKS) | BROKEN_ELSEWHERE | set(BREAKS_OF_SITES)
