"""A route that leaks 1 MB a request, asked by 100 clients: workers are replaced before they hold too much, and nobody notices.

Short form in `make test`; `make faults` runs the full one.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from pathlib import Path

from tests.faults.completions import FULL
from tests.faults.load import Answer, Load, wait_for
from tests.front.serving import log_of, watched
from tests.server import Server

CLIENTS = 100
SECONDS = 60.0 if FULL else 6.0
LIMIT_MB = 2000 if FULL else 1000
MOST_MB = LIMIT_MB * (1.2 if FULL else 1.5)  # how long a new worker takes to start is a matter of what else the machine does
MOST_TIMES = 2.0  # in the full form: the p99 of a few seconds is that of a worker's start


class Watch:
    """A context in which the RSS of each worker is read again and again."""

    def __init__(self, server: Server) -> None:
        self.largest_mb: dict[int, float] = defaultdict(float)
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            for pid in self._server.workers():
                try:
                    rss = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * 4096 / 1e6
                except (OSError, IndexError):  # it has just ended
                    continue
                self.largest_mb[pid] = max(self.largest_mb[pid], rss)


def p99_s(answers: list[Answer]) -> float:
    return sorted(answer.took_s for answer in answers)[int(len(answers) * 0.99)]


def test_a_leak_fails_no_request(tmp_path, sqlite_template):
    settings = {"memory_worker_mb": str(LIMIT_MB), "memory_trace": "1", "admission_wait_s": "30", "log_level": "WARNING"}
    loads = {}
    with watched(tmp_path, sqlite_template, **settings) as server, Watch(server) as watch:
        for kind in ("calm", "leak"):
            with Load(server.url) as load:
                load.read(kind, [f"/test/{kind}"], CLIENTS)
                wait_for(SECONDS)
            loads[kind] = load.of(kind)
    assert {answer.status for answer in loads["leak"]} == {200}, log_of(tmp_path)
    assert len(loads["leak"]) > 1.5 * LIMIT_MB, "too little was leaked to show anything"
    largest = max(watch.largest_mb.values())
    assert 0.7 * LIMIT_MB < largest < MOST_MB
    log = log_of(tmp_path)
    # Workers that answered other requests before say what they gained by a request on the whole.
    assert re.search(r"memory leak: \d+ bytes a request over \d+ requests", log), log
    assert re.search(r"memory leak: grown most: .*tests/front/watched\.py:\d+ \d+\.\d MB", log), log
    calm_s, leak_s = p99_s(loads["calm"]), p99_s(loads["leak"])
    requests = len(loads["leak"])
    print(
        f"\n{requests} requests leaked 1 MB each in {SECONDS:.0f} s, 0 failed; {log.count(' ends: ')} workers replaced; "
        f"the largest held {largest:.0f} of {LIMIT_MB} MB; p99 {leak_s * 1000:.0f} ms, without the leak {calm_s * 1000:.0f} ms"
    )
    assert not FULL or leak_s < MOST_TIMES * calm_s
