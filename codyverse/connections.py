"""How each of the two engines is connected to, and what its errors mean. With database.py this is all that knows them apart.

PostgreSQL may accept a connection and never answer: a network that loses packets, a host that is frozen. libpq would wait for
hours, and its timeouts end no statement. So psycopg2 waits by way of `_wait`, and every connection has its patience, after which
it is closed and Silence raised. The look-up of the server's name is libpq's own, and ends when the resolver's does.
"""

from __future__ import annotations

import os
import select
import sqlite3
import time
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import Any

import psycopg2
import psycopg2.extensions
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from codyverse.pool import Pool
from config import Settings

OVER_STATEMENT_S = 0.3  # for the answer's way: PostgreSQL itself ends a statement before we stop to wait for it
BRIEFLY_S = 0.5  # for what takes no time: a ping, a rollback
PINGED_AFTER_S = 5.0  # a connection that was idle for less is taken for alive; a ping costs as much as a read

_CONFLICTS = frozenset({"40001", "40P01"})  # serialization failure, deadlock
_IDLE_IN_TRANSACTION = "25P03"
_NO_SCHEMA = frozenset({"42P01", "42703", "3F000"})  # no such table, column, schema
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_UNUSABLE = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR})


class Silence(psycopg2.OperationalError):
    """The server did not answer within the connection's patience, and the connection was closed."""


class StaleConnection(sa.exc.OperationalError):
    """The connection was lost before the transaction had done anything."""


class Fault(Enum):
    """What an error says about the database."""

    GONE = "gone"  # it cannot be connected to, or a connection was lost
    SILENT = "silent"
    EXHAUSTED = "exhausted"  # no connection came back in time
    CONFLICT = "conflict"  # another transaction stood in the way, and may be gone the next time


def fault_of(error: BaseException) -> Fault | None:
    """Return what an error of SQLAlchemy says about the database, None when the database is well."""
    if isinstance(error, sa.exc.TimeoutError):
        return Fault.EXHAUSTED
    if not isinstance(error, sa.exc.DBAPIError):
        return None
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        return Fault.CONFLICT if code in _BUSY else Fault.GONE if code in _UNUSABLE else None
    if isinstance(cause, Silence):
        return Fault.SILENT
    code = getattr(cause, "pgcode", None)
    if code in _CONFLICTS:
        return Fault.CONFLICT
    refused = isinstance(cause, psycopg2.OperationalError) and code is None
    return Fault.GONE if (refused or error.connection_invalidated) and code != _IDLE_IN_TRANSACTION else None


class Patient(psycopg2.extensions.connection):
    """A connection that waits for an answer of the server for `patience_s`, or without end where that is None."""

    patience_s: float | None

    def __init__(self, dsn: str, connect_s: float, answer_s: float) -> None:
        self.patience_s = connect_s
        super().__init__(dsn)
        self.patience_s = self._usual_s = answer_s

    def ping(self) -> None:
        """Make sure that the server answers. Raises psycopg2.Error."""
        self.patience_s = BRIEFLY_S
        usual, self.autocommit = self.autocommit, True
        with self.cursor() as cursor:
            cursor.execute("SELECT 1")
        self.autocommit = usual
        self.be_as_usual()

    def rollback(self) -> None:
        """Undo the transaction. Raises psycopg2.Error."""
        before, self.patience_s = self.patience_s, BRIEFLY_S
        super().rollback()
        self.patience_s = before

    def be_as_usual(self) -> None:
        """Wait as long as every connection does, and begin transactions."""
        self.patience_s = self._usual_s
        if self.autocommit and not self.closed:
            self.autocommit = False


def _wait(connection: Any) -> None:
    """Wait until psycopg2 has its answer. Signals are served meanwhile; what a handler raises closes the connection, too."""
    patience_s: float | None = getattr(connection, "patience_s", None)
    deadline = None if patience_s is None else time.monotonic() + patience_s
    while (wanted := connection.poll()) != psycopg2.extensions.POLL_OK:
        poller = select.poll()
        reading = wanted == psycopg2.extensions.POLL_READ
        poller.register(connection.fileno(), select.POLLIN if reading else select.POLLOUT)
        left_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        if not poller.poll(left_ms):
            raise Silence(f"no answer within {patience_s} s")


def driver_url(text: str) -> URL:
    """Return the URL with the driver we install: SQLAlchemy 2.1 takes `postgresql://` for psycopg 3 and refuses `postgres://`."""
    url = make_url(text)
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg2")
    return url


