"""How checks are made: each in its own time, what it raises caught, after what it needs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from codyverse.operations.doctor.check import FAULT, OK, SKIPPED, Group, examine, fault, ok, warning
from codyverse.operations.doctor.deployment import Deployment

HERE = cast(Deployment, object())


def add(group: Group, name: str, look: Any, **options: Any) -> None:
    group.check(name, f"{name} holds", why="", mend="", **options)(look)


@pytest.fixture
def group() -> Group:
    return Group("parts")


@pytest.fixture
def let_go() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_it_works(group: Group) -> None:
    add(group, "well", lambda it: ok("three of three"))
    add(group, "odd", lambda it: warning("It is odd."))
    results = examine(HERE, group.checks)
    assert [(one.check.name, one.finding.status, one.finding.what) for one in results] == [
        ("well", OK, "three of three"),
        ("odd", "warning", "It is odd."),
    ]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("postgresql://ada:a password@host"), "It could not be checked: ValueError."),
        (SystemExit(2), "It could not be checked: SystemExit."),
        (PermissionError(13, "Permission denied", "/etc/shadow"), "It could not be checked: PermissionError, Permission denied."),
    ],
)
def test_a_check_that_crashes_is_a_fault_without_the_text_of_the_error(error: BaseException, told: str, group: Group) -> None:
    def crash(_: Deployment) -> Any:
        raise error

    add(group, "crashing", crash)
    add(group, "well", lambda it: ok())
    crashed, well = examine(HERE, group.checks)
    assert crashed.finding == fault(told)
    assert well.finding.status == OK


def test_a_check_that_hangs_is_a_fault_and_keeps_nobody(group: Group, let_go: threading.Event) -> None:
    def hang(_: Deployment) -> Any:
        let_go.wait(60)
        return ok()

    add(group, "hanging", hang, within_s=0.05)
    add(group, "well", lambda it: ok())
    hung, well = examine(HERE, group.checks)
    assert hung.finding == fault("It could not be checked within 0.05 s.")
    assert well.finding.status == OK


def test_what_needs_something_broken_is_not_looked_at(group: Group) -> None:
    looked: list[str] = []
    add(group, "ground", lambda it: fault("It is gone."))
    add(group, "house", lambda it: looked.append("house") or ok(), needs="ground")
    add(group, "roof", lambda it: looked.append("roof") or ok(), needs="house")
    ground, house, roof = examine(HERE, group.checks)
    assert (ground.finding.status, house.finding.status, roof.finding.status) == (FAULT, SKIPPED, SKIPPED)
    assert house.finding.what == "Not looked at, since it does not hold that: ground holds."
    assert not looked


def test_what_is_needed_is_looked_at_once_and_told_with_its_group_only(group: Group) -> None:
    looked: list[str] = []
    add(group, "ground", lambda it: looked.append("ground") or ok())
    other = Group("others")
    add(other, "house", lambda it: ok(), needs="ground")
    add(other, "shed", lambda it: ok(), needs="ground")
    results = examine(HERE, [*group.checks, *other.checks], ["others"])
    assert [one.check.name for one in results] == ["house", "shed"]
    assert looked == ["ground"]


def test_a_part_that_a_deployment_does_not_have_is_skipped() -> None:
    group = Group("parts", lambda it: "There is none.")
    add(group, "part", lambda it: fault("It is broken."))
    assert examine(HERE, group.checks)[0].finding == (SKIPPED, "There is none.")
