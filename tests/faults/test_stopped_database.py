"""PostgreSQL is stopped under load: what was read before is still read, writes are refused at once, and nothing is lost.

Short form in `make test`; `make faults` runs the full one.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from pathlib import Path

import requests

from codyverse.database import Database
from tests.faults.completions import FULL, assert_each_took_effect_once, make_jobs
from tests.faults.host import Host
from tests.faults.load import Answer, Load, assert_refused_well, wait_for
from tests.postgresql_cluster import Cluster
from tests.server import wait_until

AWAY_S = 30.0 if FULL else 5.0
LEARNERS = 120 if FULL else 40
HEALTHY_WITHIN_S = 5.0
REFUSED_WITHIN_S = 0.05 if FULL else 0.15  # the short form runs beside other tests, and this is a client's watch
BREAKERS_OPEN_AFTER_S = 2.0
TIMES_READ = 30  # so that every worker has seen everything
OUTDATED = ["/api/v1/courses", "/api/v1/courses/ai-basics", "/api/v1/courses/ai-basics/lessons", "/courses/ai-basics", "/"]
GOOD = ["/api/v1/courses/ai-agents", "/courses/ai-agents"]


def percentile(answers: list[Answer], hundredths: int) -> float:
    return statistics.quantiles([answer.took_s for answer in answers], n=100)[hundredths - 1]


def warm(host: Host, paths: list[str]) -> None:
    for path in paths * TIMES_READ:
        with requests.get(host.url + path, timeout=30) as response:  # each over a new connection, to whichever worker
            assert response.status_code == 200


def test_reads_go_on_writes_are_refused_and_nothing_is_lost(cluster: Cluster, survivor: Database, tmp_path: Path):
    jobs = make_jobs(survivor, LEARNERS)
    lesson = f"/api/v1/lessons/{jobs[0].lesson_id}"
    with Host(tmp_path, cluster.url) as host:
        warm(host, [*OUTDATED, *GOOD, lesson])
        workers = sorted(host.workers())
        with Load(host.url, jobs) as load:
            load.read("outdated", OUTDATED, clients=3)
            load.read("good", [*GOOD, lesson], clients=3)
            load.write(clients=6)
            load.wait_until_acknowledged(50)

            stopped = time.monotonic()
            cluster.stop()
            host.flask("cache", "invalidate", "catalogue", "course:ai-basics")
            outdated = time.monotonic()
            wait_for(stopped + AWAY_S - outdated)
            # The command may have taken all of that time where other tests run as well.
            wait_until(lambda: len(load.of("outdated", outdated, time.monotonic())) >= 10)
            returning = time.monotonic()
            cluster.start()
            returned = time.monotonic()
            wait_for(HEALTHY_WITHIN_S + 1.0)
        healthy = max(answer.ended for answer in load.answers if answer.status not in (200, 201)) - returned
        assert sorted(host.workers()) == workers, "a worker was started again"

    for kind in ("outdated", "good"):
        assert {answer.status for answer in load.of(kind)} == {200}, kind
    old = load.of("outdated", outdated, returning)
    assert old
    for answer in old:
        assert answer.headers.get("Warning", "").startswith("110 "), answer
        assert int(answer.headers["Age"]) >= 0
    refused = [answer for answer in load.of("write", stopped + BREAKERS_OPEN_AFTER_S, returning) if answer.ended < returning]
    assert_refused_well(refused)
    p95 = percentile(refused, 95)
    assert p95 < REFUSED_WITHIN_S
    assert healthy < HEALTHY_WITHIN_S
    for kind in ("outdated", "good", "write"):
        late = load.of(kind, returned + HEALTHY_WITHIN_S)
        assert late and {answer.status for answer in late} <= {200, 201}
    assert not [answer for answer in load.of("outdated", returned + HEALTHY_WITHIN_S) if "Warning" in answer.headers]
    assert_each_took_effect_once(survivor, load.acknowledged)
    print(
        f"\nPostgreSQL away for {returned - stopped:.1f} s: {len(old)} outdated reads, all 200 with Age; "
        f"{len(refused)} writes refused, median {percentile(refused, 50) * 1000:.1f} ms, p95 {p95 * 1000:.1f} ms; "
        f"healthy {max(healthy, 0):.2f} s after its return; answers {dict(Counter((a.kind, a.status) for a in load.answers))}; "
        f"{len(load.acknowledged)} completions acknowledged, 0 lost"
    )
