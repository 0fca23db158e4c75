"""Six processes log a million lines into files that take turns: none is lost, none is torn, no file is too large.

A million lines do not fit into five files of 20 MB. So that they can be counted, the test gives every file a second name as soon
as it appears, under which it stays when its turn to go comes. Short form in `make test`: 30,000 lines into files of 0.5 MB.
"""

from __future__ import annotations

import logging
import os
import re
import traceback
from functools import partial
from pathlib import Path

import orjson
import pytest

from codyverse.operations import logging as logs
from codyverse.operations.log_files import FILES, LARGEST_BYTES, RotatedFiles
from tests.conftest import make_settings
from tests.faults.completions import FULL
from tests.server import wait_until

PROCESSES = 6
LINES, LARGEST = (1_000_000, LARGEST_BYTES) if FULL else (30_000, 500_000)
WITHIN_S = 1800.0 if FULL else 120.0
NAME = re.compile(r"codyverse\.log(\.\d+|\.rotate\.\d+)?")


def keep_logging(folder: Path, process: int) -> bool:
    """Log every sixth number; says whether all lines were written, as far as the log knows."""
    outcome = [0, 0]

    def told(written: int, lost: int) -> None:
        outcome[0] += written
        outcome[1] += lost

    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, logs.OUTPUT)
    handler = logs.begin(make_settings(folder, "", log_path=str(folder / "logs")))
    logging.getLogger().handlers = [handler]  # pytest's keep every line in memory
    writer = handler._writer
    writer._told, writer._closing_s = told, WITHIN_S
    log = logging.getLogger("codyverse.performance")
    for number in range(process, LINES, PROCESSES):
        if number % 600 == process:  # it may log as fast as it can, but no faster than the disk
            wait_until(lambda: len(writer._queue) < logs.ROOM // 2, WITHIN_S)
        log.warning("a line", extra={"sender": process, "number": number, "filler": "x" * (number % 97)})
    handler.end()
    return outcome == [len(range(process, LINES, PROCESSES)), 0]


class Watcher:
    """Sees every file that the log has, and keeps it."""

    def __init__(self, folder: Path, kept: Path) -> None:
        self._folder = folder
        self._kept = kept
        self.seen: dict[int, Path] = {}  # by inode, in the order of their appearance
        self.most_files = self.largest_bytes = 0
        kept.mkdir()

    def look(self) -> None:
        found = [path for path in self._folder.iterdir() if NAME.fullmatch(path.name)] if self._folder.exists() else []
        sizes = []
        for path in found:
            try:
                about = path.stat()
                if about.st_ino not in self.seen:
                    copy = self._kept / str(len(self.seen))
                    os.link(path, copy)
                    self.seen[copy.stat().st_ino] = copy
                sizes.append(about.st_size)
            except FileNotFoundError:  # it takes another name this moment
                continue
        self.most_files = max(self.most_files, len(sizes))
        self.largest_bytes = max([self.largest_bytes, *sizes])


def test_a_million_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "RotatedFiles", partial(RotatedFiles, largest_bytes=LARGEST))
    pids = set()
    for process in range(PROCESSES):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = 0 if keep_logging(tmp_path, process) else 2
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        pids.add(pid)
    watcher, codes = Watcher(tmp_path / "logs", tmp_path / "kept"), []

    def have_ended() -> bool:
        watcher.look()
        for pid in list(pids):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                pids.remove(pid)
                codes.append(status)
        return not pids

    wait_until(have_ended, WITHIN_S)
    watcher.look()
    assert codes == [0] * PROCESSES
    assert watcher.largest_bytes <= LARGEST
    assert watcher.most_files <= FILES
    names = sorted(path.name for path in (tmp_path / "logs").iterdir() if not path.name.startswith("."))
    assert names == ["codyverse.log", *(f"codyverse.log.{number}" for number in range(1, FILES))]

    last, lines = dict.fromkeys(range(PROCESSES), -1), 0
    for path in watcher.seen.values():
        with path.open("rb") as file:
            for line in file:
                told = orjson.loads(line)
                process, number = told["sender"], told["number"]
                assert number == (last[process] + PROCESSES if last[process] >= 0 else process)
                assert line.endswith(b"\n") and len(told["filler"]) == number % 97
                last[process] = number
                lines += 1
    assert lines == LINES
    print(f"\n{LINES:,} lines of {PROCESSES} processes in {len(watcher.seen)} files, the largest {watcher.largest_bytes:,} bytes")
