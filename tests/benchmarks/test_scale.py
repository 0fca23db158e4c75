import pytest

from benchmarks import place, plans, scale
from benchmarks.recording import Statement
from tests.conftest import need_postgresql


@pytest.fixture
def engine_name() -> str:
    """Plans are those of PostgreSQL."""
    return need_postgresql()


@pytest.fixture
def growing(engine_name, database_url, tmp_path):
    with place.application(tmp_path, database_url, **scale.CACHES_OFF) as app:
        place.prepare(app)
        yield scale.Scale(app, app)


def test_every_call_is_measured_and_the_ledger_still_adds_up(growing, monkeypatch):
    monkeypatch.setattr(scale, "MEASURED", 3)
    monkeypatch.setattr(plans, "LARGE_ROWS", 10**9)
    assert growing.grow(40)["met"] == "✓"
    figures, found = growing.measure()
    assert figures.keys() == found.keys() == {call.name for call in scale.calls.CALLS}
    assert all(in_all > statements > 0 for in_all, statements in figures.values())
    assert growing.grow(60)["met"] == "✓"
    assert growing.measure()[0].keys() == figures.keys()


def test_a_large_table_read_as_a_whole_is_found(growing, database, monkeypatch):
    growing.grow(40)
    monkeypatch.setattr(plans, "LARGE_ROWS", 10)
    by_id = Statement("SELECT id FROM users WHERE id = %(id)s", {"id": 3}, False, False)
    by_name = Statement("SELECT id FROM users WHERE display_name = %(name)s", {"name": "Ada"}, False, False)
    with database.read() as reader:
        reader.connection.exec_driver_sql("SET enable_seqscan = off")  # of so few rows it would read them all either way
        assert plans.explain(reader.connection, [by_id]).indexes == {"pk_users"}
        assert not plans.explain(reader.connection, [by_id]).large_scans
        assert plans.explain(reader.connection, [by_name]).large_scans == {"users"}
        reader.connection.exec_driver_sql("RESET enable_seqscan")


def test_three_times_as_long_is_the_most():
    def judged(last):
        return scale._compared("a call", (1, 2), [{"a call": (1.0, 1.0)}, {"a call": last}])["met"]

    assert judged((3.0, 3.0)) == "✓"
    assert judged((1.0, 3.1)) == "✗"
    assert judged((3.1, 1.0)) == "✗"
