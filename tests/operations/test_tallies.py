"""Counts that processes add up."""

from __future__ import annotations

import os
import sqlite3

import pytest

from codyverse.operations.tallies import MOST_NAMES, OTHER, Tallies


@pytest.fixture
def tallies(tmp_path):
    tallies = Tallies(tmp_path / "tallies.sqlite3")
    yield tallies
    tallies.close()


def test_it_works(tallies):
    tallies.count("cache:hit:l1")
    tallies.count("cache:hit:l1", 2)
    tallies.count("statement:1")
    assert tallies.totals("cache:") == {"cache:hit:l1": 3}
    tallies.count("cache:hit:l1")
    assert tallies.totals() == {"cache:hit:l1": 4, "statement:1": 1}


def test_processes_add_up_and_a_fork_counts_nothing_twice(tallies, tmp_path):
    tallies.count("n")
    pid = os.fork()
    if pid == 0:
        tallies.count("n", 10)
        tallies.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert Tallies(tmp_path / "tallies.sqlite3").totals() == {"n": 10}
    assert tallies.totals() == {"n": 11}


def test_what_cannot_be_written_is_kept(tmp_path):
    folder = tmp_path / "away"
    tallies = Tallies(folder / "tallies.sqlite3")
    tallies.count("n")
    assert tallies.totals() == {"n": 1}
    folder.mkdir()
    assert tallies.totals() == {"n": 1}
    with sqlite3.connect(folder / "tallies.sqlite3") as file:
        assert file.execute("SELECT amount FROM tallies").fetchall() == [(1,)]
    file.close()
    tallies.close()


def test_forgetting(tallies):
    tallies.count("cache:hit")
    tallies.count("statement:1")
    tallies.forget("cache:")
    assert tallies.totals() == {"statement:1": 1}


def test_names_are_bounded(tallies):
    for number in range(MOST_NAMES + 5):
        tallies.count(f"n:{number}")
    assert tallies.totals(OTHER) == {OTHER: 5}


def test_the_largest_amount_of_all_processes_is_kept(tallies, tmp_path):
    tallies.count_max("max", 3)
    tallies.count_max("max", 2)
    assert tallies.totals() == {"max": 3}
    other = Tallies(tmp_path / "tallies.sqlite3")
    other.count_all([("n", 1), ("n", 2)], [("max", 7), ("low", 1)])
    other.close()
    tallies.count_max("max", 5)
    assert tallies.totals() == {"max": 7, "low": 1, "n": 3}


def test_a_fork_does_not_claim_the_largest_amount_of_its_parent(tallies, tmp_path):
    tallies.count_max("max", 9)
    pid = os.fork()
    if pid == 0:
        tallies.count_max("max", 1)
        tallies.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert Tallies(tmp_path / "tallies.sqlite3").totals() == {"max": 1}


def test_a_largest_amount_that_cannot_be_written_is_kept(tmp_path):
    folder = tmp_path / "away"
    tallies = Tallies(folder / "tallies.sqlite3")
    tallies.count_max("max", 4)
    assert tallies.totals() == {"max": 4}
    tallies.count_max("max", 2)
    folder.mkdir()
    assert tallies.totals() == {"max": 4}
    tallies.close()


def test_names_of_largest_amounts_are_bounded(tallies):
    tallies.count_all((), ((f"n:{number}", 1) for number in range(MOST_NAMES + 5)))
    tallies.count_max("n:0", 2)
    assert len(tallies.totals("n:")) == MOST_NAMES


@pytest.mark.parametrize("first", [0, 4096], ids=["no database", "malformed"])
def test_a_file_that_is_broken_is_made_anew(tmp_path, caplog, first):
    path = tmp_path / "tallies.sqlite3"
    tallies, other = Tallies(path), Tallies(path)
    tallies.count("before")
    tallies.flush()
    with path.open("r+b") as file:
        file.seek(first)
        file.write(b"x" * 8192)
    for counting in (tallies, other):
        counting.count("after")
        counting.flush()
    assert Tallies(path).totals() == {"after": 2}
    assert caplog.text.count("is made anew") == 1
    tallies.close()
    other.close()


def test_counts_of_two_hundred_workers_add_up(tmp_path):
    """Each counts, is replaced and ends; what is left is one row a name, and the sum."""
    path = tmp_path / "tallies.sqlite3"
    for number in range(200):
        worker = Tallies(path)
        worker.count_all((("http\tGET\t/\t200", 1), ("worker:replaced", 1)), (("max", number),))
        worker.close()
    reader = Tallies(path)
    assert reader.totals() == {"http\tGET\t/\t200": 200, "worker:replaced": 200, "max": 199}
    assert {each.name for each in tmp_path.iterdir()} <= {"tallies.sqlite3", "tallies.sqlite3-journal"}
    reader.close()
