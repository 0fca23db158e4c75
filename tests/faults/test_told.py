"""What `/health` and `/metrics` tell of the real server while the database, Redis and a worker fail, and afterwards."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from codyverse.database import Database
from codyverse.operations.tallies import Tallies
from tests.faults.host import Host
from tests.postgresql_cluster import Cluster
from tests.redis import Redis, redis_server
from tests.server import wait_until

__all__ = ["redis_server"]

WITHIN_S = 15.0  # as an operator is promised
WORKERS = 2


def parts(host: Host) -> dict[str, dict[str, Any]]:
    """Return what `/health` says of each part, nothing where nobody answers; each time over a new connection."""
    try:
        answer = requests.get(f"{host.url}/health", timeout=5)
    except requests.RequestException:
        return {}
    of_parts: dict[str, dict[str, Any]] = answer.json()["components"]
    return of_parts


def is_told(host: Host, **expected: str) -> bool:
    """Say whether several answers in a row, of whichever workers, tell these statuses."""
    told = [parts(host) for _ in range(4)]
    return all(each.get(name, {}).get("status") == status for each in told for name, status in expected.items())


def test_faults_are_told_and_so_is_their_end(cluster: Cluster, survivor: Database, redis_server: Redis, tmp_path: Path) -> None:
    counts = Tallies(tmp_path / "tallies.sqlite3")
    well = {"database": "ok", "cache_l3": "ok", "limiter": "ok", "disk": "ok", "memory": "ok", "workers": "ok"}
    settings = {"redis_url": redis_server.url, "health_silent_s": "3", "memory_worker_mb": "2000", "health_latency_ms": "2000"}
    with Host(tmp_path, cluster.url, workers=WORKERS, **settings) as host:
        requests.get(f"{host.url}/api/v1/courses", timeout=30)
        wait_until(lambda: is_told(host, **well), WITHIN_S)
        since = {name: parts(host)[name]["since"] for name in well}

        wait_until(lambda: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}" > since["database"])  # they are told in whole seconds
        cluster.stop()
        wait_until(lambda: is_told(host, **well | {"database": "unavailable"}), WITHIN_S)
        assert parts(host)["database"]["since"] > since["database"]
        assert requests.get(f"{host.url}/readyz", timeout=5).status_code == 503
        wait_until(lambda: counts.totals("database-error:").get("database-error:connection", 0) > 5, WITHIN_S)
        assert counts.totals("breaker:database:open")
        cluster.start()
        wait_until(lambda: is_told(host, **well), WITHIN_S)

        redis_server.stop()
        wait_until(lambda: is_told(host, **well | {"cache_l3": "unavailable", "limiter": "degraded"}), WITHIN_S)
        redis_server.start()
        wait_until(lambda: is_told(host, **well), WITHIN_S)

        frozen = host.workers()[0]
        os.kill(frozen, signal.SIGSTOP)
        wait_until(lambda: is_told(host, **well | {"workers": "degraded"}), WITHIN_S)
        assert parts(host)["workers"]["silent"] == 1
        os.kill(frozen, signal.SIGCONT)
        wait_until(lambda: is_told(host, **well), WITHIN_S)
        assert parts(host)["disk"]["since"] == since["disk"]  # which never changed
    counts.close()
