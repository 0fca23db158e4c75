"""Looks in the background: how often, how long, and since when."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from codyverse.operations.health_checks import KNOWN_S, Checks, Since
from tests.server import wait_until

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()


class Clocks:
    """A clock that stands still until a test moves it, as wall clock and as monotonic one."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clocks:
    return Clocks()


@pytest.fixture
def make(tmp_path: Path, clock: Clocks) -> Iterator[Callable[..., Checks]]:
    made: list[Checks] = []

    def make(every_s: float = 5.0, deadline_s: float = 30.0) -> Checks:
        made.append(Checks(every_s, deadline_s, Since(tmp_path / "health.json", clock), clock))
        return made[-1]

    yield make
    for one in made:
        one.close()


def counted(looks: list[int], status: str = "ok") -> Callable[[], dict[str, str]]:
    def look() -> dict[str, str]:
        looks.append(1)
        return {"status": status}

    return look


def test_it_works(make: Callable[..., Checks]) -> None:
    checks = make()
    checks.add("one", lambda: {"status": "ok", "threshold": 3})
    assert checks.states() == {"one": {"status": "ok", "threshold": 3, "since": "2026-11-24T12:00:00Z", "latency_ms": 0.0}}


def test_a_thousand_asks_are_one_look(make: Callable[..., Checks], clock: Clocks) -> None:
    checks, looks = make(), list[int]()
    checks.add("one", counted(looks))
    for _ in range(1000):
        checks.states()
    assert len(looks) == 1
    clock.now += 5
    checks.states()
    assert len(looks) == 2


def test_in_the_background_nobody_who_asks_looks(make: Callable[..., Checks], clock: Clocks) -> None:
    checks, askers = make(), list[int]()

    def look() -> dict[str, str]:
        askers.append(threading.get_ident())
        return {"status": "ok"}

    checks.add("one", look)
    checks.start()
    wait_until(lambda: len(askers) >= 1 and checks.states()["one"].get("status") == "ok")
    clock.now += 3600
    assert checks.states()["one"]["status"] == "ok"
    wait_until(lambda: len(askers) >= 2)  # by itself
    checks.close()
    assert threading.get_ident() not in askers


def test_a_look_that_hangs_is_not_waited_for_and_not_repeated(make: Callable[..., Checks], clock: Clocks) -> None:
    checks, begun, end = make(0.0, deadline_s=0.05), list[int](), threading.Event()

    def hang() -> dict[str, str]:
        begun.append(1)
        end.wait(30)
        return {"status": "ok"}

    looks: list[int] = []
    checks.add("hangs", hang)
    checks.add("well", counted(looks))
    for _ in range(3):
        found = checks.states()
        assert (found["hangs"]["status"], found["hangs"]["reason"]) == ("unavailable", "no answer within 0.05 s")
        assert found["well"]["status"] == "ok"
    assert (len(begun), len(looks)) == (1, 3)
    end.set()
    wait_until(lambda: checks.states()["hangs"]["status"] == "ok")


def test_a_look_that_fails_says_nothing_of_why(make: Callable[..., Checks], caplog: pytest.LogCaptureFixture) -> None:
    checks = make()

    def fail() -> dict[str, str]:
        raise OSError("password=hunter2")

    checks.add("fails", fail)
    found = checks.states()["fails"]
    assert (found["status"], found["reason"]) == ("unavailable", "it could not be looked at")
    assert "hunter2" not in str(found)
    assert "a part could not be looked at: fails" in caplog.text


def test_since_is_the_last_change(make: Callable[..., Checks], clock: Clocks) -> None:
    checks, status = make(), ["ok"]
    checks.add("one", lambda: {"status": status[0]})
    checks.states()
    clock.now += 60
    assert checks.states()["one"]["since"] == "2026-11-24T12:00:00Z"
    status[0] = "degraded"
    clock.now += 60
    assert checks.states()["one"] == {"status": "degraded", "since": "2026-11-24T12:02:00Z", "latency_ms": 0.0}
    clock.now += 60
    assert checks.states()["one"]["since"] == "2026-11-24T12:02:00Z"


def test_a_worker_that_begins_takes_over_since_when(tmp_path: Path, clock: Clocks) -> None:
    first = Since(tmp_path / "health.json", clock)
    assert (first.of("database", "ok"), first.of("disk", "degraded")) == (NOON, NOON)
    clock.now += 3600
    first.confirm()
    clock.now += KNOWN_S
    second = Since(tmp_path / "health.json", clock)
    assert (second.of("database", "ok"), second.of("disk", "ok")) == (NOON, NOON + 3600 + KNOWN_S)
    clock.now += KNOWN_S + 1  # nobody has looked for a minute: nobody knows what was meanwhile
    assert Since(tmp_path / "health.json", clock).of("database", "ok") == clock.now


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"database": 3}', b'{"database": ["ok", "then"]}'])
def test_a_file_that_makes_no_sense_is_nothing(tmp_path: Path, clock: Clocks, content: bytes) -> None:
    (tmp_path / "health.json").write_bytes(content)
    assert Since(tmp_path / "health.json", clock).of("database", "ok") == NOON


def test_a_folder_that_cannot_be_written_is_no_fault(tmp_path: Path, clock: Clocks) -> None:
    (tmp_path / "file").write_bytes(b"")
    since = Since(tmp_path / "file" / "health.json", clock)
    assert since.of("database", "ok") == NOON
    clock.now += 1
    assert since.of("database", "ok") == NOON
    since.confirm()
