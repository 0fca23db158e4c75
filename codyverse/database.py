"""Engine, reading, writing: the only file that knows SQLite from PostgreSQL.

    with database.read() as reader:         # autocommit, one statement at a time, no transaction is held
        reader.execute(select(...))
    with database.transaction() as tx:      # all or nothing
        tx.execute(insert(...))

Both carry `now`, the moment at which they began, by the process's clock: every time that a use case stores is that one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL, make_url

from codyverse.claims import claims_in
from config import Settings

insert = postgresql.insert  # with ON CONFLICT, which SQLite's compiler writes out as well

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers the rows of an INTEGER PRIMARY KEY by itself, and no other type's.
Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
LARGEST_ID = 2**63 - 1


def primary_key() -> sa.Column[int]:
    """Return the column `id`, numbered by the database."""
    return sa.Column("id", Id, sa.Identity(), primary_key=True)


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An aware datetime, kept in UTC by both engines; a naive one is refused."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return what the driver is given."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a time zone cannot be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return what the driver's value stands for."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Json(sa.TypeDecorator[Any]):
    """A value as JSON text. SQLite would turn a number in a column of its type JSON into one that is no text any more."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str:
        """Return what the driver is given."""
        return orjson.dumps(value).decode()

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        """Return what the driver's value stands for."""
        return None if value is None else orjson.loads(value)


def utc_now() -> datetime:
    """Return the wall clock's time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Reader:
    """Statements that only read, each on its own."""

    connection: sa.Connection
    now: datetime

    def execute(self, statement: sa.Executable, parameters: Any = None) -> sa.CursorResult[Any]:
        """Run a statement; raises SQLAlchemy's errors."""
        return self.connection.execute(statement, parameters)


@dataclass(frozen=True, slots=True)
class Transaction(Reader):
    """Statements that take effect together at the end of the `with` block, or not at all."""

    touched: set[str] = field(default_factory=set)

    def touch(self, *tags: str) -> None:
        """Say that what was read under these tags (see operations/cache) is outdated once this transaction is committed."""
        self.touched.update(tags)


class Changes(Protocol):
    """Who hears of the tags that transactions touch."""

    def begin(self, tags: Collection[str]) -> None:
        """Hear that tags are about to change: nothing that is read from now on may be kept until `end`, or until it lapses."""

    def end(self, tags: Collection[str]) -> None:
        """Hear that they have changed: nothing that was read before may be used any more."""


class NobodyListens:
    """Changes that nobody has to hear of, since nothing is kept."""

    def begin(self, tags: Collection[str]) -> None:
        """Do nothing."""

    def end(self, tags: Collection[str]) -> None:
        """Do nothing."""


class NestedTransactionError(RuntimeError):
    """A use case opened a transaction while this thread already had one: it must be handed on instead."""


class Database:
    """One database, its connections, and the clock that dates what is done with it."""

    def __init__(self, settings: Settings, clock: Callable[[], datetime] = utc_now, changes: Changes | None = None) -> None:
        self.clock = clock
        self._changes = changes or NobodyListens()
        self.url = _driver_url(settings.database_url)
        self._thread = threading.local()
        if self.url.get_backend_name() == "sqlite":
            self._file = Path(self.url.database or "")
            self.engine = _sqlite_engine(self.url, settings)
            self._reading = self.engine.execution_options(reading=True)
        else:
            self.engine = _postgresql_engine(self.url, settings)
            self._reading = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @property
    def dialect(self) -> str:
        """Return `sqlite` or `postgresql`."""
        return self.engine.dialect.name

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """Lend a connection for statements that only read, without BEGIN and ROLLBACK, which would cost as much as they do."""
        with self._reading.connect() as connection:
            yield Reader(connection, self.clock())

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Commit what the block does, or roll it back when it raises. Raises NestedTransactionError inside another one."""
        if getattr(self._thread, "busy", False):
            raise NestedTransactionError
        self._thread.busy = True
        try:
            with self.engine.begin() as connection:
                tx = Transaction(connection, self.clock())
                yield tx
                if tx.touched:
                    self._changes.begin(tx.touched)
            # Had the commit failed, nobody would know whether it took effect: what was begun lapses by itself.
            if tx.touched:
                self._changes.end(tx.touched)
        finally:
            self._thread.busy = False

    @contextmanager
    def claimed_transaction(self, claim: int) -> Iterator[Transaction | None]:
        """Like `transaction`, with one holder of a claim (63 bits) at a time, in whatever process: others get None at once.

        The claim ends with the transaction, and with the process that dies holding it.
        """
        if self.dialect == "sqlite":
            # SQLite has one writer at a time, so the claim must be taken before the wait for the turn.
            with ExitStack() as held:
                try:
                    mine = held.enter_context(claims_in(self._file.with_name(f"{self._file.name}-claims")).held(claim))
                except OSError as error:  # to the caller it is the database that cannot be written
                    raise sa.exc.OperationalError("claiming", None, error) from error
                if not mine:
                    yield None
                    return
                yield held.enter_context(self.transaction())
        else:
            with self.transaction() as tx:
                mine = tx.execute(_TRY_ADVISORY_LOCK, {"claim": claim}).scalar_one()
                yield tx if mine else None

    def take_turns(self, tx: Transaction, claim: int) -> None:
        """Wait until no other transaction is behind this line with the same claim (63 bits), and keep them waiting until the end.

        SQLite's transactions take turns anyway.
        """
        if self.dialect == "postgresql":
            tx.execute(_ADVISORY_LOCK, {"claim": claim})

    def take_time(self, tx: Transaction) -> None:
        """Let the statements of this transaction take as long as they need: a migration of a large table does."""
        if self.dialect == "postgresql":
            tx.execute(sa.text("SET LOCAL statement_timeout = 0"))

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


_ADVISORY_LOCK = sa.select(sa.func.pg_advisory_xact_lock(sa.bindparam("claim", type_=sa.BigInteger())))
_TRY_ADVISORY_LOCK = sa.select(sa.func.pg_try_advisory_xact_lock(sa.bindparam("claim", type_=sa.BigInteger())))


def _driver_url(text: str) -> URL:
    """Return the URL with the driver we install: SQLAlchemy 2.1 takes `postgresql://` for psycopg 3 and refuses `postgres://`."""
    url = make_url(text)
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg2")
    return url


def _engine(url: URL, **options: Any) -> sa.Engine:
    return sa.create_engine(
        url,
        hide_parameters=True,  # what learners typed must not reach a log by way of an error's text
        **options,
    )


def _sqlite_engine(url: URL, settings: Settings) -> sa.Engine:
    with suppress(OSError):  # what is wrong with the folder is said when the file is first used
        os.close(os.open(url.database or "", os.O_CREAT | os.O_RDONLY, 0o600))  # it holds personal data
    engine = _engine(
        url,
        pool_size=settings.database_pool_size,
        max_overflow=0,
        connect_args={"timeout": settings.database_busy_timeout_s, "check_same_thread": False},
    )

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
    timeout_ms = int(settings.database_statement_timeout_s * 1000)
    return _engine(
        url,
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": settings.database_connect_timeout_s,
            "options": f"-c timezone=UTC -c statement_timeout={timeout_ms} -c idle_in_transaction_session_timeout={timeout_ms}",
        },
    )
