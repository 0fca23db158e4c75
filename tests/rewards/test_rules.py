from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codyverse.rewards.rules import Reward, level_for, reward_for_lesson, reward_for_quiz, xp_for_level

FIRST = [0, 100, 300, 600, 1000, 1500, 2200, 3000, 4000, 5500]


def half_up(value: Fraction) -> int:
    return floor(value + Fraction(1, 2))


def test_it_works():
    assert reward_for_lesson(20) == Reward(xp=20, coins=4)
    assert reward_for_quiz(40, points=8, points_possible=10) == Reward(xp=52, coins=10)


@given(st.integers(5, 200), st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_quiz_is_rounded_once_from_the_exact_value(lesson_xp, score):
    points, possible = score
    exact = lesson_xp * (Fraction(1, 2) + Fraction(points, possible))
    assert reward_for_quiz(lesson_xp, points, possible) == (half_up(exact), half_up(exact / 5))


@given(st.integers(5, 200))
def test_every_reward_gives_something(lesson_xp):
    """The ledger refuses an entry of nothing."""
    assert min(reward_for_lesson(lesson_xp)) >= 1
    assert min(reward_for_quiz(lesson_xp, 0, 1)) >= 1


def test_the_first_levels_are_the_stated_ones():
    assert [xp_for_level(level) for level in range(1, 11)] == FIRST


def test_above_the_tenth_each_level_costs_500_more_than_the_one_before():
    steps = [xp_for_level(level + 1) - xp_for_level(level) for level in range(10, 40)]
    assert steps == [2000 + 500 * i for i in range(30)]


@pytest.mark.parametrize(("xp", "level"), [(0, 1), (99, 1), (100, 2), (5499, 9), (5500, 10), (7499, 10), (7500, 11)])
def test_a_level_begins_at_its_xp(xp, level):
    assert level_for(xp) == level


@given(st.integers(0, 10**12))
def test_the_level_is_the_highest_that_the_xp_reaches(xp):
    level = level_for(xp)
    assert xp_for_level(level) <= xp < xp_for_level(level + 1)
