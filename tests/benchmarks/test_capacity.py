import math
from dataclasses import replace

import orjson
import pytest

from benchmarks import capacity
from benchmarks.capacity import Demand, Machines, Measured, Prices

DEMAND = Demand(learners=864_000, active=0.1, requests=100, peak=2, lessons=10, read=0.3, write=0.2, sign_in=0.0)
MACHINES = Machines(cores=2, threads=4, use=0.5, spare=1, copies=2)
FIGURES = Measured(
    cpu_us={"cached": 100.0, "read": 1000.0, "write": 2000.0, "sign_in": 20_000.0},
    statements_ms={"cached": 0.0, "read": 1.0, "write": 2.0, "sign_in": 1.0},
    learner_bytes=1000.0,
    lesson_bytes=500.0,
    record_bytes=300.0,
    worker_mib=150.0,
    master_mib=50.0,
    counter_bytes=200.0,
    counters=5.0,
    cache_bytes=1e6,
)
PLENTY = [
    {"connections": 16, "with": kind, "case": case, "cpu_us": 10.0}
    for kind in ("", "Redis")
    for case, _ in capacity.KINDS.values()
]


def test_the_arithmetic():
    needed = capacity.reckon(DEMAND, MACHINES, FIGURES)
    assert needed["requests a day"] == 8_640_000
    assert needed["requests/s at the peak"] == 200
    assert needed["of these cached/s"] == pytest.approx(100)
    cores = (100 * 100 + 60 * 1000 + 40 * 2000) / 1e6 / 0.5
    assert needed["cores of the service"] == pytest.approx(cores)
    assert needed["machines of the service"] == math.ceil(cores / 2) + 1 == 2
    assert needed["memory of each, MiB"] == 50 + 2 * 150
    assert needed["connections busy"] == pytest.approx(60 * 0.001 + 40 * 0.002)
    assert needed["cores of the database"] == pytest.approx(needed["connections busy"] / 0.5)
    assert needed["connections of all threads"] == 2 * 2 * 4
    assert needed["database, GB"] == pytest.approx((864_000 * (1000 + 10 * 500) + 8_640_000 * 0.2 * 300) / 1e9)
    assert needed["Redis, MB"] == pytest.approx((86_400 * 2 / 48 * 5 * 200 + 1e6) / 1e6)


@pytest.mark.parametrize("change", [{"learners": 1_728_000}, {"active": 0.2}, {"requests": 200}, {"peak": 4}])
def test_twice_as_much_needs_twice_the_cores(change):
    once, twice = (capacity.reckon(demand, MACHINES, FIGURES) for demand in (DEMAND, replace(DEMAND, **change)))
    for name in ("cores of the service", "cores of the database", "requests/s at the peak"):
        assert twice[name] == pytest.approx(2 * once[name])


def test_nobody_is_counted_twice():
    """However steep the peak, no more clients have counters than come on the day."""
    needed = capacity.reckon(replace(DEMAND, peak=1000), MACHINES, FIGURES)
    assert needed["Redis, MB"] == pytest.approx((86_400 * 5 * 200 + 1e6) / 1e6)


def test_the_price():
    needed = capacity.reckon(DEMAND, MACHINES, FIGURES)
    prices = Prices(app=10, database_core=20, storage_gb=0.5, redis_gb=4, other=7)
    costs = capacity.price(needed, MACHINES, prices)
    assert costs["service"] == 20
    assert costs["database"] == 2 * 1 * 20
    assert costs["storage"] == pytest.approx(2 * needed["database, GB"] * 0.5)
    assert costs["Redis"] == pytest.approx(needed["Redis, MB"] / 1000 * 4)
    assert costs["a month"] == pytest.approx(sum(costs.values()) - costs["a month"])


def write(folder, day, kind, **tables):
    (folder / f"{day}{kind}.json").write_bytes(orjson.dumps({"tables": tables}))


@pytest.fixture
def folder(tmp_path):
    times = [
        {"call": call, "statements, 1,000": 1.0, "statements, 20,000": 3.0, "statements, ratio": 3.0}
        for _, call in capacity.KINDS.values()
    ]
    each = {
        "users": 400,
        "ledger_entries": 800,
        "answers": 800,
        "completions": 200,
        "attempts": 200,
        "idempotency_records": 300,
        "all": 2900,
    }
    write(tmp_path, "2026-01-01", "", **{"Against the twin": PLENTY})
    write(tmp_path, "2026-01-01", "-scale", Times=times)
    write(
        tmp_path,
        "2026-01-01",
        "-footprint",
        Database=[{"table": name, "bytes a learner": size} for name, size in each.items()],
        Processes=[
            {"process": "master", "Pss MiB": 40.0},
            {"process": "worker", "Pss MiB": 90.0},
            {"process": "worker", "Pss MiB": 100.0},
        ],
        Passwords=[{"what": "a password is checked", "cpu_us": 15_000.0}],
        Redis=[{"count": 80, "clients": 10, "bytes each": 190.0}, {"count": 3, "clients": None, "bytes each": 8000.0}],
    )
    return tmp_path


def test_the_newest_results_are_read(folder):
    newer = [row | {"cpu_us": 30.0 if row["with"] else 20.0} for row in PLENTY]
    write(folder, "2026-02-01", "", **{"Against the twin": newer})
    write(folder, "2026-03-01", "-soak", Other=[])
    found = capacity.measured(folder)
    assert found.sources == ("2026-02-01.json", "2026-01-01-scale.json", "2026-01-01-footprint.json")
    assert found.cpu_us == {"cached": 30.0, "read": 30.0, "write": 30.0, "sign_in": 15_030.0}, "several hosts have Redis"
    assert found.statements_ms == {"cached": 0.0, "read": 3.0, "write": 3.0, "sign_in": 3.0}, "at the largest size"
    assert (found.learner_bytes, found.lesson_bytes, found.record_bytes) == (600, 500, 300)
    assert (found.worker_mib, found.master_mib, found.counters, found.cache_bytes) == (100.0, 40.0, 8.0, 8e6)


def test_the_results_of_this_repository_can_be_read(capsys):
    capacity.main(["--price-app", "60"])
    told = capsys.readouterr().out
    assert "machines of the service" in told and "a learner, a year" in told


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        capacity.main(arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1
    return said


def test_what_cannot_be_reckoned_with_is_refused_in_one_line(capsys, folder, tmp_path_factory):
    assert "--active" in refused(capsys, "--active", "5")
    assert "--learners" in refused(capsys, "--learners", "0")
    assert "--use" in refused(capsys, "--use", "nan")
    assert "more than 1 together" in refused(capsys, "--read", "0.9", "--write", "0.2")
    assert "run the benchmark first" in refused(capsys, "--results", str(tmp_path_factory.mktemp("empty")))
    write(folder, "2026-02-01", "", **{"Against the twin": PLENTY[1:2]})
    assert "2026-02-01.json" in refused(capsys, "--results", str(folder))
