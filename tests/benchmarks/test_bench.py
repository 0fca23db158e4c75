import shutil
import socket
from contextlib import ExitStack, closing

import orjson
import pytest

from benchmarks import balance, bare, bench, cases, contest, load, place, results, scripts, wrk
from benchmarks.cases import GRANIAN, GTHREAD, NODE, TWIN, WORKER, Duel
from benchmarks.results import Table
from tests.conftest import ENGINES, need_postgresql
from tests.one_engine import strictest  # noqa: F401  (a fixture)
from tests.server import wait_until

CASE = cases.Case("course list", "/api/v1/courses", "", cases.CACHED, cached=True)


def run(per_second=1000.0, errors=0):
    return wrk.Run(100, per_second, 100, errors, p50_ms=1.0, p90_ms=2.0, p95_ms=3.0, p99_ms=4.0, cpu_us=50.0)


def row(ours, others, errors=0, floor=0.7, connections=contest.COUNTED_AT):
    rounds = [{WORKER: run(own, errors), TWIN: run(other)} for own, other in zip(ours, others, strict=True)]
    return contest.duel_row(CASE, Duel(WORKER, TWIN, floor), "", connections, rounds)


@pytest.mark.parametrize(
    ("ours", "twins", "errors", "met"),
    [
        ([700, 710, 690], [1000, 1000, 1000], 0, "✓"),
        ([690, 699, 900], [1000, 1000, 1000], 0, "✗"),
        ([900, 900, 900], [1000, 1000, 1000], 1, "✗"),
        ([350, 700, 1400], [500, 1000, 2000], 0, "✓"),  # a machine that is slow now and then is slow for both
    ],
)
def test_the_median_of_the_ratios_meets_the_floor_or_not(ours, twins, errors, met):
    assert row(ours, twins, errors)["met"] == met


def test_floors_count_at_16_connections_and_errors_everywhere():
    assert row([1], [1000], connections=100)["met"] == "✓"
    assert row([1], [1000], errors=1, connections=100)["met"] == "✗"
    assert row([1], [1000], floor=0.0)["met"] == "✓"


def test_every_floor_of_the_issue_is_somebodys():
    ground = cases.Ground("", 100, [1], 2, "a-course")
    floors = {(case.name, duel.ours, duel.other): duel.floor for case in ground.cases() for duel in case.duels}
    for cached in ("course list", "lesson"):
        assert floors[cached, WORKER, TWIN] == 4.0
        assert floors[cached, WORKER, NODE] == floors[cached, WORKER, GRANIAN] == 0.7
        assert floors[cached, GTHREAD, TWIN] == 0.70
    assert floors["livez", WORKER, GTHREAD] == floors["progress, 100 learners", WORKER, GTHREAD] == 0.9
    assert floors["progress, 100 learners", WORKER, TWIN] == 0.40
    assert floors["completion, 100 learners", WORKER, TWIN] == 0.50


def test_every_duel_has_a_table_and_every_row_stands_in_one():
    ground = cases.Ground("", 100, [1], 2, "a-course")
    rounds = [dict.fromkeys((WORKER, GTHREAD, TWIN, NODE, GRANIAN), run())]
    rows = [contest.duel_row(case, duel, "", 16, rounds) for case in ground.cases() for duel in case.duels]
    assert sum(len(table.rows) for table in bench.tables_of(rows)) == len(rows)


def test_the_spread_of_cached_reads_is_judged_for_each_server():
    found = contest.spreads([row([1], [1]), row([1], [1]), row([1], [1]) | {"server": GTHREAD, "p99_ms": 6.1}], {CASE.name})
    judged = [(each["server"], each["p99 / p50"], each["met"]) for each in found]
    assert judged == [(WORKER, 4.0, "✓"), (TWIN, 4.0, ""), (GTHREAD, 6.1, "✗")]


@pytest.mark.parametrize(
    ("drawn", "met"),
    [([[8, 8], [7, 9]], "✓"), ([[8, 8], [6, 10]], "✗"), ([[7, 8]], "✗")],  # a connection that nobody holds was refused
)
def test_connections_are_balanced_or_not(drawn, met):
    assert balance.judged(WORKER, drawn, counts=True)["met"] == met
    assert balance.judged(GTHREAD, drawn, counts=False)["met"] == ""


