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
