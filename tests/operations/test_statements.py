from __future__ import annotations

import multiprocessing
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from codyverse.database import Database
from codyverse.learning.models import courses
from codyverse.operations import statements as timing
from codyverse.operations.statements import Statements, fingerprint
from codyverse.operations.tallies import Tallies
from tests.conftest import ImportedCatalogue, Learner, make_settings

SLOW_MS = 50.0


@pytest.fixture
def counts(tmp_path: Path) -> Iterator[Tallies]:
    counts = Tallies(tmp_path / "counted.sqlite3")
    yield counts
    counts.close()


@pytest.fixture
def timed(counts: Tallies) -> Statements:
    return Statements(counts, SLOW_MS, lambda: ("GET", "/somewhere"))


def of_app(app: Flask, containing: str) -> timing.Figures:
    """Return the figures of the one fingerprint that contains a text."""
    (found,) = (one for one in timing.figures(app.extensions["codyverse.tallies"]) if containing in one.statement)
    return found


def test_it_works(app: Flask, database: Database, catalogue: ImportedCatalogue, engine_name: str) -> None:
    timing.reset(app.extensions["codyverse.tallies"])
    with database.read() as reader:
        for slug in ("machines", "counting", "none"):
            reader.execute(sa.select(courses.c.title).where(courses.c.slug == slug)).all()
    found = of_app(app, "SELECT courses.title")

    assert found.statement == "SELECT courses.title FROM courses WHERE courses.slug = ?"
    assert (found.calls, found.errors, found.slow) == (3, 0, 0)
    assert found.rows == (2 if engine_name == "postgresql" else 0)
    assert 0 < found.p95_ms <= found.max_ms <= found.total_ms


def test_transactions_errors_and_several_rows_at_once_are_counted(app: Flask, database: Database, engine_name: str) -> None:
    with database.transaction() as tx:
        tx.execute(sa.text("CREATE TEMPORARY TABLE counted (n INTEGER NOT NULL)"))
        tx.execute(sa.text("INSERT INTO counted VALUES (:n)"), [{"n": n} for n in range(5)])
        assert tx.execute(sa.text("UPDATE counted SET n = 7 WHERE n > 1")).rowcount == 3
    with pytest.raises(sa.exc.DBAPIError), database.transaction() as tx:
        tx.execute(sa.text("SELECT nothing FROM nowhere"))

    assert of_app(app, "INSERT INTO counted").calls == 1
    assert of_app(app, "UPDATE counted").rows == 3
    failed = of_app(app, "FROM nowhere")
    assert (failed.calls, failed.errors, failed.rows) == (1, 1, 0)


def test_readers_of_the_engine_are_timed_whenever_they_were_made(settings: object, database: Database, app: Flask) -> None:
    reading = database.engine.execution_options(some="option")
    with reading.connect() as connection:
        connection.exec_driver_sql("SELECT 'made later'")
    assert of_app(app, "SELECT ?").calls >= 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT a_1 FROM t2 WHERE a = 'ada@example.org' AND b=5", "SELECT a_1 FROM t2 WHERE a = ? AND b=?"),
        ("SELECT 'it''s', E'it\\'s', N'x', b'01', U&'d'", "SELECT ?, ?, ?, ?, ?"),
        ("SELECT $$a 'b$$, $x$ $$ $x$, $1", "SELECT ?, ?, ?"),
        ("a = 1.5e-3 OR a = .5 OR a = 0xFF OR a = 10.", "a = ? OR a = ? OR a = ? OR a = ?"),
        ("a = %(a)s AND b = %s AND c = ? AND d = :d", "a = ? AND b = ? AND c = ? AND d = ?"),
        ("a::text = :a::text", "a::text = ?::text"),
        ('SELECT "it\'s 5" FROM "t""1"', 'SELECT "it\'s 5" FROM "t""1"'),
        ("SELECT 1 -- for ada\n  /* it's\n 5 */ ,\t2", "SELECT ? , ?"),
        ("SELECT '-- no comment', '/*', 5", "SELECT ?, ?, ?"),
        ("a IN (%(a_1)s, %(a_2)s)", "a IN (?, …)"),
        ("a in ( 7 )", "a IN (?, …)"),
        ("(a, b) NOT IN ((?, ?), (?, ?), (?, ?))", "(a, b) NOT IN (?, …)"),
        ("a IN (SELECT b FROM t WHERE c = 5)", "a IN (SELECT b FROM t WHERE c = ?)"),
        ("INSERT INTO t (a, b) VALUES (?, now()), (?, now())", "INSERT INTO t (a, b) VALUES (?, now()), …"),
        ("INSERT INTO t (a, b) VALUES (?, ?)", "INSERT INTO t (a, b) VALUES (?, ?)"),
        ("SELECT 'never ended", "SELECT ?"),
        ("SELECT /* never ended", "SELECT"),
        ("", ""),
    ],
)
def test_fingerprints(text: str, expected: str) -> None:
    assert fingerprint(text) == expected


