"""The network to PostgreSQL goes silent under load: no thread is held for long, and the database is soon left alone.

Short form in `make test`; `make faults` runs the full one.
"""

from __future__ import annotations

import time
from pathlib import Path

from codyverse.database import Database
from tests.faults.completions import FULL, assert_each_took_effect_once, make_jobs
from tests.faults.host import Host
from tests.faults.load import Load, assert_refused_well, wait_for
from tests.faults.wire import Traffic
from tests.postgresql_cluster import Cluster
from tests.tcp_proxy import TcpProxy

SILENT_S = 30.0 if FULL else 7.0
LEARNERS = 120 if FULL else 40
HELD_AT_MOST_S = 3.0
MARGIN_S = 0.3  # a client's watch on a busy machine
LEFT_ALONE_WITHIN_S = 5.0
HEALTHY_WITHIN_S = 5.0
AT_ONCE_S = 0.25
ATTEMPTS_A_REQUEST = 1.1
WORKERS, THREADS = 4, 16  # more threads than clients: a request is never held by the one before it


def test_no_thread_is_held_for_long_and_nothing_is_lost(cluster: Cluster, survivor: Database, tmp_path: Path):
    jobs = make_jobs(survivor, LEARNERS)
    traffic = Traffic()
    with TcpProxy(cluster.port, listener=traffic.listener) as proxy:
        url = cluster.url.replace(str(cluster.port), str(proxy.port))
        # What /health looks at in the background are attempts, too, and nobody's requests.
        with Host(tmp_path, url, WORKERS, THREADS, health_every_s="600") as host:
            workers = sorted(host.workers())
            with Load(host.url, jobs) as load:
                load.read("read", ["/api/v1/courses?q={number}"], clients=6)  # nobody has kept that
                load.write(clients=8)
                load.wait_until_acknowledged(50)

                proxy.blackhole()
                silent, tried = time.monotonic(), traffic.attempts()
                wait_for(SILENT_S)
                restored, attempts = time.monotonic(), traffic.attempts() - tried
                proxy.restore()
                wait_for(HEALTHY_WITHIN_S + 1.0)
            assert sorted(host.workers()) == workers, "a worker was started again"

    everything = load.of("read", silent - HELD_AT_MOST_S) + load.of("write", silent - HELD_AT_MOST_S)
    longest = max(answer.took_s for answer in everything)
    during = [answer for answer in everything if silent <= answer.ended and answer.began < restored]
    held = [answer for answer in during if answer.took_s > AT_ONCE_S]
    # While it is open one request at a time still tries, in each worker: the others are answered at once.
    later = [answer for answer in during if answer.began >= silent + LEFT_ALONE_WITHIN_S and answer.ended < restored]
    at_once = [answer for answer in later if answer.took_s <= AT_ONCE_S]
    healthy = max(answer.ended for answer in everything if answer.status not in (200, 201)) - restored
    print(
        f"\nPostgreSQL silent for {restored - silent:.1f} s: longest answer {longest:.2f} s; {attempts} attempts for "
        f"{len(during)} requests, of which {len(held)} were held; after {LEFT_ALONE_WITHIN_S} s {len(at_once)} of "
        f"{len(later)} answered at once; healthy {max(healthy, 0):.2f} s after its return"
    )
    assert held, "the network was not silent"
    assert longest <= HELD_AT_MOST_S + MARGIN_S
    assert_refused_well([answer for answer in during if answer.began >= silent and answer.ended < restored])
    assert len(at_once) >= 0.9 * len(later) > 0
    assert attempts <= ATTEMPTS_A_REQUEST * len(during)
    assert attempts <= ATTEMPTS_A_REQUEST * len(held), "a request tried more than once"
    assert healthy < HEALTHY_WITHIN_S
    assert_each_took_effect_once(survivor, load.acknowledged)
