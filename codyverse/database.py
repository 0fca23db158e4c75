"""Reading and writing. With connections.py this is all that knows SQLite from PostgreSQL.

    with database.read() as reader:         # autocommit, one statement at a time, no transaction is held
        reader.execute(select(...))
    with database.transaction() as tx:      # all or nothing
        tx.execute(insert(...))

Both carry `now`, the moment at which they began, by the process's clock: every time that a use case stores is that one.

Both raise one of UNUSABLE when the database cannot be used: at once (BreakerOpen) after it has failed several times lately.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from codyverse import connections
from codyverse.calls import Call, kind_of, stale_at_first, worth_another_attempt
from codyverse.claims import claims_in
from codyverse.connections import Fault, fault_of
from codyverse.operations.breaker import Breaker, BreakerOpen, NullBreaker
from codyverse.operations.retry import Retries
from codyverse.pool import Pool, PoolState
from config import Settings

UNUSABLE = (sa.exc.DBAPIError, sa.exc.TimeoutError, BreakerOpen)  # what a look-up raises when the database cannot be used
REMEMBERED_S = 10.0  # a silence, by a thread whose request was never said to have ended

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


@dataclass(slots=True)
class Reader:
    """Statements that only read, each on its own."""

    connection: sa.Connection
    now: datetime
    call: Call

    def execute(self, statement: sa.Executable, parameters: Any = None) -> sa.CursorResult[Any]:
        """Run a statement; raises SQLAlchemy's errors. It is run again, once, when its connection turns out to be lost."""
        try:
            found = self.connection.execute(statement, parameters)
        except sa.exc.DBAPIError as error:
            if fault_of(error) is not Fault.GONE or not self.call.may_try_anew():
                raise
            self.connection.rollback()  # there is nothing to undo, but until then SQLAlchemy connects to nothing new
            found = self.connection.execute(statement, parameters)
        self.call.answered()
        return found


@dataclass(slots=True)
class Transaction(Reader):
    """Statements that take effect together at the end of the `with` block, or not at all."""

    begun: bool = False
    touched: set[str] = field(default_factory=set)
    happened: Counter[str] = field(default_factory=Counter)

    def execute(self, statement: sa.Executable, parameters: Any = None) -> sa.CursorResult[Any]:
        """Run a statement; raises SQLAlchemy's errors."""
        found = self.connection.execute(statement, parameters)
        self.begun = True
        self.call.answered()
        return found

    def touch(self, *tags: str) -> None:
        """Say that what was read under these tags (see operations/cache) is outdated once this transaction is committed."""
        self.touched.update(tags)

    def note(self, event: str, times: int = 1) -> None:
        """Have it counted, once this transaction is committed, that something happened, such as a registration."""
        self.happened[event] += times


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
        self.url = connections.driver_url(settings.database_url)
        self._thread = threading.local()
        self.breaker = (
            Breaker.of("database", settings.breaker_database, settings.breaker_database_open_s)
            if settings.feature_circuit_breaker
            else NullBreaker("database")
        )
        self.retries = Retries(worth_another_attempt)
        self.error_listener: Callable[[str], None] = lambda _: None  # hears what kind of error ended a use of the database
        self.event_listener: Callable[[str, int], None] = lambda *_: None  # hears what was committed, and how often
        self.engine = connections.engine(self.url, settings)
        self._reading = self.engine.execution_options(reading=True)
        if self.dialect == "sqlite":
            self._file = Path(self.url.database or "")

    @property
    def dialect(self) -> str:
        """Return `sqlite` or `postgresql`."""
        return self.engine.dialect.name

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """Lend a connection for statements that only read, without BEGIN and ROLLBACK, which would cost as much as they do."""
        self.retries.earn()
        with self._call() as call, self._reading.connect() as connection:
            yield Reader(connection, self.clock(), call)

    @contextmanager
    def long_read(self) -> Iterator[Reader]:
        """Like `read`, for statements that take as long as they need: those over everything that there is."""
        if self.dialect == "sqlite":  # it has no time limit, and a transaction of ours would keep writers out
            with self.read() as reader:
                yield reader
        else:
            with self.transaction() as tx:
                self.take_time(tx)
                yield tx

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Commit what the block does, or roll it back when it raises. Raises NestedTransactionError inside another one."""
        if getattr(self._thread, "busy", False):
            raise NestedTransactionError
        self._thread.busy = True
        try:
            with self._call() as call, self.engine.begin() as connection:
                tx = Transaction(connection, self.clock(), call)
                with stale_at_first(lambda: tx.begun):
                    yield tx
                if tx.touched:
                    self._changes.begin(tx.touched)
            # Had the commit failed, nobody would know whether it took effect: what was begun lapses by itself.
            if tx.touched:
                self._changes.end(tx.touched)
            for event, times in tx.happened.items():
                self.event_listener(event, times)
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
            tx.execute(sa.text("SET LOCAL lock_timeout = 0"))
            tx.connection.connection.driver_connection.patience_s = None  # type: ignore[union-attr]

    def pool(self) -> PoolState:
        """Return how many connections are lent, lie idle and are waited for."""
        pool = self.engine.pool
        assert isinstance(pool, Pool)
        return pool.state()

    def begin_request(self) -> None:
        """From here to `end_request` this thread waits for one silence only: after it, everything fails at once."""
        self._thread.requests = getattr(self._thread, "requests", 0) + 1
        if self._thread.requests == 1:
            self._thread.silent_at = None

    def end_request(self) -> None:
        """End what `begin_request` began; requests within requests end with the outermost one."""
        self._thread.requests = max(0, getattr(self._thread, "requests", 0) - 1)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextmanager
    def _call(self) -> Iterator[Call]:
        silent_at = getattr(self._thread, "silent_at", None)
        if silent_at is not None and getattr(self._thread, "requests", 0) > 0 and time.monotonic() - silent_at < REMEMBERED_S:
            raise sa.exc.TimeoutError("the database did not answer this request before")
        call = Call(self.breaker, self.retries)
        try:
            yield call
        except BaseException as error:
            fault = fault_of(error)
            if fault in (Fault.SILENT, Fault.EXHAUSTED):
                self._thread.silent_at = time.monotonic()
            call.ended(fault)
            kind = kind_of(error, fault)
            if kind is not None:
                self.error_listener(kind)
            raise
        call.answered()


_ADVISORY_LOCK = sa.select(sa.func.pg_advisory_xact_lock(sa.bindparam("claim", type_=sa.BigInteger())))
_TRY_ADVISORY_LOCK = sa.select(sa.func.pg_try_advisory_xact_lock(sa.bindparam("claim", type_=sa.BigInteger())))
