"""Where a benchmark takes place: a folder in memory, a database with the catalogue, the settings, the two servers."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask

import config
from codyverse import create_app
from codyverse.database import Database
from codyverse.learning import content
from codyverse.learning.service.catalogue import import_catalogue
from codyverse.operations import components
from tests import postgresql
from tests.server import Server

# As in production, behind one proxy that speaks HTTPS for it. Every request is counted against limits that nobody reaches.
LIMITS = ("client", "endpoint", "upload", "address", "sign_in", "sign_in_account", "sign_in_address")
SETTINGS: dict[str, Any] = {
    "secret_key": "a key of benchmarks only, which is long enough",
    "trusted_proxies": 1,
    "log_level": "WARNING",
    **{f"limit_{name}": "900000000 per minute" for name in LIMITS},
}
# What browsers send, and what the proxy adds.
HEADERS = {
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept": "application/json",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "X-Forwarded-For": "198.51.100.7",
    "X-Forwarded-Proto": "https",
}
_numbers = itertools.count(1)


@contextmanager
def folder() -> Iterator[Path]:
    """Lend a folder, in memory where there is such a place, so that the disk is no part of what is measured."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
    path = Path(tempfile.mkdtemp(prefix="codyverse-benchmark-", dir=memory))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def postgresql_database(**options: str) -> Iterator[str]:
    """Lend an empty database, of TEST_DATABASE_URL's server or of one of our own. Raises SystemExit where there is none."""
    postgresql.OPTIONS.update(options)
    own = not postgresql.url()
    postgresql.start()
    if not postgresql.url():
        raise SystemExit(postgresql.WHY_NOT)
    try:
        name = f"benchmark_{os.getpid()}_{next(_numbers)}"
        url = postgresql.create(name)
        yield url
        run(url, f'DROP DATABASE "{name}" WITH (FORCE)', database="postgres")
    finally:
        if own:
            postgresql.stop()
            os.environ.pop("TEST_DATABASE_URL", None)


def run(url: str, *statements: str, database: str | None = None) -> None:
    """Run statements outside a transaction."""
    address = sa.make_url(url).set(drivername="postgresql+psycopg2")
    engine = sa.create_engine(
        address.set(database=database) if database else address, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
    )
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


@contextmanager
def application(path: Path, url: str, **chosen: Any) -> Iterator[Flask]:
    """Lend the application in this process, as it is served in production."""
    memory = path / "memory"
    memory.mkdir(mode=0o700, exist_ok=True)
    settings = config.load(
        environment="production", instance_path=path, database_url=url, memory_path=str(memory), **SETTINGS | chosen
    )
    app = create_app(settings)
    try:
        yield app
    finally:
        components.of(app).close()


def database_of(app: Flask) -> Database:
    """Return the application's database."""
    database: Database = app.extensions["codyverse.database"]
    return database


def prepare(app: Flask) -> None:
    """Migrate the database and import the catalogue of this repository."""
    result = app.test_cli_runner().invoke(args=["db", "upgrade"])
    if result.exit_code:
        raise SystemExit(result.output)
    import_catalogue(database_of(app), content.read(app.config["CODYVERSE"].content_path))


class Service(Server):
    """The platform's server, with an access log in the folder."""

    def __init__(self, folder: Path, url: str, *arguments: str, **settings: Any) -> None:
        memory = folder / "memory"
        memory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._access_log = folder / "access.log"
        values = {"env": "production", "memory_path": memory, "access_log": self._access_log, **SETTINGS, **settings}
        super().__init__(folder, url, *arguments, **{name: str(value) for name, value in values.items()})

    def forget_access_log(self) -> int:
        """Empty the access log, which would fill the memory, and return how many bytes it had."""
        size_bytes = self._access_log.stat().st_size if self._access_log.exists() else 0
        if size_bytes:
            os.truncate(self._access_log, 0)
        return size_bytes


def service(path: Path, url: str, **chosen: Any) -> Service:
    """Return the platform's server as `make run` starts it, with settings of production."""
    return Service(path, url, **chosen)


def service_on_gthread(path: Path, url: str, **chosen: Any) -> Service:
    """Return the same on gunicorn's own worker, with a folder, and so host memory, of its own."""
    return Service(path / "gthread", url, "-k", "gthread", **chosen)


def twin(path: Path, url: str, script: Path) -> Server:
    """Return the bare twin's server: the same gunicorn settings, and what the script says (see twin.py)."""
    arguments = ("-c", "benchmarks/gunicorn_twin.py", "--env", f"TWIN_SCRIPT={script}", "benchmarks.twin:application")
    return Server(path, url, *arguments)
