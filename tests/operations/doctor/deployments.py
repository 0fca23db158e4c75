"""Deployments that are as they should be, on each engine, and what a test breaks in them."""

from __future__ import annotations

import itertools
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa

import config
from codyverse import create_app
from codyverse.accounts.models import users
from codyverse.database import Database
from codyverse.learning.service.catalogue import import_catalogue
from codyverse.operations import components
from codyverse.operations.backup import shelf
from codyverse.operations.doctor import registry
from codyverse.operations.doctor.check import Finding, examine
from codyverse.operations.doctor.deployment import Deployment, Disk, Machine, Plan
from codyverse.rewards.rules import Reward
from codyverse.rewards.service import award
from tests.conftest import ENGINES, migrate, read_content
from tests.postgresql_cluster import WHY_NOT, Cluster, binaries
from tests.redis import Redis

PASSWORD = "kQ3vTz8mWn5xRb2y"
MOUNTS = "/dev/disk / ext4 rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\n"
DISK = Disk(bytes=100_000_000_000, free_bytes=50_000_000_000, files=1_000_000, free_files=500_000)
PLAN = Plan(workers=2, threads=4, worker_connections=2000, backlog=2048, bind=("127.0.0.1:8000",))
WEBHOOK = "https://alerts.example.org/codyverse"

_numbers = itertools.count()


@dataclass
class Case:
    """A deployment, and SQL by somebody who may do everything."""

    deployment: Deployment
    run: Callable[..., None]

    def choose(self, **settings: Any) -> None:
        """Have other settings, which the application was not started with."""
        self.deployment = replace(self.deployment, settings=replace(self.deployment.settings, **settings))

    def stand_on(self, **machine: Any) -> None:
        """Have another machine."""
        self.deployment = replace(self.deployment, machine=replace(self.deployment.machine, **machine))

    def plan(self, **chosen: Any) -> None:
        """Have gunicorn told something else."""
        plan = replace(PLAN, **chosen)
        self.deployment = replace(self.deployment, read_plan=lambda: plan)

    def write(self, path: str, text: str) -> None:
        """Have the machine's system say something else."""
        self.deployment.machine.root.joinpath(path).write_text(text, "ascii")

    @property
    def instance(self) -> Path:
        return self.deployment.settings.instance_path

    @property
    def database(self) -> str:
        return self.deployment.database.url.database or ""

    def findings(self, *only: str) -> dict[str, Finding]:
        """Return what all checks find, or those of some groups."""
        return {one.check.name: one.finding for one in examine(self.deployment, registry.of(self.deployment.app), only)}

    def names(self, status: str) -> set[str]:
        """Return the names of the checks that find this."""
        return {name for name, finding in self.findings().items() if finding.status == status}


def settings_of(folder: Path, url: str, **chosen: Any) -> config.Settings:
    return config.load(
        **{
            "environment": "production",
            "instance_path": folder,
            "database_url": url,
            "secret_key": secrets.token_hex(32),
            "allowed_hosts": ("learn.example.org",),
            "trusted_proxies": 1,
            "content_path": Path(__file__).parents[2] / "content",
            "access_log": "off",
            "alerts_webhook_url": WEBHOOK,
            "alerts_webhook_secret": secrets.token_hex(32),
            **chosen,
        }
    )


def fill(settings: config.Settings) -> None:
    """Bring the schema up, with a catalogue, an operator and what a learner earned."""
    migrate(settings)
    database = Database(settings)
    with closing(database):
        import_catalogue(database, read_content())
        with database.transaction() as tx:
            account = {"email": "ada@example.org", "password_hash": "-", "display_name": "Ada", "birth_date": date(1990, 12, 10)}
            account |= {"locale": "en", "timezone": "UTC", "role": "admin", "created_at": tx.now, "updated_at": tx.now}
            user_id = tx.execute(users.insert().values(**account).returning(users.c.id)).scalar_one()
            award(tx, user_id, "completion:1", Reward(100, 20))


