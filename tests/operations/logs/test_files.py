"""Files that take turns, shared by processes that know nothing of each other."""

from __future__ import annotations

import logging
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from codyverse.operations.log_files import FILES, LARGEST_BYTES, RotatedFiles
from codyverse.operations.log_writer import LineWriter

LINE = b"x" * 99 + b"\n"


@pytest.fixture
def make(tmp_path: Path):
    made = []

    def make(**sizes: int) -> RotatedFiles:
        made.append(RotatedFiles("the log", tmp_path / "logs" / "a.log", **sizes))
        return made[-1]

    yield make
    for each in made:
        each.close()


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "logs").iterdir() if not path.name.startswith("."))


def test_it_works(make, tmp_path: Path) -> None:
    files = make()
    assert files.append(LINE * 3) == 3
    assert files.append(LINE) == 1
    assert (tmp_path / "logs" / "a.log").read_bytes() == LINE * 4
    assert (tmp_path / "logs" / "a.log").stat().st_mode & 0o7777 == 0o640
    assert (tmp_path / "logs").stat().st_mode & 0o0777 == 0o750
    assert (LARGEST_BYTES, FILES) == (20_000_000, 5)


def test_they_take_turns_and_the_oldest_goes(make, tmp_path: Path) -> None:
    files = make(largest_bytes=1000, files=3)
    for number in range(100):
        assert files.append(b"%098d\n" % number) == 1
    assert names(tmp_path) == ["a.log", "a.log.1", "a.log.2"]
    kept = [(tmp_path / "logs" / name).read_bytes() for name in ("a.log.2", "a.log.1", "a.log")]
    assert all(len(each) <= 1000 for each in kept)
    told = [int(line) for line in b"".join(kept).splitlines()]
    assert told == list(range(told[0], 100)) and told[0] > 60


def test_no_piece_makes_a_file_too_large(make, tmp_path: Path) -> None:
    files = make(largest_bytes=1000, files=5)
    for _ in range(20):
        files.append(LINE * 7)
    assert {path.stat().st_size for path in (tmp_path / "logs").iterdir() if "lock" not in path.name} == {700}


def test_a_file_that_was_moved_away_is_begun_anew(make, tmp_path: Path) -> None:
    files = make()
    files.append(LINE)
    (tmp_path / "logs" / "a.log").rename(tmp_path / "moved")
    files.append(LINE * 2)
    assert (tmp_path / "moved").read_bytes() == LINE
    assert (tmp_path / "logs" / "a.log").read_bytes() == LINE * 2


def test_a_line_of_a_process_that_was_killed_spoils_no_other(make, tmp_path: Path) -> None:
    files = make()
    files.append(LINE)
    with (tmp_path / "logs" / "a.log").open("ab") as torn:
        torn.write(b"torn")
    assert files.append(LINE) == 1
    assert (tmp_path / "logs" / "a.log").read_bytes() == LINE + b"torn\n" + LINE


@pytest.mark.parametrize("names_before", [[], ["a.log.1"]])
def test_what_a_killed_process_began_is_ended(make, tmp_path: Path, names_before: list[str]) -> None:
    files = make(largest_bytes=1000, files=3)
    files.append(LINE * 9)
    for name in ["a.log.rotate.7", *names_before]:
        (tmp_path / "logs" / name).write_text(f"{name}\n")
    files.append(LINE)
    assert names(tmp_path) == ["a.log", "a.log.1", "a.log.2"]
    assert (tmp_path / "logs/a.log.1").read_bytes() == LINE * 9
    assert (tmp_path / "logs/a.log.2").read_text("ascii") == f"{(names_before or ['a.log.rotate.7'])[0]}\n"


def in_child(work: Callable[[], bool]) -> bool:
    """Say what the work says in a process of its own."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if work() else 1
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def test_what_a_full_disk_takes_of_a_line_is_taken_back(make, tmp_path: Path) -> None:
    files = make()

    def work() -> bool:
        resource.setrlimit(resource.RLIMIT_FSIZE, (550, 550))  # Python ignores the signal, and meets an error like a full disk's
        return [files.append(LINE * 4), files.append(LINE * 4), files.append(LINE)] == [4, 1, 0]

    assert in_child(work)
    assert (tmp_path / "logs" / "a.log").read_bytes() == LINE * 5
    assert files.append(LINE) == 1  # there is room again


def test_a_folder_that_cannot_be_made_loses_lines_and_tells_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "logs").write_text("no folder")
    files = RotatedFiles("the log", tmp_path / "logs" / "a.log")
    with caplog.at_level(logging.WARNING, "codyverse.performance"):
        assert [files.append(LINE), files.append(LINE)] == [0, 0]
        (tmp_path / "logs").unlink()
        assert files.append(LINE) == 1
    files.close()
    assert [record.getMessage() for record in caplog.records] == ["the log cannot be written: File exists"]


@pytest.mark.parametrize("rotated_first", [False, True])
def test_processes_share_them(make, tmp_path: Path, rotated_first: bool) -> None:
    each, processes = 2000, 4
    files = make(largest_bytes=30_000, files=100)
    if rotated_first:
        files.append(LINE)  # the processes inherit an open file and its lock
    pids = []
    for process in range(processes):
        pid = os.fork()
        if pid == 0:
            writer = LineWriter([files], lambda written, lost: None, each, closing_s=60.0)
            for number in range(each):
                writer.put(f"{process} {number} {'y' * (number % 90)}\n")
            writer.close()
            os._exit(0)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * processes
    kept = [path for path in (tmp_path / "logs").iterdir() if "lock" not in path.name]
    assert len(kept) > 10 and all(path.stat().st_size <= 30_000 for path in kept)
    kept.sort(key=lambda path: -int(path.name.partition(".log.")[2] or 0))
    told = [line.split() for path in kept for line in path.read_text("ascii").splitlines() if line[0] != "x"]
    for process in range(processes):
        assert [int(line[1]) for line in told if line[0] == str(process)] == list(range(each))
    assert all(len(line[2:] and line[2]) == int(line[1]) % 90 for line in told if int(line[1]) % 90)