def engine(url: URL, settings: Settings) -> sa.Engine:
    """Return an engine, which has not connected yet."""
    return _sqlite_engine(url, settings) if url.get_backend_name() == "sqlite" else _postgresql_engine(url, settings)


def most_connections(settings: Settings) -> int | None:
    """Ask the server how many connections it has for accounts like ours; None where nobody counts them.

    Raises SQLAlchemy's errors.
    """
    url = driver_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        return None
    asking = _postgresql_engine(url, settings)
    try:
        with asking.connect() as connection:
            return int(connection.execute(_ROOM).scalar_one())
    finally:
        asking.dispose()


# The last of these is PostgreSQL 16's.
_ROOM = sa.text(
    "SELECT sum(CASE WHEN name = 'max_connections' THEN 1 ELSE -1 END * setting::int) FROM pg_settings "
    "WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')"
)


def _factory(settings: Settings) -> Any:
    answer_s = settings.database_statement_timeout_s + OVER_STATEMENT_S
    return partial(Patient, connect_s=float(settings.database_connect_timeout_s), answer_s=answer_s)


def _engine(url: URL, settings: Settings, **options: Any) -> sa.Engine:
    return sa.create_engine(
        url,
        hide_parameters=True,  # what learners typed must not reach a log by way of an error's text
        poolclass=Pool,
        most=settings.database_pool_size,
        kept=settings.database_pool_kept,
        wait_s=settings.database_pool_wait_s,
        pool_recycle=settings.database_pool_recycle_s,
        **options,
    )


def _sqlite_engine(url: URL, settings: Settings) -> sa.Engine:
    with suppress(OSError):  # what is wrong with the folder is said when the file is first used
        # It holds personal data. One that is there is not opened: closing it would drop the locks that another connection of
        # this process holds (sqlite.org/howtocorrupt.html, 2.2), and the next process to end would remove the log it needs.
        os.close(os.open(url.database or "", os.O_CREAT | os.O_EXCL | os.O_RDONLY, 0o600))
    busy_s = settings.database_busy_timeout_s
    engine = _engine(url, settings, connect_args={"timeout": busy_s, "check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the driver begins no transactions of its own: without BEGIN it is autocommit
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")  # a commit survives a loss of power, as PostgreSQL's does
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        if not connection.get_execution_options().get("reading"):
            # A transaction that begins as a reader cannot wait for its turn to write: it fails at once.
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _postgresql_engine(url: URL, settings: Settings) -> sa.Engine:
    psycopg2.extensions.set_wait_callback(_wait)
    timeouts_s = {
        "statement_timeout": settings.database_statement_timeout_s,
        "lock_timeout": settings.database_lock_timeout_s,
        "idle_in_transaction_session_timeout": settings.database_idle_in_transaction_timeout_s,
    }
    options = "".join(f" -c {name}={int(seconds * 1000)}" for name, seconds in timeouts_s.items())
    arguments = {"options": f"-c timezone=UTC{options}", "connection_factory": _factory(settings)}
    engine = _engine(url, settings, connect_args=arguments)

    @sa.event.listens_for(engine, "checkout")
    def ping(connection: Patient, record: Any, lent: Any) -> None:
        if engine.pool.idle_s(record) > PINGED_AFTER_S:  # type: ignore[attr-defined]
            try:
                connection.ping()
            except psycopg2.Error as error:
                raise sa.exc.InvalidatePoolError from error  # the others are as old, and replaced when they are needed

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("reading"):
            # SQLAlchemy's isolation level AUTOCOMMIT does the same, and sends a SET each time that it is switched on or off.
            connection.connection.driver_connection.autocommit = True  # type: ignore[union-attr]

    @sa.event.listens_for(engine, "checkin")
    def give_back(connection: Patient | None, record: Any) -> None:
        if connection is not None:
            connection.be_as_usual()

    @sa.event.listens_for(engine, "handle_error")
    def name_faults_alike(context: sa.ExceptionContext) -> None:
        # To a request a database without its tables is one that cannot be used, as SQLite says by itself.
        if getattr(context.original_exception, "pgcode", None) in _NO_SCHEMA:
            cause = context.original_exception
            raise sa.exc.OperationalError(context.statement, None, cause, hide_parameters=True) from cause
        ours = isinstance(context.original_exception, psycopg2.Error)  # and not what a signal raised
        if ours and context.is_disconnect and not isinstance(context.sqlalchemy_exception, sa.exc.OperationalError):
            # psycopg2 has other names for some ways of losing a connection.
            cause = context.original_exception
            raise sa.exc.OperationalError(
                context.statement, None, cause, hide_parameters=True, connection_invalidated=True
            ) from cause

    return engine
