"""What goes wrong on a served platform raises the right alert, once, and one step less raises none; then it clears, once.

The rules are those of `config/alerts.yaml`, with seconds for minutes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from codyverse.operations.alerts.store import Store
from codyverse.operations.journal import NAME, Journal
from config import ROOT
from tests.conftest import make_settings, migrate
from tests.postgresql_cluster import Cluster
from tests.receivers import Web
from tests.redis import Redis, redis_server
from tests.server import Server, wait_until

__all__ = ["redis_server"]

APP = "tests.faults.alerting_app:app"
WINDOW_S = 5  # more than twice what it takes until a worker's counts are added up
FIRES_WITHIN_S = 15.0
SLOW_MS = 300
SLOW = f"/test/sleeping?s={(SLOW_MS + 50) / 1000}"
ENOUGH = 150  # requests, without which a share of errors says nothing
FAILURES = 3  # of Redis, which is left alone for a second after each one
ROOM_MB = 600
DISK_MB = 40
PLENTY = {f"limit_{name}": "1000000 per minute" for name in ("client", "endpoint", "address")}
# Nothing of what a worker does about its memory is to come between.
CALM = {"memory_retire_percent": "100", "memory_forecast_s": "0", "memory_replacement_s": "0", "memory_worker_mb": str(ROOM_MB)}


def short_rules(folder: Path) -> Path:
    """Write the platform's rules with seconds for minutes, and return the file."""
    found = yaml.safe_load((ROOT / "config/alerts.yaml").read_text("utf-8"))
    for rule in found["rules"]:
        rule.update({name: 1 for name in ("for_s", "clear_s") if rule.get(name)})
        window = rule.get("rise") or rule.get("share")
        if window:
            window["over_s"] = WINDOW_S
        if rule["name"] == "ErrorsMany":
            window["at_least"] = ENOUGH
        if rule["name"] == "CacheFails":
            rule["reaches"] = FAILURES
    path = folder / "alerts.yaml"
    path.write_text(yaml.safe_dump(found), "utf-8")
    return path


