from __future__ import annotations

import pytest

from codyverse.operations.dashboard import targets
from codyverse.operations.dashboard.targets import TARGETS, Figure, Points

NOW = 1_000_000.0
BY_KEY = {target.key: target for target in TARGETS}


def figures(memory: float | None = None, **series: Points) -> dict[str, Figure]:
    return {figure.key: figure for figure in targets.figures(lambda name: series.get(name, ()), memory, NOW)}


def test_without_figures_nothing_is_met_and_nothing_missed() -> None:
    for figure in figures().values():
        assert (figure.value, figure.is_met) == ("–", None)


def test_minutes_count_by_their_requests() -> None:
    requests = [(NOW - 7200, 99.0), (NOW - 60, 1.0)]

    found = figures(requests_per_s=requests, errors_percent=[(NOW - 7200, 0.0), (NOW - 60, 5.0)])

    assert found["errors"].value == "0.05 %"
    assert found["errors"].is_met
    assert found["errors"].lately == "last 5 min: 5 %"


def test_a_minute_without_requests_says_nothing() -> None:
    assert targets.weighted([(1, 50.0), (2, None)], [(1, 0.0), (2, 3.0)]) is None
    assert targets.weighted([(1, 50.0), (2, 100.0)], [(1, None), (2, 3.0)]) == 100.0


def test_memory_is_judged_by_what_it_is_now() -> None:
    found = figures(40.0, memory_percent=[(NOW - 7200, 97.0), (NOW - 60, 39.0)])["memory"]

    assert (found.value, found.is_met, found.lately) == ("40 %", True, "in 24 h up to 97 %")


@pytest.mark.parametrize(
    ("key", "met", "missed"),
    [
        ("availability", 99.9, 99.89),
        ("mean", 99.99, 100.0),
        ("memory", 84.99, 85.0),
        ("errors", 0.099, 0.1),
        ("cache", 90.01, 90.0),
    ],
)
def test_the_borders_are_those_of_the_report(key: str, met: float, missed: float) -> None:
    assert targets.is_met(BY_KEY[key], met) is True
    assert targets.is_met(BY_KEY[key], missed) is False
