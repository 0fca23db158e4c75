"""PostgreSQL is killed with SIGKILL in mid-commit: what was acknowledged is there, and nothing is there twice.

Short form in `make test`; `make faults` runs the full one.
"""

from __future__ import annotations

import queue
import random
import threading
from collections import Counter
from pathlib import Path

from codyverse.database import Database
from tests.faults.completions import FULL, assert_each_took_effect_once, make_jobs
from tests.faults.host import Host
from tests.faults.load import Load
from tests.faults.wire import Traffic
from tests.postgresql_cluster import Cluster
from tests.server import wait_until
from tests.tcp_proxy import TcpProxy

KILLS = 200 if FULL else 12
LEARNERS = 240 if FULL else 40
CLIENTS = 6
LONGEST_AFTER_COMMIT_S = 0.004  # a commit with its wait for the disk takes about as long
ACKNOWLEDGED_IN_BETWEEN = 3


class Killer:
    """Kills at a random moment right after a COMMIT was sent: now and then the whole server, else the session that commits."""

    def __init__(self, cluster: Cluster) -> None:
        self.whole = self.sessions = 0
        self._cluster = cluster
        self._commits: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._armed = threading.Event()

    def heard_commit(self, pid: int) -> None:
        if self._armed.is_set():
            self._armed.clear()
            self._commits.put(pid)

    def kill_at_the_next_commit(self) -> None:
        done = False
        while not done:
            self._armed.set()
            pid = self._commits.get(timeout=60)
            threading.Event().wait(random.uniform(0, LONGEST_AFTER_COMMIT_S))
            if random.random() < 0.25:
                self._cluster.kill()
                self._cluster.start()
                self.whole += 1
                done = True
            elif self._cluster.kill_session(pid):
                self.sessions += 1
                done = True


def test_kill_9_in_mid_commit_loses_nothing_and_rewards_nothing_twice(cluster: Cluster, survivor: Database, tmp_path: Path):
    jobs = make_jobs(survivor, LEARNERS)
    traffic, killer = Traffic(), Killer(cluster)
    traffic.on_commit = killer.heard_commit
    with TcpProxy(cluster.port, listener=traffic.listener) as proxy:
        url = cluster.url.replace(str(cluster.port), str(proxy.port))
        # As few connections as threads, so that one which is never given back is missed at once.
        few = {"workers": 2, "threads": 4, "database_pool_size": "4", "breaker_database_open_s": "0.2"}
        with Host(tmp_path, url, **few) as host, Load(host.url, jobs) as load:
            load.write(CLIENTS)
            for _ in range(KILLS):
                load.wait_until_acknowledged(len(load.acknowledged) + ACKNOWLEDGED_IN_BETWEEN)
                killer.kill_at_the_next_commit()
    wait_until(cluster.accepts)
    assert_each_took_effect_once(survivor, load.acknowledged)
    statuses = Counter(answer.status for answer in load.answers)
    assert statuses[200] + statuses[201] == len(load.acknowledged)
    print(
        f"\n{killer.sessions} sessions and {killer.whole} times the server killed in mid-commit: "
        f"{len(load.acknowledged)} completions acknowledged, answers {dict(statuses)}, "
        f"{load.found_done} committed although the first answer was none or a refusal; 0 lost, 0 twice, ledger difference 0"
    )