@given(st.lists(st.text(st.characters(exclude_characters="'\\")), min_size=1, max_size=5), st.integers(min_value=0))
def test_no_value_is_left(texts: list[str], number: int) -> None:
    values = ", ".join(f"'{text}'" for text in texts)
    assert fingerprint(f"SELECT {values} FROM t WHERE n = {number}") == f"SELECT {', '.join('?' * len(texts))} FROM t WHERE n = ?"


@pytest.mark.parametrize("row", ["%(a_{n})s", "(%(a_{n})s, %(b_{n})s)"])
@pytest.mark.parametrize("before", ["", "x", "xy", "xyz", "wxyz" * 7])
def test_the_length_of_a_list_makes_no_difference(row: str, before: str) -> None:
    texts = [f"SELECT {before} IN ({', '.join(row.format(n=n) for n in range(length))})" for length in (1, 2, 50, 500, 5000)]
    assert {fingerprint(text) for text in texts} == {f"SELECT {before}{' ' if before else ''}IN (?, …)"}
    several = [f"VALUES {before}{', '.join(f'({row.format(n=n)}, now())' for n in range(length))}" for length in (2, 50, 500)]
    assert len({fingerprint(text) for text in several}) == 1


def test_long_texts_are_cut() -> None:
    long = fingerprint("SELECT " + ", ".join(f"column_{'x' * 30}" for _ in range(5000)))
    assert len(long) == timing.LONGEST_KEPT
    assert long.endswith("…")


def test_memory_is_bounded(timed: Statements, counts: Tallies) -> None:
    for number in range(timing.MOST_FINGERPRINTS + 20):
        timed._count(f"SELECT column_{number}", 1_000_000, 0)
    for length in range(timing.MOST_TEXTS + 20):
        timed._count(f"SELECT 1 WHERE 1 IN ({', '.join('?' * (length + 1))})", 1_000_000, 0)

    found = {one.statement: one for one in timing.figures(counts)}
    assert len(found) == timing.MOST_FINGERPRINTS + 1
    assert found[timing.OTHERS].fingerprint == timing.OTHER
    assert found[timing.OTHERS].calls == 20 + timing.MOST_TEXTS + 20
    assert len(timed._by_text) <= timing.MOST_TEXTS
    assert max(len(text) for text in timed._by_text) <= timing.LONGEST_READ


