"""When the canary counts as worse: the statistics alone."""

from __future__ import annotations

import random

import pytest

from codyverse.operations.deploy.judgement import (
    LEAST,
    Answers,
    Tolerance,
    excess_of_errors,
    p95_bounds,
    percentile,
    why_worse,
    wilson,
)

TOLERANCE = Tolerance()
FINE = Answers(900, 0, [20] * 900)


def judged(canary, stable=FINE, tolerance=TOLERANCE):
    return why_worse(canary, stable, tolerance)


def test_it_works():
    assert judged(Answers(100, 0, [20] * 100)) is None
    assert judged(Answers(100, 30, [20] * 100)) == "it answers more errors"
    assert judged(Answers(100, 0, [200] * 100)) == "it is slower"


def test_wilson_as_published():
    """Newcombe 1998, table I, has 81 of 263 at 95 %: 0.2553 to 0.3662."""
    low, high = wilson(81, 263, z=1.959964)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_newcombe_as_published():
    """Newcombe 1998 (the second paper), table II, method 10 at 95 %: 56 of 70 less 48 of 80 has the lower bound 0.0524."""
    low = excess_of_errors(Answers(70, 56), Answers(80, 48), z=1.959964)
    assert round(low, 4) == 0.0524


@pytest.mark.parametrize("count", [1, LEAST - 1])
def test_few_requests_say_nothing(count):
    assert judged(Answers(count, count, [5000] * count)) is None
    assert judged(Answers(LEAST, LEAST)) == "it answers more errors"


def test_a_single_error_is_none():
    assert judged(Answers(LEAST, 1)) is None


def test_errors_that_both_have_are_nobodys():
    assert judged(Answers(100, 50, [20] * 100), Answers(900, 450, [20] * 900)) is None


def test_a_tolerated_excess_is_tolerated():
    canary = Answers(10_000, 400)
    assert judged(canary, Answers(90_000, 0)) == "it answers more errors"
    assert judged(canary, Answers(90_000, 0), Tolerance(errors=0.05)) is None


@pytest.mark.parametrize("stable", [Answers(), Answers(LEAST - 1, LEAST - 1)])
def test_without_a_stable_to_compare_with_errors_are_still_errors(stable):
    assert judged(Answers(100, 30), stable) == "it answers more errors"
    assert judged(Answers(100, 0, [5000] * 100), stable) is None  # but what is slow?


def test_slowness_that_both_have_is_nobodys():
    assert judged(Answers(100, 0, [800] * 100), Answers(900, 0, [800] * 900)) is None


def test_a_few_slow_answers_are_no_slowness():
    assert judged(Answers(100, 0, [20] * 98 + [3000] * 2)) is None


def test_who_is_slow_for_one_in_ten_is_slow():
    assert judged(Answers(400, 0, [20] * 360 + [3000] * 40)) == "it is slower"


def test_milliseconds_that_nobody_notices():
    assert judged(Answers(100, 0, [9] * 100), Answers(900, 0, [1] * 900)) is None


def test_times_within_the_ratio():
    assert judged(Answers(100, 0, [290] * 100), Answers(900, 0, [200] * 900)) is None
    assert judged(Answers(100, 0, [310] * 100), Answers(900, 0, [200] * 900)) == "it is slower"
    assert judged(Answers(100, 0, [310] * 100), Answers(900, 0, [200] * 900), Tolerance(slower=2)) is None


def test_percentiles_are_nearest_ranks():
    times = list(range(100, 0, -1))
    assert [percentile(times, share) for share in (0.0, 0.01, 0.5, 0.95, 1.0)] == [1, 1, 50, 95, 100]
    low, high = p95_bounds(times)
    assert low < 95 < high <= 100
    assert p95_bounds([5] * (LEAST - 1)) is None


def test_a_canary_like_stable_is_hardly_ever_blamed():
    """600 looks at twins, both with 2 % errors and long-tailed times: at three standard errors one blame in some hundreds."""
    chance = random.Random(5)

    def drawn(count):
        return Answers(
            count, sum(chance.random() < 0.02 for _ in range(count)), [int(chance.lognormvariate(3, 0.8)) for _ in range(count)]
        )

    assert sum(judged(drawn(60), drawn(540)) is not None for _ in range(600)) <= 3


def test_figures_in_a_line():
    assert str(Answers()) == "no requests"
    assert str(Answers(200, 3)) == "1.5% errors of 200, p95 unknown"
    assert str(Answers(20, 0, list(range(20)))) == "0.0% errors of 20, p95 18 ms"
