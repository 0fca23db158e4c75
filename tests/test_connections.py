"""Connections that are silent, lost, or too many; both engines' errors."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg2.extensions
import pytest
import sqlalchemy as sa
from flask import Flask

import config
from codyverse import connections, create_app
from codyverse.connections import PINGED_AFTER_S, Fault, Patient, Silence, StaleConnection, fault_of
from codyverse.database import Database, Transaction
from codyverse.operations import components, tallies
from codyverse.operations.breaker import BreakerOpen, State
from codyverse.operations.retry import repeatable
from codyverse.server.startup import check_connections
from tests.conftest import Learner, make_settings, send_csrf_token
from tests.server import ROOT, wait_until
from tests.tcp_proxy import TcpProxy

ONE = sa.text("SELECT 1")
NO_BREAKER = "1000 per minute"

on_postgresql = pytest.mark.parametrize("engine_name", ["postgresql"], indirect=True)


@pytest.fixture
def proxy(database_url: str) -> Iterator[TcpProxy]:
    port = sa.make_url(database_url).port
    if port is None:
        pytest.skip("this PostgreSQL listens on no port")
    with TcpProxy(port) as proxy:
        yield proxy


@pytest.fixture
def proxied(proxy: TcpProxy, database_url: str, tmp_path: Path) -> config.Settings:
    """Settings of a database behind the proxy, with little patience."""
    url = sa.make_url(database_url).set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
    little = {"database_statement_timeout_s": 0.2, "database_connect_timeout_s": 1, "breaker_database_open_s": 0.1}
    return make_settings(tmp_path, url, breaker_database=NO_BREAKER, **little)


@pytest.fixture
def remote(proxied: config.Settings) -> Iterator[Database]:
    database = Database(proxied)
    yield database
    database.close()


def read(database: Database) -> Any:
    with database.read() as reader:
        return reader.execute(ONE).scalar_one()


def heard(database: Database) -> list[str]:
    reasons: list[str] = []
    database.retries.listener = reasons.append
    return reasons


@on_postgresql
def test_a_statement_that_is_not_answered_ends(remote: Database, proxy: TcpProxy) -> None:
    assert read(remote) == 1
    proxy.blackhole()
    with pytest.raises(sa.exc.OperationalError) as silent:
        read(remote)
    assert isinstance(silent.value.orig, Silence)
    assert silent.value.connection_invalidated
    assert remote.pool().in_use == remote.pool().idle == 0
    proxy.restore()
    assert read(remote) == 1


@on_postgresql
def test_a_commit_and_a_rollback_that_are_not_answered_end(remote: Database, proxy: TcpProxy) -> None:
    with pytest.raises(sa.exc.OperationalError) as silent, remote.transaction() as tx:
        tx.execute(ONE)
        proxy.blackhole()
    assert isinstance(silent.value.orig, Silence)
    proxy.restore()
    with pytest.raises((sa.exc.OperationalError, ZeroDivisionError)), remote.transaction() as tx:
        tx.execute(ONE)
        proxy.blackhole()
        1 / 0
    proxy.restore()
    assert read(remote) == 1


@on_postgresql
def test_a_connection_that_is_not_answered_ends(settings: config.Settings, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"postgresql://nobody@127.0.0.1:{deaf.getsockname()[1]}/none"
        database = Database(dataclasses.replace(settings, database_url=url, database_connect_timeout_s=1))
        with pytest.raises(sa.exc.OperationalError) as silent:
            read(database)
        assert fault_of(silent.value) is Fault.SILENT
        database.close()


@on_postgresql
def test_signals_do_not_disturb_a_statement(database: Database) -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        with database.read() as reader:
            assert reader.execute(sa.text("SELECT 7 FROM pg_sleep(0.3)")).scalar_one() == 7
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(rung) > 2


@on_postgresql
def test_what_a_signal_raises_ends_the_statement_and_its_connection(database: Database) -> None:
    def end(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, end)
    try:
        with pytest.raises(KeyboardInterrupt), database.read() as reader:
            reader.execute(ONE)
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            reader.execute(sa.text("SELECT pg_sleep(30)"))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert read(database) == 1


@on_postgresql
def test_taking_time_lifts_the_patience_for_one_transaction(remote: Database) -> None:
    slow = sa.text("SELECT pg_sleep(0.8)")
    with remote.transaction() as tx:
        remote.take_time(tx)
        tx.execute(slow)
        taken = tx.connection.connection.driver_connection
    with remote.read() as reader:
        assert reader.connection.connection.driver_connection is taken
        assert taken.patience_s == pytest.approx(0.5)
        with pytest.raises(sa.exc.OperationalError, match="statement timeout"):
            reader.execute(slow)


@on_postgresql
def test_only_a_connection_that_lay_idle_is_pinged(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    pings: list[int] = []
    monkeypatch.setattr(Patient, "ping", lambda connection: pings.append(connection.info.backend_pid))
    now = [1000.0]
    monkeypatch.setattr(database.engine.pool, "_clock", lambda: now[0])
    for _ in range(3):
        read(database)
        now[0] += PINGED_AFTER_S
    assert pings == []
    now[0] += 0.1
    read(database)
    assert len(pings) == 1


@on_postgresql
def test_a_ping_replaces_a_connection_that_was_lost_meanwhile(
    remote: Database, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons = heard(remote)
    read(remote)
    proxy.cut()
    proxy.restore()
    monkeypatch.setattr(connections, "PINGED_AFTER_S", -1.0)
    with remote.transaction() as tx:
        assert tx.execute(ONE).scalar_one() == 1
    assert reasons == []


@on_postgresql
def test_a_read_on_a_lost_connection_is_sent_again(remote: Database, proxy: TcpProxy) -> None:
    reasons = heard(remote)
    with remote.read() as reader:
        reader.execute(ONE)
        proxy.cut()
        proxy.restore()
        assert reader.execute(ONE).scalar_one() == 1
        assert reader.connection.connection.driver_connection.autocommit
    assert reasons == ["lost"]


@on_postgresql
def test_a_read_is_one_message(remote: Database, database_url: str) -> None:
    """No BEGIN, no ROLLBACK, and no SET of an isolation level: each would cost as much as the read."""
    for _ in range(2):
        with remote.read() as reader:
            reader.execute(ONE)
            driver = reader.connection.connection.driver_connection
            assert driver.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_IDLE
        assert driver.isolation_level is None


@on_postgresql
def test_it_is_sent_again_once_a_block(remote: Database, proxy: TcpProxy) -> None:
    reasons = heard(remote)
    with pytest.raises(sa.exc.OperationalError), remote.read() as reader:
        for _ in range(2):
            reader.execute(ONE)
            proxy.cut()
            proxy.restore()
        reader.execute(ONE)
    assert reasons == ["lost"]
    assert remote.breaker.troubled


@on_postgresql
def test_a_read_is_not_sent_again_when_the_budget_is_spent(remote: Database, proxy: TcpProxy) -> None:
    reasons = heard(remote)
    read(remote)
    while remote.retries.budget.spend():
        pass
    proxy.cut()
    proxy.restore()
    with pytest.raises(sa.exc.OperationalError):
        read(remote)
    assert reasons == ["budget"]


@on_postgresql
def test_a_silence_is_not_tried_again(remote: Database, proxy: TcpProxy) -> None:
    reasons = heard(remote)
    read(remote)
    proxy.blackhole()
    with suppress(sa.exc.OperationalError):
        read(remote)
    assert reasons == []
    assert proxy.connections == 1
    proxy.restore()


@repeatable
def write(database: Database, work: Callable[[Transaction], Any]) -> Any:
    with database.transaction() as tx:
        return work(tx)


@on_postgresql
def test_a_transaction_runs_again_when_its_connection_was_stale(remote: Database, proxy: TcpProxy) -> None:
    reasons = heard(remote)
    read(remote)
    proxy.cut()
    proxy.restore()
    assert write(remote, lambda tx: tx.execute(ONE).scalar_one()) == 1
    assert reasons == ["lost"]


@on_postgresql
def test_a_transaction_that_lost_its_connection_half_way_does_not(remote: Database, proxy: TcpProxy) -> None:
    reasons = heard(remote)

    def work(tx: Transaction) -> None:
        tx.execute(ONE)
        proxy.cut()
        proxy.restore()
        tx.execute(ONE)

    with pytest.raises(sa.exc.OperationalError) as lost:
        write(remote, work)
    assert not isinstance(lost.value, StaleConnection)
    assert reasons == []


def conflict() -> Callable[[Transaction], int]:
    """Return work that stands in the way of another transaction the first two times."""
    tries: list[int] = []

    def work(tx: Transaction) -> int:
        tries.append(1)
        if len(tries) <= 2:
            code = "40001" if len(tries) == 1 else "40P01"
            tx.execute(sa.text(f"DO $$ BEGIN RAISE SQLSTATE '{code}'; END $$"))
        return len(tries)

    return work


@on_postgresql
def test_a_transaction_that_stood_in_another_s_way_runs_again(database: Database) -> None:
    reasons = heard(database)
    assert write(database, conflict()) == 3
    assert reasons == ["conflict", "conflict"]
    assert not database.breaker.troubled


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_a_writer_who_finds_the_file_busy_tries_again(settings: config.Settings, database: Database) -> None:
    busy = Database(dataclasses.replace(settings, database_busy_timeout_s=0.01))
    began, reasons = threading.Event(), []

    def free(reason: str) -> None:
        reasons.append(reason)
        began.set()
        thread.join(30)

    def hold() -> None:
        with database.transaction():
            holding.set()
            assert began.wait(30)

    busy.retries.listener = free
    holding = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(30)
    assert write(busy, lambda tx: tx.execute(ONE).scalar_one()) == 1
    assert reasons == ["conflict"]
    assert not busy.breaker.troubled
    busy.close()


@on_postgresql
@pytest.mark.parametrize(
    "refused",
    [
        "SELECT pg_sleep(5)",  # the server ends it
        "SET lock_timeout = 50; SELECT pg_advisory_xact_lock(17)",
        "SELECT 1 / 0",
        "SELECT * FROM nothing",
        "INSERT INTO wallets VALUES (4711, 1, 1)",
    ],
)
def test_what_the_database_refuses_says_nothing_against_it(settings: config.Settings, database: Database, refused: str) -> None:
    tried = Database(dataclasses.replace(settings, database_statement_timeout_s=0.5))
    with database.transaction() as holder:
        holder.execute(sa.text("SELECT pg_advisory_xact_lock(17)"))
        with pytest.raises(sa.exc.DBAPIError) as error, tried.transaction() as tx:
            tx.execute(sa.text(refused))
    assert fault_of(error.value) is None
    assert not tried.breaker.troubled
    tried.close()


def test_a_database_without_its_tables_cannot_be_used(database: Database) -> None:
    """To requests it is away (503), on both engines; see errors.py."""
    for statement in ("SELECT * FROM nothing", "SELECT nothing FROM users"):
        with pytest.raises(sa.exc.OperationalError), database.read() as reader:
            reader.execute(sa.text(statement))


@on_postgresql
def test_a_database_that_fails_is_left_alone_and_comes_back(proxied: config.Settings, proxy: TcpProxy) -> None:
    database = Database(dataclasses.replace(proxied, breaker_database="5 per 30 seconds"))
    read(database)
    proxy.cut()
    for _ in range(5):
        with pytest.raises(sa.exc.OperationalError):
            read(database)
    assert database.breaker.state is State.OPEN
    tried = proxy.connections
    with pytest.raises(BreakerOpen):
        read(database)
    with pytest.raises(BreakerOpen), database.transaction():
        pytest.fail("there was a transaction")
    assert proxy.connections == tried
    proxy.restore()

    def is_back() -> bool:
        with suppress(BreakerOpen, sa.exc.OperationalError):
            return bool(read(database))
        return False

    wait_until(is_back)
    assert database.breaker.state is State.CLOSED
    database.close()


@on_postgresql
def test_switched_off_the_breaker_lets_everything_through(proxied: config.Settings, proxy: TcpProxy) -> None:
    database = Database(dataclasses.replace(proxied, breaker_database="1 per 30 seconds", feature_circuit_breaker=False))
    proxy.cut()
    for _ in range(3):
        with pytest.raises(sa.exc.OperationalError):
            read(database)
    proxy.restore()
    assert read(database) == 1
    database.close()


def exhausted(database: Database) -> sa.exc.TimeoutError:
    with database.read() as holder, pytest.raises(sa.exc.TimeoutError) as error:
        holder.execute(ONE)
        with database.read():
            pass
    return error.value


def test_too_few_connections_are_no_fault_of_the_database(settings: config.Settings) -> None:
    few = dataclasses.replace(
        settings, database_pool_size=1, database_pool_kept=1, database_pool_wait_s=0.01, breaker_database="1 per 30 seconds"
    )
    database = Database(few)
    exhausted(database)
    assert database.breaker.state is State.CLOSED
    database.close()


def test_unless_it_has_failed_just_before(settings: config.Settings) -> None:
    few = dataclasses.replace(
        settings, database_pool_size=1, database_pool_kept=1, database_pool_wait_s=0.01, breaker_database="2 per 30 seconds"
    )
    database = Database(few)
    database.breaker.failed(database.breaker.allow())
    exhausted(database)
    assert database.breaker.state is State.OPEN
    database.close()


@pytest.fixture
def remote_app(proxied: config.Settings) -> Iterator[Flask]:
    app = create_app(proxied)
    yield app
    components.of(app).close()


@pytest.fixture
def signed_in(remote_app: Flask, learner: Learner) -> Any:
    client = remote_app.test_client()
    answer = client.post("/api/v1/auth/login", json={"email": learner.email, "password": learner.password})
    assert answer.status_code == 200, answer.text
    send_csrf_token(client)
    return client


@on_postgresql
@pytest.mark.parametrize("path", ["/api/v1/me", "/api/v1/courses?q=guess"])
def test_a_request_waits_for_one_silence_only(remote_app: Flask, signed_in: Any, proxy: TcpProxy, path: str) -> None:
    """The limits ask who it is, and the view asks what it needs: neither waits after the other has waited for nothing."""
    assert signed_in.get(path).status_code == 200
    proxy.blackhole()
    before, database = proxy.connections, remote_app.extensions["codyverse.database"]
    silences: list[Any] = []
    sa.event.listen(database.engine, "handle_error", lambda context: silences.append(context.original_exception))
    assert signed_in.get(path).status_code == 503
    assert [type(each) for each in silences] == [Silence]
    assert proxy.connections == before
    proxy.restore()
    assert signed_in.get(path).status_code == 200


@on_postgresql
def test_a_request_within_a_request_does_not_wait_anew(remote: Database, proxy: TcpProxy) -> None:
    read(remote)
    proxy.blackhole()
    remote.begin_request()
    with pytest.raises(sa.exc.OperationalError):
        read(remote)
    remote.begin_request()
    with pytest.raises(sa.exc.TimeoutError):
        read(remote)
    remote.end_request()
    with pytest.raises(sa.exc.TimeoutError):
        read(remote)
    remote.end_request()
    proxy.restore()
    assert read(remote) == 1


@on_postgresql
def test_an_open_breaker_is_answered_503_with_a_time(
    proxied: config.Settings, proxy: TcpProxy, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(dataclasses.replace(proxied, breaker_database="1 per 30 seconds", breaker_database_open_s=60))
    client = app.test_client()
    assert client.get("/health").json["components"]["database"]["breaker"]["state"] == "closed"
    proxy.cut()
    with caplog.at_level(logging.WARNING, "codyverse.faults"):
        assert client.get("/readyz").status_code == 503
    assert [record.getMessage() for record in caplog.records] == ["a breaker opened: database", "not ready: unreachable"]
    refused = client.get("/api/v1/courses?q=guess")
    assert (refused.status_code, refused.content_type) == (503, "application/problem+json")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.json["type"].endswith(":unavailable")
    component = client.get("/health").json["components"]["database"]
    assert component["status"] == "unavailable"
    assert (component["breaker"]["state"], component["breaker"]["opened"]) == ("open", 1)
    assert component["pool"] == {"in_use": 0, "idle": 0, "waiting": 0, "size": 20}
    assert tallies.of(app).totals("breaker:") == {"breaker:database:open": 1}
    components.of(app).close()


@on_postgresql
def test_timeouts_are_the_settings(settings: config.Settings) -> None:
    database = Database(dataclasses.replace(settings, database_lock_timeout_s=1.5, database_idle_in_transaction_timeout_s=7.0))
    with database.read() as reader:
        shown = {
            name: reader.execute(sa.text(f"SHOW {name}")).scalar_one()
            for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "timezone")
        }
    assert list(shown.values()) == ["2500ms", "1500ms", "7s", "UTC"]
    database.close()


@on_postgresql
def test_a_server_with_too_little_room_is_refused_with_the_arithmetic(
    settings: config.Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    room = connections.most_connections(settings)
    assert room is not None and room > 20
    most = room // 20 - 1  # one more is there while one is replaced
    check_connections(settings, workers=most, threads=4)
    with pytest.raises(SystemExit) as ended:
        check_connections(settings, workers=most + 1, threads=4)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith(f"codyverse: {most + 1} workers, and one more while one is replaced, with 20 connections each ")
    assert f" {(most + 2) * 20}, " in told and f" {room} " in told
    assert told.count("\n") == 1


@on_postgresql
def test_gunicorn_starts_no_worker_then(database_url: str, tmp_path: Path) -> None:
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONUTF8": "1",
        "CODYVERSE_ENV": "testing",
        "CODYVERSE_INSTANCE_PATH": str(tmp_path),
        "CODYVERSE_DATABASE_URL": database_url,
        "CODYVERSE_DATABASE_POOL_SIZE": "100",
    }
    command = [sys.executable, "-m", "gunicorn", "--workers", "100"]
    ended = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "100 workers, and one more while one is replaced, with 100 connections each" in ended.stderr
    assert "Traceback" not in ended.stderr and "Booting worker" not in ended.stderr


def test_a_server_that_cannot_be_asked_is_only_mentioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "codyverse.startup"):
        check_connections(make_settings(tmp_path, "postgresql://nobody@127.0.0.1:1/none"), workers=1000, threads=4)
        check_connections(make_settings(tmp_path, f"sqlite:///{tmp_path}/x.sqlite3"), workers=1000, threads=21)
    assert [record.getMessage() for record in caplog.records] == [
        "whether the database has room for 20020 connections could not be asked: OperationalError",
        "21 threads of a worker share 20 connections to the database: some will wait for others",
    ]


def test_a_second_engine_leaves_the_locks_of_the_first_on_their_file(tmp_path: Path) -> None:
    path = tmp_path / "codyverse.sqlite3"
    settings = make_settings(tmp_path, f"sqlite:///{path}")
    first = Database(settings)
    with first.transaction() as tx:
        tx.execute(sa.text("CREATE TABLE kept (number INTEGER)"))
        before = locks_of(path)
        second = Database(settings)
        assert locks_of(path) == before > 0
        second.close()
    first.close()
    assert path.stat().st_mode & 0o777 == 0o600


def locks_of(path: Path) -> int:
    """Return how many locks this process holds on a file."""
    owner, inode = str(os.getpid()), str(path.stat().st_ino)
    lines = (line.split() for line in Path("/proc/locks").read_text("ascii").splitlines())
    return sum(1 for line in lines if line[4] == owner and line[5].rpartition(":")[2] == inode)