@given(st.lists(st.integers(min_value=1000, max_value=10**11), min_size=1, max_size=200))
def test_a_percentile_is_off_by_19_percent_at_the_most(times_ns: list[int]) -> None:
    buckets: dict[int, int] = {}
    for time_ns in times_ns:
        buckets[timing._bucket(time_ns)] = buckets.get(timing._bucket(time_ns), 0) + 1
    rank = -(-len(times_ns) * 95 // 100)
    exact_ms = sorted(times_ns)[rank - 1] / 1e6
    assert timing._percentile_ms(buckets, len(times_ns) * 0.95) == pytest.approx(exact_ms, rel=0.1893)


def test_buckets_of_the_shortest_and_the_longest() -> None:
    assert [timing._bucket(time_ns) for time_ns in (0, 1, 999, 1000, 1500, 2000)] == [0, 0, 0, 0, 1, 2]
    assert timing._bucket(10**15) == timing.LAST_BUCKET


def test_what_processes_counted_adds_up(timed: Statements, counts: Tallies, tmp_path: Path) -> None:
    timed._count("SELECT 1", 2_000_000, 1)
    context = multiprocessing.get_context("spawn")
    other = context.Process(target=count_in_another_process, args=(tmp_path / "counted.sqlite3",))
    other.start()
    other.join(60)
    assert other.exitcode == 0

    (found,) = timing.figures(counts)
    assert (found.statement, found.calls, found.total_ms, found.max_ms, found.rows) == ("SELECT ?", 3, 16.0, 10.0, 4)


def count_in_another_process(path: Path) -> None:
    counts = Tallies(path)
    timed = Statements(counts, SLOW_MS, lambda: ("-", "-"))
    timed._count("SELECT 2", 4_000_000, 1)
    timed._count("SELECT 3", 10_000_000, 2)
    counts.close()


def test_a_reset_begins_the_figures_anew_and_keeps_their_texts(timed: Statements, counts: Tallies) -> None:
    timed._count("SELECT 1", 2_000_000, 1)
    timing.reset(counts)
    assert timing.figures(counts) == []
    timed._count("SELECT 1", 1_000_000, 0)
    (found,) = timing.figures(counts)
    assert (found.statement, found.calls, found.max_ms, found.rows) == ("SELECT ?", 1, 1.0, 0)


def test_orders(timed: Statements, counts: Tallies) -> None:
    for text, times_ms in (("SELECT a", [1] * 30), ("SELECT b", [20]), ("SELECT c", [2] * 20 + [15])):
        for time_ms in times_ms:
            timed._count(text, time_ms * 1_000_000, 0)
    first = {by: [one.statement[-1] for one in timing.figures(counts, by)] for by in timing.ORDERS}
    assert first == {"total": ["c", "a", "b"], "p95": ["b", "c", "a"], "max": ["b", "c", "a"], "calls": ["a", "c", "b"]}


def test_slow_statements_are_logged_without_values(timed: Statements, counts: Tallies, caplog: pytest.LogCaptureFixture) -> None:
    timed._count("SELECT name FROM users WHERE email = 'ada@example.org'", int(SLOW_MS * 1e6) - 1, 0)
    assert not caplog.records
    timed._count("SELECT name FROM users WHERE email = 'ada@example.org'", int(SLOW_MS * 1e6), 0)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("codyverse.database", "WARNING")
    assert re.fullmatch(
        r"slow statement: ms=50\.0 method=GET route=/somewhere fingerprint=[0-9a-f]{12} "
        r"statement=SELECT name FROM users WHERE email = \?",
        record.getMessage(),
    )
    (found,) = timing.figures(counts)
    assert (found.calls, found.slow) == (2, 1)


class TestWithEveryStatementSlow:
    @pytest.fixture
    def settings(self, database_url: str, tmp_path: Path) -> object:
        return make_settings(tmp_path, database_url, slow_statement_ms=0)

    def test_the_line_names_the_route_and_nobody(
        self, learner: Learner, catalogue: ImportedCatalogue, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.clear()
        lesson = catalogue.lesson("machines/what-is-a-guess")
        learner.client.post(f"/api/v1/lessons/{lesson}/completions?who=ada", json={"time_spent_seconds": 4711})
        lines = [record.getMessage() for record in caplog.records if record.name == "codyverse.database"]

        assert any("INSERT INTO completions" in line for line in lines)
        assert all(" method=POST route=/api/v1/lessons/<id:lesson_id>/completions " in line for line in lines)
        assert not any(value in line for line in lines for value in ("4711", "ada", learner.email))

    def test_addresses_that_are_none_are_not_named(
        self, learner: Learner, caplog: pytest.LogCaptureFixture, database: Database
    ) -> None:
        caplog.clear()
        learner.client.get("/api/v1/nowhere/ada")
        with database.read() as reader:
            reader.execute(sa.text("SELECT 1"))
        lines = [record.getMessage() for record in caplog.records if record.name == "codyverse.database"]
        assert lines
        assert all(" method=- route=- " in line for line in lines)