def test_the_reports_figures_are_named_and_judged():
    outcome = load.Outcome()
    for number in range(1000):
        outcome.note(load.Request(load.PUBLIC, "GET", "/"), 500 if number == 0 else 200, 0.010)
        outcome.note(load.Request(load.SIGNED_IN, "GET", "/"), 200, 0.110)
    rows = {f"{row['row']} {row['figure']}": row for row in bench.report_rows(outcome, minutes=2)}
    assert rows["R23 error rate, %"] | {"measured": 0.05, "met": "✓"} == rows["R23 error rate, %"]
    assert rows["R23 requests a minute"]["measured"] == 1000
    assert rows["R24 cached, P95, ms"]["met"] == "✓" and rows["R24 database, P95, ms"]["met"] == "✓"
    assert rows["R24 P50, ms"]["met"] == "✗"
    outcome.note_silence()
    assert {row["figure"]: row["met"] for row in bench.report_rows(outcome, minutes=2)}["error rate, %"] == "✓"
    outcome.note_silence()
    assert {row["figure"]: row["met"] for row in bench.report_rows(outcome, minutes=2)}["error rate, %"] == "✗"


def test_what_was_not_measured_is_not_met():
    rows = bench.report_rows(load.Outcome(), minutes=1)
    assert {row["met"] for row in rows if row["row"] == "R24"} == {"✗"}


def test_results_are_written(tmp_path):
    table = Table(
        "A table", [{"case": "one", "requests/s": 1234.5, "ratio": 0.7, "met": "✓"}, {"case": "two", "met": "✗"}], "A note."
    )
    path = results.write("scale", "Scale", {"cores": 2}, [table], tmp_path)
    assert path.read_text("utf-8").splitlines()[-4:] == [
        "| case | requests/s | ratio | met |",
        "| --- | --- | --- | --- |",
        "| one | 1,234 | 0.70 | ✓ |",
        "| two |  |  | ✗ |",
    ]
    assert path.name.endswith("-scale.md")
    assert orjson.loads(path.with_suffix(".json").read_bytes())["tables"]["A table"][0]["ratio"] == 0.7


@pytest.fixture
def ground(engine_name, database_url, tmp_path):
    with cases.ground(tmp_path, database_url, learners=60) as ground:
        yield ground


@pytest.mark.skipif(not shutil.which("wrk"), reason=wrk.WHY_NOT)
@pytest.mark.parametrize("engine_name", ENGINES, indirect=True)
def test_every_case_is_loaded_without_an_error(ground, tmp_path):
    with place.service(tmp_path, ground.url) as server:
        for case in ground.cases():
            done = contest.run(ground, case, server, connections=2, seconds=1)
            assert done.errors == 0 and done.requests > 0 and done.p99_ms >= done.p50_ms > 0
            assert done.cpu_us >= 0
    assert ground.used >= done.requests


@pytest.mark.skipif(not shutil.which("wrk"), reason=wrk.WHY_NOT)
def test_what_writes_no_access_log_does_not_count(ground, tmp_path):
    with place.service(tmp_path, ground.url, access_log="off") as server, pytest.raises(SystemExit):
        contest.run(ground, ground.cases()[0], server, connections=2, seconds=1)


def test_connections_of_each_worker_are_counted(ground, tmp_path):
    with place.service(tmp_path, ground.url) as server:
        found = balance.row(WORKER, server, draws=2, counts=True)
        with closing(socket.create_connection(("127.0.0.1", server.port))):
            wait_until(lambda: sorted(balance.held(server)) == [0, 1])
    assert found["draws"] == 2
    assert {sum(map(int, each.partition(" ")[0].split(":"))) for each in found["connections by worker"].split(", ")} == {16}


def test_bare_servers_answer_the_bytes_of_the_service(tmp_path):
    need_postgresql()
    with ExitStack() as stack:
        url = stack.enter_context(place.postgresql_database())
        ground = stack.enter_context(cases.ground(tmp_path, url, learners=4))
        service = stack.enter_context(place.service(tmp_path, ground.url))
        script, bare_script = cases.write_script(tmp_path, ground, service)
        others = [each for each in (bare.node(tmp_path, bare_script), bare.granian(tmp_path, script)) if each]
        if not others:
            pytest.skip("neither Node nor granian is here")
        for other in map(stack.enter_context, others):
            for case in ground.cases():
                if case.cached:
                    ours, theirs = scripts.settled(service, case.path), scripts.ask(other, "GET", case.path, {})
                    assert theirs["body"] == ours["body"] and len(ours["body"]) > 200
                    assert headers_of(theirs) == headers_of(ours)


def headers_of(answer):
    """What the server does not add by itself, and what is no count."""
    of_connection = ("keep-alive", "x-request-id")
    told = [(name.lower(), value) for name, value in answer["headers"] if "ratelimit" not in name.lower()]
    return sorted(pair for pair in told if pair[0] not in of_connection)


def test_learners_at_their_screens_see_no_error(ground, tmp_path):
    people = load.Population(ground.first, ground.first + 59, ground.people())
    with place.service(tmp_path, ground.url) as server:
        outcome = load.run(server.port, 3, people, connections=8, a_minute=2400)
    assert not outcome.errors
    assert outcome.requests >= 60
    assert {load.PUBLIC, load.SIGNED_IN, load.WRITE} <= outcome.milliseconds.keys()
