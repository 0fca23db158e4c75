"""What processes say of themselves, and how long it stays."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from codyverse.operations import gauges
from codyverse.operations.components import Components
from codyverse.operations.gauges import Gauges, Sample
from tests.server import wait_until


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "gauges"


@pytest.fixture
def make(folder: Path) -> Iterator[Callable[..., Gauges]]:
    made: list[Gauges] = []

    def make(worker: str = "-") -> Gauges:
        parts = Components()
        parts.worker = worker
        made.append(Gauges(folder, parts))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Child:
    """A process that tells its values until it is ended."""

    def __init__(self, make: Callable[..., Gauges], worker: str, value: float) -> None:
        told, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            child = make(worker)
            child.add("n", {"kind": "child"}, lambda: value)
            child._tell()
            os.write(tell, b"1")
            signal.pause()
            os._exit(1)
        assert os.read(told, 1) == b"1"
        os.close(told)
        os.close(tell)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def test_it_works(make: Callable[..., Gauges]) -> None:
    one = make()
    one.add("n", {"kind": "a"}, lambda: 3)
    assert one.processes() == []  # a command beside the service is no part of it
    one.serves = True
    (own,) = one.processes()
    assert (own.worker, own.pid, own.values) == ("-", os.getpid(), [Sample("n", {"kind": "a"}, 3.0)])
    assert 0 <= own.at - own.started_at < 1e6


def test_others_are_read_in_the_order_of_their_slots(make: Callable[..., Gauges]) -> None:
    children = [Child(make, worker, value) for worker, value in (("10", 1.0), ("2", 2.0))]
    found = make().processes()
    for child in children:
        child.kill()
    assert [(process.worker, process.pid) for process in found] == [("2", children[1].pid), ("10", children[0].pid)]
    assert found[0].values == [Sample("n", {"kind": "child"}, 2.0)]


def test_who_is_gone_says_nothing_and_leaves_no_file(make: Callable[..., Gauges], folder: Path) -> None:
    child = Child(make, "0", 1.0)
    (folder / f"{child.pid}.new").write_bytes(b"[")  # killed while it was writing
    child.kill()
    assert make().processes() == []
    assert list(folder.iterdir()) == []


def test_another_process_with_the_same_number_is_not_taken_for_it(make: Callable[..., Gauges], folder: Path) -> None:
    child = Child(make, "0", 1.0)
    path = folder / f"{child.pid}.json"
    said = orjson.loads(path.read_bytes())
    said[1] -= 1  # by one that began earlier
    path.write_bytes(orjson.dumps(said))
    found = make().processes()
    child.kill()
    assert found == []
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"[", b"{}", b"[1,2,3,4,5]", b"null"])
def test_what_makes_no_sense_is_removed(make: Callable[..., Gauges], folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / f"{os.getppid()}.json").write_bytes(content)
    (folder / "something").write_bytes(content)
    assert make().processes() == []
    assert list(folder.iterdir()) == []


def test_two_hundred_workers_leave_bounded_files(make: Callable[..., Gauges], folder: Path) -> None:
    """Half of them are killed, and nobody reads meanwhile but those that come after them."""
    at_once = threading.Event()
    at_once.set()
    for number in range(200):
        pid = os.fork()
        if pid == 0:
            child = make(str(number % 4))
            child.add("n", {}, lambda: 1)
            child._keep_telling(at_once)
            if number % 2:
                child.close()
            os._exit(0 if (folder / f"{os.getpid()}.json").exists() != bool(number % 2) else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert len(list(folder.iterdir())) <= 1
    assert make().processes() == []
    assert list(folder.iterdir()) == []


def test_a_value_that_cannot_be_read_keeps_no_other_from_being_told(
    make: Callable[..., Gauges], caplog: pytest.LogCaptureFixture
) -> None:
    one = make()
    one.serves = True
    one.add("broken", {}, lambda: 1 / 0)
    one.add("nothing", {}, lambda: None)
    one.add("no number", {}, lambda: float("nan"))
    one.add("n", {}, lambda: 1)
    one.add("n", {}, lambda: 2)  # instead
    for _ in range(2):
        assert one.processes()[0].values == [Sample("n", {}, 2.0)]
    assert caplog.text.count("a value cannot be read: broken") == 1


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"")
    one = Gauges(tmp_path / "file" / "gauges", Components())
    one.start()
    wait_until(lambda: "cannot be told" in caplog.text)
    assert len(one.processes()) == 1
    one.close()


def test_a_process_that_ends_says_so(make: Callable[..., Gauges], folder: Path) -> None:
    one = make()
    one.start()
    wait_until((folder / f"{os.getpid()}.json").exists)
    one.close()
    assert list(folder.iterdir()) == []
    assert one.processes() == []


def test_when_a_process_began() -> None:
    assert gauges.began(os.getpid()) == gauges.began(os.getpid())
    assert gauges.began(2**22 + 1) is None
    parent, own = gauges.started_at(os.getppid()), gauges.started_at(os.getpid())
    assert parent is not None and own is not None
    assert parent <= own + 0.1
