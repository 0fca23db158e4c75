"""PostgreSQL: dumped by pg_dump, and put back in one transaction on one connection of ours.

pg_restore only writes the script. What it says is done here, after the old tables are dropped and before the migrations, the
checks and one COMMIT: whatever fails or is killed before that, the database is what it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import psycopg2
import psycopg2.extensions
import sqlalchemy as sa

from codyverse.operations.backup import client_programs
from codyverse.operations.backup.faults import Damaged, Failed
from config import Settings

T = TypeVar("T")

LOCK_WAIT_S = 10.0  # for those who read and write: with the service stopped there is nobody

_COPY = re.compile(rb"COPY .+ FROM stdin;\n")
_END_OF_ROWS = b"\\.\n"
_GUARDS = (b"\\restrict ", b"\\unrestrict ")  # against psql's own commands, of which we know none

_DROP_EVERYTHING = """
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END
                   AS kind,
               format('%I.%I', current_schema(), relname) AS name
        FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')
          AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
        ORDER BY relkind = 'S'
    LOOP
        EXECUTE format('DROP %s IF EXISTS %s CASCADE', one.kind, one.name);
    END LOOP;
    FOR one IN
        SELECT oid::regprocedure AS name FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace AND prokind IN ('f', 'p')
          AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
    LOOP
        EXECUTE format('DROP ROUTINE IF EXISTS %s CASCADE', one.name);
    END LOOP;
END $$
"""


class Postgresql:
    """One schema of one database, the one that the installation's connections see."""

    name = "postgresql"
    member = "database.pgdump"

    def __init__(self, url: sa.URL, settings: Settings) -> None:
        self._url = url
        self._settings = settings

    def version(self) -> str:
        """Return the version of the server."""
        with self.looking() as connection:
            return str(connection.exec_driver_sql("SHOW server_version").scalar_one())

    def take(self, into: Path, look: Callable[[sa.Connection], T]) -> T:
        """Have pg_dump see what the look sees: both use one snapshot, which ends with this transaction."""
        with self.looking() as connection:
            program = client_programs.find("pg_dump", _major(connection))
            snapshot = connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one()
            found = look(connection)
            server = client_programs.address(self._arguments(connection), into.parent)
            client_programs.dump(program, server, _schema(connection), snapshot, into)
        return found

    @contextmanager
    def looking(self) -> Iterator[sa.Connection]:
        """Lend a connection that sees one moment, and only reads."""
        with self._begun(self._url, isolation_level="REPEATABLE READ") as connection:
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
            yield connection

    def rehearse(self, file: Path, work: Callable[[sa.Connection], T]) -> T:
        """Work in a database beside the installation's, which is dropped afterwards. Its account must be allowed to make one."""
        beside = f"{self._url.database}_backup_verify"
        quoted = beside.replace('"', '""')
        try:
            self._command(
                f'DROP DATABASE IF EXISTS "{quoted}"', f"CREATE DATABASE \"{quoted}\" TEMPLATE template0 ENCODING 'UTF8'"
            )
        except Failed as error:
            raise Failed(f"No database can be made to try the archive in. {error} {_ADVICE}") from None
        try:
            with self._begun(self._url.set(database=beside)) as connection:
                _load(connection, file)
                return work(connection)
        finally:
            self._command(f'DROP DATABASE IF EXISTS "{quoted}"')

    def restore(self, file: Path, work: Callable[[sa.Connection], T]) -> T:
        """Drop what there is, load the file and work on it, in one transaction."""
        with self._begun(self._url) as connection:
            _load(connection, file)
            found = work(connection)
        with suppress(Failed, sa.exc.DBAPIError):  # autovacuum will do it later
            self._command("ANALYZE")
        return found

    @contextmanager
    def _begun(self, url: sa.URL, **options: Any) -> Iterator[sa.Connection]:
        """Lend a connection without time limits, in a transaction that is committed unless the block raises."""
        limits = "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c timezone=UTC"
        engine = sa.create_engine(
            url,
            poolclass=sa.NullPool,
            hide_parameters=True,
            connect_args={
                "options": f"{limits} -c lock_timeout={int(LOCK_WAIT_S * 1000)}",
                "connect_timeout": self._settings.database_connect_timeout_s,
            },
            **options,
        )
        with _waiting_as_libpq_does(), _faults(), engine.begin() as connection:
            yield connection

    def _command(self, *statements: str) -> None:
        """Run what stands in no transaction."""
        with (
            self._begun(self._url, isolation_level="AUTOCOMMIT") as connection,
            closing(connection.connection.cursor()) as cursor,
        ):
            for statement in statements:
                cursor.execute(statement)

    def _arguments(self, connection: sa.Connection) -> dict[str, Any]:
        _, arguments = connection.dialect.create_connect_args(self._url)
        return {**arguments, "connect_timeout": self._settings.database_connect_timeout_s}


_ADVICE = "Allow it (ALTER ROLE … CREATEDB), or verify the archive where that is allowed."


def _load(connection: sa.Connection, file: Path) -> None:
    program = client_programs.find("pg_restore", _major(connection))
    with closing(connection.connection.cursor()) as cursor, client_programs.script(program, file, _schema(connection)) as lines:
        cursor.execute(_DROP_EVERYTHING)
        _follow(cursor, lines)
        cursor.execute("RESET ALL")  # the script has settings of its own, an empty search path among them


def _follow(cursor: Any, lines: IO[bytes]) -> None:
    """Do what a script says. Raises Damaged for commands that are psql's."""
    statements: list[bytes] = []
    for line in lines:
        if _COPY.fullmatch(line):
            _execute(cursor, statements)
            cursor.copy_expert(line.decode(), _Rows(lines))
        elif line.startswith(b"\\"):
            if not line.startswith(_GUARDS):
                raise Damaged(f"The dump has a command that is no statement: {line[:40]!r}.")
        elif line.strip() and not line.startswith(b"--"):
            statements.append(line)
    _execute(cursor, statements)


def _execute(cursor: Any, statements: list[bytes]) -> None:
    if statements:
        cursor.execute(b"".join(statements))
        statements.clear()


class _Rows:
    """The rows of one table, as a file that COPY reads from."""

    def __init__(self, lines: IO[bytes]) -> None:
        self._lines = lines
        self._ended = False

    def read(self, size: int) -> bytes:
        """Return whole rows, about as many bytes as are asked for; nothing at the end of the table."""
        rows: list[bytes] = []
        length = 0
        while not self._ended and length < size:
            line = self._lines.readline()
            self._ended = line == _END_OF_ROWS or not line
            if not self._ended:
                rows.append(line)
                length += len(line)
        return b"".join(rows)


def _major(connection: sa.Connection) -> int:
    return int(connection.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10_000


def _schema(connection: sa.Connection) -> str:
    return str(connection.exec_driver_sql("SELECT current_schema()").scalar_one())


@contextmanager
def _faults() -> Iterator[None]:
    """Raise Failed for what the driver itself complains of, as rows that a damaged dump has."""
    try:
        yield
    except psycopg2.Error as error:
        raise Failed(f"The database refuses it: {str(error).splitlines()[0] if str(error) else type(error).__name__}.") from None


@contextmanager
def _waiting_as_libpq_does() -> Iterator[None]:
    """Wait without the service's patience, which ends no COPY: psycopg2 refuses one together with a waiter of ours."""
    waiter = psycopg2.extensions.get_wait_callback()
    psycopg2.extensions.set_wait_callback(None)
    try:
        yield
    finally:
        psycopg2.extensions.set_wait_callback(waiter)