class Watched:
    """A server, where its alerts stand, and the session that asks it."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.store = Store(Journal(folder / NAME))
        self.session = requests.Session()

    def get(self, path: str, times: int = 1) -> str:
        for _ in range(times):
            answer = self.session.get(f"{self.server.url}{path}", timeout=60)
        return answer.text

    def get_at_once(self, path: str, times: int) -> None:
        with ThreadPoolExecutor(4) as pool:
            for answer in pool.map(requests.get, [f"{self.server.url}{path}"] * times):
                assert answer.status_code == 200

    def value(self, name: str) -> float | None:
        standing = self.store.standings().get(name)
        return standing.value if standing else None

    def firing(self) -> set[str]:
        return {name for name, standing in self.store.standings().items() if standing.state == "firing"}

    def events(self) -> list[tuple[str, str]]:
        return [(event.name, event.state) for event in reversed(self.store.events(1000))]


@contextmanager
def watched(
    folder: Path, database: str | Path, workers: int = 1, begins_with: str = "RequestsSlow", **settings: str
) -> Iterator[Watched]:
    """Serve, and lend the server once the value of one alert is known: that of a rise is when its window has passed."""
    if isinstance(database, Path):
        shutil.copy(database, folder / "test.sqlite3")
        database = f"sqlite:///{folder}/test.sqlite3"
    settings = {"alerts_every_s": "0.5", "alerts_path": str(short_rules(folder)), **PLENTY, **settings}
    with Server(folder, database, "--workers", str(workers), "--threads", "4", APP, **settings) as server:
        found = Watched(server, folder)
        with found.session:
            wait_until(lambda: found.value(begins_with) is not None, FIRES_WITHIN_S)
            yield found


@pytest.fixture
def on_sqlite(tmp_path, sqlite_template) -> Callable[..., Any]:
    return lambda **settings: watched(tmp_path, sqlite_template, **settings)


def assert_cleared(host: Watched, name: str) -> None:
    """Wait until all is calm, and fail unless the alert fired and cleared once; what else a fault means is not asked."""
    wait_until(lambda: not host.firing(), 2 * FIRES_WITHIN_S)
    assert [state for each, state in host.events() if each == name] == ["firing", "resolved"]


def test_slow_requests(on_sqlite):
    with on_sqlite(slow_request_ms=str(SLOW_MS)) as host:
        host.get_at_once(SLOW, times=9)
        wait_until(lambda: host.value("RequestsSlow") == 9, FIRES_WITHIN_S)
        assert host.events() == []
        wait_until(lambda: bool(host.get(SLOW)) and host.firing() == {"RequestsSlow"}, FIRES_WITHIN_S)
        assert_cleared(host, "RequestsSlow")


def test_errors(on_sqlite):
    with on_sqlite(readyz_errors_least="1000000") as host:
        for _ in range(2):
            host.get("/test/well", times=199)
            host.get("/test/failing")
        wait_until(lambda: (host.value("ErrorsMany") or 0) > 0, FIRES_WITHIN_S)
        assert host.events() == []

        def fail() -> bool:
            host.get("/test/well", times=24)
            host.get("/test/failing")
            return "ErrorsMany" in host.firing()

        wait_until(fail, FIRES_WITHIN_S)
        assert_cleared(host, "ErrorsMany")


def test_a_memory_balloon(on_sqlite):
    with on_sqlite(begins_with="MemoryHigh", **CALM) as host:

        def hold(share: float) -> None:
            host.get(f"/test/holding?mb={int(ROOM_MB * share)}")
            wait_until(lambda: abs((host.value("MemoryHigh") or 0) - share) < 0.03, FIRES_WITHIN_S)

        hold(0.80)
        assert host.events() == []
        hold(0.90)
        wait_until(lambda: host.firing() == {"MemoryHigh"}, FIRES_WITHIN_S)
        host.get("/test/holding?mb=0")
        assert_cleared(host, "MemoryHigh")


def test_the_database_is_stopped(cluster: Cluster, tmp_path: Path):
    migrate(make_settings(tmp_path, cluster.url))
    with watched(tmp_path, cluster.url) as host:
        host.get("/test/asking", times=20)
        cluster.stop()
        seen: list[tuple[float, bool]] = []

        def fires() -> bool:
            host.get("/test/asking")
            standing = host.store.standings()["DatabaseErrors"]
            seen.append((standing.value or 0, standing.state == "firing"))
            return {"DatabaseErrors", "BreakerOpen", "ComponentUnavailable"} <= host.firing()

        wait_until(fires, FIRES_WITHIN_S)
        assert all(firing == (value > 5) for value, firing in seen), seen
        cluster.start()
        wait_until(lambda: host.get("/test/asking") == "answered")
        for name in ("DatabaseErrors", "BreakerOpen", "ComponentUnavailable"):
            assert_cleared(host, name)


def test_the_evaluating_worker_is_killed(tmp_path: Path, sqlite_template: Path):
    """Another one goes on: nothing fires twice, and the webhook hears of each event."""
    secret = "a key that only this test uses"
    with (
        Web() as web,
        watched(
            tmp_path,
            sqlite_template,
            workers=2,
            slow_request_ms=str(SLOW_MS),
            alerts_webhook_url=web.url,
            alerts_webhook_secret=secret,
        ) as host,
    ):
        host.get_at_once(SLOW, times=10)
        wait_until(lambda: host.firing() == {"RequestsSlow"}, FIRES_WITHIN_S)
        killed = holder(tmp_path, host.server)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: holder(tmp_path, host.server) not in (0, killed))
        wait_until(lambda: not host.firing(), 2 * FIRES_WITHIN_S)
        assert host.events() == [("RequestsSlow", "firing"), ("RequestsSlow", "resolved")]
        wait_until(lambda: {posted.json["state"] for posted in web.posted} == {"firing", "resolved"})
        # A worker that is killed as it hears that a message was taken has it sent again, under the same key.
        assert len({posted.headers["Idempotency-Key"] for posted in web.posted}) == 2
        assert all("X-CodyVerse-Signature" in posted.headers for posted in web.posted)


def holder(folder: Path, server: Server) -> int:
    """Return the worker that holds the lock, 0 while none does."""
    inode = (folder / "operations.lock").stat().st_ino
    for line in Path("/proc/locks").read_text("ascii").splitlines():
        fields = line.split()
        if "->" not in fields and fields[5].split(":")[-1] == str(inode) and int(fields[4]) in server.workers():
            return int(fields[4])
    return 0


def test_redis_is_stopped(redis_server: Redis, on_sqlite):
    with on_sqlite(begins_with="CacheFails", redis_url=redis_server.url) as host:
        redis_server.stop()

        def fires() -> bool:
            host.get("/api/v1/courses")
            return "CacheFails" in host.firing()

        wait_until(fires, FIRES_WITHIN_S)
        redis_server.start()
        assert_cleared(host, "CacheFails")


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A folder on a disk of its own, which has room for little."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", folder], check=False, capture_output=True
    ).returncode:
        pytest.skip("no disk can be mounted: be root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_the_disk_is_nearly_full(small_disk: Path, sqlite_template: Path):
    with watched(small_disk, sqlite_template, begins_with="DiskNearlyFull") as host:

        def leave(share: float) -> None:
            (small_disk / "filling").unlink(missing_ok=True)
            usage = shutil.disk_usage(small_disk)
            (small_disk / "filling").write_bytes(bytes(usage.free - int(usage.total * share)))
            wait_until(lambda: abs((host.value("DiskNearlyFull") or 0) - share) < 0.009, FIRES_WITHIN_S)

        leave(0.11)
        assert host.events() == []
        leave(0.09)
        wait_until(lambda: host.firing() == {"DiskNearlyFull"}, FIRES_WITHIN_S)
        (small_disk / "filling").unlink()
        assert_cleared(host, "DiskNearlyFull")