@pytest.fixture(scope="session")
def filled_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doctor")
    path = folder / "filled.sqlite3"
    fill(settings_of(folder, config.sqlite_url(path)))
    return path


@dataclass
class Server:
    """A PostgreSQL on which commits wait for the disk, with a database to be copied, whose owner may do nothing else."""

    cluster: Cluster

    def url(self, database: str) -> str:
        return f"postgresql://codyverse:{PASSWORD}@127.0.0.1:{self.cluster.port}/{database}"

    def run(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as the superuser."""
        with closing(psycopg2.connect(f"postgresql://postgres@127.0.0.1:{self.cluster.port}/{database}")) as connection:
            connection.autocommit = True
            with closing(connection.cursor()) as cursor:
                for statement in statements:
                    cursor.execute(statement)


@pytest.fixture(scope="session")
def filled_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    programs = binaries()
    if programs is None:
        pytest.skip(WHY_NOT)
    server = Server(Cluster(programs))
    server.cluster.start()
    server.run("CREATE ROLE codyverse LOGIN", "CREATE DATABASE filled OWNER codyverse")
    fill(settings_of(tmp_path_factory.mktemp("doctor"), server.url("filled")))
    yield server
    server.cluster.remove()


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder in memory, another file system than that of the instance folder."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def machine(tmp_path: Path, in_memory: Path) -> Machine:
    root = tmp_path / "root"
    for path, text in {"proc/sys/net/core/somaxconn": "4096\n", "proc/self/mounts": MOUNTS}.items():
        (root / path).parent.mkdir(parents=True)
        (root / path).write_text(text, "ascii")
    return Machine(
        root=root,
        uid=1000,
        open_files=(65_536, 65_536),
        memory_bytes=4_000_000_000,
        disk=lambda path: DISK,
        device=lambda path: 2 if path.is_relative_to(in_memory) else 1,
    )


@pytest.fixture
def good_settings(tmp_path: Path, in_memory: Path) -> Callable[..., config.Settings]:
    folder = tmp_path / "instance"
    folder.mkdir(mode=0o700)
    backups = in_memory / "backups"
    backups.mkdir()
    (backups / shelf.name(datetime.now(UTC))).touch()

    def make(url: str, **chosen: Any) -> config.Settings:
        return settings_of(folder, url, memory_path=str(in_memory), backup_path=str(backups), **chosen)

    return make


def deployed(settings: config.Settings, machine: Machine) -> Deployment:
    return replace(Deployment.of(create_app(settings)), machine=machine, read_plan=lambda: PLAN)


@pytest.fixture
def on_sqlite(good_settings: Any, machine: Machine, filled_file: Path) -> Iterator[Case]:
    """One host: a file, and no Redis."""
    settings = good_settings("")
    file = settings.instance_path / "codyverse.sqlite3"
    shutil.copy(filled_file, file)

    def run(*statements: str) -> None:
        with deployment.database.engine.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))

    deployment = deployed(settings, machine)
    yield Case(deployment, run)
    components.of(deployment.app).close()


@pytest.fixture
def on_postgresql(good_settings: Any, machine: Machine, filled_server: Server, redis_server: Redis) -> Iterator[Case]:
    """Several hosts: a server, and Redis."""
    name = f"case_{next(_numbers)}"
    filled_server.run(f"CREATE DATABASE {name} TEMPLATE filled OWNER codyverse")
    deployment = deployed(good_settings(filled_server.url(name), redis_url=redis_server.url), machine)
    yield Case(deployment, lambda *statements: filled_server.run(*statements, database=name))
    components.of(deployment.app).close()
    filled_server.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=ENGINES)
def case(request: pytest.FixtureRequest) -> Case:
    """A deployment that is as it should be, on each engine."""
    found: Case = request.getfixturevalue(f"on_{request.param}")
    return found
