"""Lines are written by a thread: nobody waits for them, and nothing fails with them."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from codyverse.operations.log_files import AppendedFile
from codyverse.operations.log_writer import LineWriter
from tests.server import wait_until


class Outcome:
    written = lost = 0

    def __call__(self, written: int, lost: int) -> None:
        self.written += written
        self.lost += lost


@pytest.fixture
def outcome() -> Outcome:
    return Outcome()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.log"


@pytest.fixture
def writer(path: Path, outcome: Outcome) -> Iterator[LineWriter]:
    writer = LineWriter([AppendedFile("the log", str(path))], outcome, 100)
    yield writer
    writer.close()


def test_it_works(writer: LineWriter, path: Path, outcome: Outcome) -> None:
    writer.put("one\n")
    wait_until(lambda: path.exists() and path.read_text("ascii") == "one\n")
    writer.put("two\n")
    writer.close()
    assert path.read_text("ascii") == "one\ntwo\n"
    assert (outcome.written, outcome.lost) == (2, 0)


def test_a_record_of_several_lines_loses_none(writer: LineWriter, outcome: Outcome) -> None:
    writer.put("Traceback\n  one\n  two\n")
    writer.close()
    assert (outcome.written, outcome.lost) == (3, 0)


def test_after_its_end_it_begins_anew(writer: LineWriter, path: Path) -> None:
    for number in range(3):
        writer.put(f"{number}\n")
        writer.close()
        writer.close()
    assert path.read_text("ascii") == "0\n1\n2\n"


def test_every_file_gets_every_line_and_one_that_does_not_counts_it_as_lost(path: Path, outcome: Outcome) -> None:
    writer = LineWriter([AppendedFile("one", str(path)), AppendedFile("the other", "/dev/full")], outcome, 100)
    writer.put("one\n")
    writer.close()
    assert path.read_text("ascii") == "one\n"
    assert (outcome.written, outcome.lost) == (0, 1)


def test_what_finds_no_room_is_lost_and_counted(path: Path, outcome: Outcome) -> None:
    goes_on = threading.Event()

    def write(file: int, data: bytes) -> int:
        assert goes_on.wait(30)
        return os.write(file, data)

    writer = LineWriter([AppendedFile("the log", str(path), write)], outcome, 10)
    writer.put("first\n")
    wait_until(lambda: not writer._queue)  # the thread hangs in it
    for number in range(13):
        writer.put(f"{number}\n")
    assert outcome.lost == 3
    goes_on.set()
    writer.close()
    assert path.read_text("ascii").split() == ["first", *map(str, range(10))]
    assert (outcome.written, outcome.lost) == (11, 3)


def test_a_fork_writes_its_own_lines_only(writer: LineWriter, path: Path) -> None:
    writer.put("parent\n")
    pid = os.fork()
    if pid == 0:
        writer.put("child\n")
        writer.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    writer.close()
    assert sorted(path.read_text("ascii").split()) == ["child", "parent"]


def test_a_fork_need_not_write(writer: LineWriter, path: Path) -> None:
    writer.put("parent\n")
    pid = os.fork()
    if pid == 0:
        writer.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    writer.put("parent\n")
    writer.close()
    assert path.read_text("ascii").split() == ["parent", "parent"]


def test_a_fork_while_lines_are_written_does_not_wait_for_them(path: Path, outcome: Outcome) -> None:
    goes_on, pid = threading.Event(), os.getpid()

    def write(file: int, data: bytes) -> int:
        assert os.getpid() != pid or goes_on.wait(30)
        return os.write(file, data)

    writer = LineWriter([AppendedFile("the log", str(path), write)], outcome, 10)
    writer.put("parent\n")
    wait_until(lambda: not writer._queue)
    child = os.fork()
    if child == 0:
        writer.put("child\n")
        writer.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert path.read_text("ascii") == "child\n"
    goes_on.set()
    writer.close()
    assert path.read_text("ascii") == "child\nparent\n"


def test_what_fails_unforeseen_does_not_end_it(writer: LineWriter, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "codyverse.performance"):
        writer.put("")
        writer._queue.append(None)  # type: ignore[arg-type]
        wait_until(lambda: bool(caplog.records))
    writer.put("one\n")
    writer.close()
    assert path.read_text("ascii") == "one\n"


def test_half_a_character_is_replaced(writer: LineWriter, path: Path) -> None:
    writer.put("\ud800 é\n")
    writer.close()
    assert path.read_text("utf-8") == "? é\n"
