"""Three times as many requests as the server can serve: who is refused hears it at once, and nobody who matters is refused.

Short form in `make test`; with FAULTS=full it lasts a minute, and the work is also such that it keeps the processors busy.
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.faults.completions import FULL
from tests.server import ROOT, Server

Answers = list[dict[str, Any]]

OVERLOAD_S = 60.0 if FULL else 4.0
MEASURED_S = 10.0 if FULL else 1.5
TIMES = 3
# As much as can be served is a learner's own; of pages there are more than that, and of files.
SHARES = {"submission": 0.08, "api": 0.15, "page": 0.42, "static": 0.35}
A_SECOND = {"health": 10.0, "auth": 4.0}  # beside that
# The short form runs beside other tests, which take what they like, so it is content with what only early refusals can reach: who
# waits for the budget of the worst class to end hears of it after half a second.
SHED_WITHIN_S, OF_SHED = (0.05, 95) if FULL else (0.25, 50)
SERVED_AT_LEAST = 0.9 if FULL else 0.6
WORKERS, THREADS = 2, 4
WORK_S = 0.02
WAITING, BUSY = f"?waiting={WORK_S}", f"?busy={WORK_S / 4}"
NOMINAL = WORKERS * (THREADS - 1) / WORK_S  # a second, of work that only waits: one thread is kept for health and sign-in
LEARNER = {"email": "ada@example.org", "password": "seven quiet otters", "display_name": "Ada", "birth_date": "1990-12-10"}


def plain(method: str, path: str, body: str = "") -> str:
    length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if method == "POST" else ""
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}\r\n{body}"


def requests_of(query: str) -> dict[str, list[str]]:
    """Return the requests of each kind; a sign-in is a real one."""
    login = json.dumps({name: LEARNER[name] for name in ("email", "password")})
    return {
        "health": [plain("GET", "/livez"), plain("GET", "/readyz")],
        "auth": [plain("POST", "/api/v1/auth/login", login)],
        "submission": [plain("POST", f"/api/v1/test/work{query}", "{}")],
        "api": [plain("GET", f"/api/v1/test/work{query}")],
        "page": [plain("GET", f"/test/page{query}")],
        "static": [plain("GET", f"/media/test/work{query}")],
    }


def carry_out(plan: dict[str, Any]) -> Answers:
    """Have a process of its own send what the plan says, and return what it got."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.front.open_loop"],
        check=False,
        cwd=ROOT,
        input=json.dumps(plan),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    answers: Answers = json.loads(ended.stdout)
    return answers


def capacity(port: int, request: str) -> float:
    """Return how many requests a second are served when there are always some to serve, and never too many."""
    answers = carry_out({"port": port, "clients": 12, "seconds": MEASURED_S, "requests": [["api", request]]})
    return sum(answer["status"] == 200 for answer in answers) / MEASURED_S


def arrivals(a_second: dict[str, float], seconds: float, by_kind: dict[str, list[str]]) -> list[tuple[float, str, str]]:
    """Return who arrives when, each kind at random and independently of the others."""
    source, made = random.Random(5), []
    for kind, rate in a_second.items():
        at = 0.0
        while (at := at + source.expovariate(rate)) < seconds:
            made.append((at, kind, source.choice(by_kind[kind])))
    return sorted(made)


def percentile(times_s: list[float], hundredths: int) -> float:
    return statistics.quantiles(times_s, n=100, method="inclusive")[hundredths - 1]


def served_a_second(answers: Answers, began: float, ended: float) -> float:
    """Return how many of the requests for work were answered a second in between."""
    done = [answer for answer in answers if answer["kind"] in SHARES and answer["status"] == 200]
    return sum(began <= answer["began"] + answer["took_s"] < ended for answer in done) / (ended - began)


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """One engine is enough: the database has next to nothing to do here."""
    path = tmp_path / "test.sqlite3"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.mark.parametrize("query", [WAITING, BUSY] if FULL else [WAITING])
def test_three_times_what_can_be_served(database_url: str, tmp_path: Path, query: str):
    by_kind = requests_of(query)
    with Server(tmp_path, database_url, "tests.front.working_app:app") as server:
        registered = requests.post(f"{server.url}/api/v1/auth/register", json=LEARNER, timeout=30)
        assert registered.status_code == 201, registered.text
        capacity(server.port, by_kind["api"][0])  # until both workers are there and have met everything once
        before = capacity(server.port, by_kind["api"][0])
        expected = before if query == BUSY else max(before, NOMINAL)
        rates = A_SECOND | {kind: TIMES * expected * share for kind, share in SHARES.items()}
        answers = carry_out({"port": server.port, "arrivals": arrivals(rates, OVERLOAD_S, by_kind)})
        recovered = carry_out({"port": server.port, "clients": 2, "seconds": 0.5, "requests": [["page", by_kind["page"][0]]]})
        most = (before + capacity(server.port, by_kind["api"][0])) / 2

    statuses: dict[str, Counter[int]] = defaultdict(Counter)
    for answer in answers:
        statuses[answer["kind"]][answer["status"]] += 1
    shed = [answer for answer in answers if answer["status"] == 503]
    shed_s = [answer["took_s"] for answer in shed]
    began = min(answer["began"] for answer in answers)
    # In the first half second the queue fills; afterwards as much is served as could be without an overload.
    served = served_a_second(answers, began + 0.5, began + OVERLOAD_S)
    deepest = max(answer["deepest"] for answer in answers if answer["status"] == 200)
    shares = {kind: statuses[kind][503] / statuses[kind].total() for kind in ("submission", "api", "page", "static")}
    print(
        f"\n{query}: at the most {most:.0f} a second; {len(answers) / OVERLOAD_S:.0f} a second came, {served:.0f} "
        f"({served / most:.1%}) were served; shed after {statistics.median(shed_s) * 1000:.1f} ms (median), "
        f"{percentile(shed_s, 95) * 1000:.1f} ms (p95), {percentile(shed_s, 99) * 1000:.1f} ms (p99); shed of "
        + ", ".join(f"{kind} {share:.1%}" for kind, share in shares.items())
        + f"; health {dict(statuses['health'])}, sign-in {dict(statuses['auth'])}; at most {deepest} waited"
    )
    assert statuses["health"].keys() == {200}
    assert statuses["auth"][200] >= 0.999 * statuses["auth"].total()
    assert {status for found in statuses.values() for status in found} <= {200, 503}
    assert all(int(answer["retry_after"]) >= 1 for answer in shed)
    assert shares["static"] >= shares["page"] >= shares["api"] >= shares["submission"] and shares["static"] > 0.5
    assert percentile(shed_s, OF_SHED) < SHED_WITHIN_S
    assert served >= SERVED_AT_LEAST * most
    assert 0 < deepest <= 1000
    assert {answer["status"] for answer in recovered} == {200}, "it went on refusing"


def test_the_queue_is_never_longer_than_it_may_be(database_url: str, tmp_path: Path):
    by_kind = requests_of(WAITING)
    patient = {"admission_queue": "40", "admission_wait_s": "60"}
    with Server(tmp_path, database_url, "tests.front.working_app:app", **patient) as server:
        answers = carry_out({"port": server.port, "arrivals": arrivals({"page": 900.0, "health": 20.0}, 1.5, by_kind)})
    found = Counter((answer["kind"], answer["status"]) for answer in answers)
    assert found["page", 503] > 0 and found["health", 503] == 0
    assert max(answer["deepest"] for answer in answers if answer["status"] == 200) == 40
