from __future__ import annotations

import pytest

from codyverse.operations.dashboard import units


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "–"),
        (0, "0 %"),
        (0.004, "< 0.01 %"),
        (0.1, "0.1 %"),
        (12.345, "12.35 %"),
        (99.9, "99.9 %"),
        (99.996, "> 99.99 %"),
        (100, "100 %"),
    ],
)
def test_a_share_is_never_better_or_worse_than_it_is(value: float | None, written: str) -> None:
    assert units.percent(value) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [(None, "–"), (0, "0 ms"), (0.001, "< 0.01 ms"), (0.42, "0.42 ms"), (99.4, "99 ms"), (999.9, "1000 ms"), (1200, "1.2 s")],
)
def test_times(value: float | None, written: str) -> None:
    assert units.milliseconds(value) == written


@pytest.mark.parametrize(
    ("value", "written"), [(None, "–"), (0, "0"), (0.25, "0.25"), (7, "7"), (99.96, "99.96"), (12345.4, "12,345")]
)
def test_numbers(value: float | None, written: str) -> None:
    assert units.number(value) == written


@pytest.mark.parametrize(
    ("value", "written"), [(None, "–"), (0, "0.0 KiB"), (1536, "1.5 KiB"), (312 * 2**20, "312 MiB"), (1.5 * 2**40, "1.5 TiB")]
)
def test_sizes(value: float | None, written: str) -> None:
    assert units.size(value) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [(None, "–"), (-3, "0 s"), (59.9, "59 s"), (720, "12 min"), (12_000, "3 h 20 min"), (187_200, "2 d 4 h")],
)
def test_durations(value: float | None, written: str) -> None:
    assert units.duration(value) == written


def test_moments_are_utc_and_say_so() -> None:
    assert units.moment(1_700_000_000) == "14 Nov, 22:13:20 UTC"
    assert units.machine_time(1_700_000_000) == "2023-11-14T22:13:20+00:00"
