import os
import shutil

import pytest

from benchmarks import footprint, history
from tests.conftest import need_postgresql
from tests.redis import WHY_NOT


@pytest.fixture(autouse=True)
def need_servers():
    need_postgresql()
    if not shutil.which("redis-server"):
        assert os.environ.get("CI") != "true", WHY_NOT
        pytest.skip(WHY_NOT)


def test_every_table_of_learners_is_measured():
    rows = {row["table"]: row for row in footprint.stored(60)}
    assert rows.keys() == {*history.TABLES, "all"}
    assert rows["users"]["rows"] == rows["wallets"]["rows"] == 60
    whole = rows.pop("all")
    for name in ("rows", "table bytes", "index bytes"):
        assert whole[name] == sum(row[name] for row in rows.values())
    assert whole["bytes a learner"] == round((whole["table bytes"] + whole["index bytes"]) / 60, 1)


def test_processes_and_redis_are_measured(monkeypatch):
    monkeypatch.setattr(footprint, "VISITORS", 40)
    # A machine that is busy with other tests would shed requests that wait for a second: what is measured is memory, not that.
    processes, shared = footprint.served(2.0, admission_wait_s=60)
    assert [row["process"] for row in processes] == ["master", "worker", "worker"]
    assert all(row["Rss MiB"] > row["Pss MiB"] > 1 and row["requests"] > row["failed"] == 0 for row in processes)
    counters, entries = shared
    assert counters["count"] >= counters["clients"] > 0 and counters["bytes each"] > 50
    assert entries["count"] > 0 and entries["bytes each"] > 50


@pytest.mark.usefixtures("strong_hashes")
def test_a_password_takes_longer_than_a_request():
    (row,) = footprint.signing_in()
    assert row["cpu_us"] > 1000
