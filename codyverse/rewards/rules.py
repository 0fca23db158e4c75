"""How much is earned, and what level it makes. Pure arithmetic in whole numbers."""

from __future__ import annotations

from typing import NamedTuple

# XP needed for level 1 to 10. From there a level costs 500 more than the one before it did: level 11 takes 2,000 XP more than
# level 10, level 12 another 2,500, and so on.
XP_FOR_FIRST_LEVELS = (0, 100, 300, 600, 1000, 1500, 2200, 3000, 4000, 5500)
COINS_PER_XP_DIVISOR = 5


class Reward(NamedTuple):
    """What a completion earns."""

    xp: int
    coins: int


def reward_for_lesson(lesson_xp: int) -> Reward:
    """Return the reward of a theory, interactive or lab lesson: its XP, and one fifth of it in coins."""
    return _rounded(lesson_xp, 1)


def reward_for_quiz(lesson_xp: int, points: int, points_possible: int) -> Reward:
    """Return the reward of a quiz: its XP × (0.5 + points / points_possible), and one fifth of that in coins."""
    return _rounded(lesson_xp * (points_possible + 2 * points), 2 * points_possible)


def _rounded(numerator: int, denominator: int) -> Reward:
    """Round XP and coins once each, halves up, both from the exact value."""
    coins_denominator = denominator * COINS_PER_XP_DIVISOR
    return Reward(
        (2 * numerator + denominator) // (2 * denominator),
        (2 * numerator + coins_denominator) // (2 * coins_denominator),
    )


def xp_for_level(level: int) -> int:
    """Return the XP at which a level, 1 or higher, begins."""
    if level <= len(XP_FOR_FIRST_LEVELS):
        return XP_FOR_FIRST_LEVELS[level - 1]
    above = level - len(XP_FOR_FIRST_LEVELS)
    return XP_FOR_FIRST_LEVELS[-1] + 1500 * above + 250 * above * (above + 1)


def level_for(xp: int) -> int:
    """Return the level that an amount of XP, 0 or more, has reached."""
    level = 1
    step = 1
    while xp_for_level(level + step) <= xp:  # double the step, then halve it: the levels have no end
        level += step
        step *= 2
    while step:
        if xp_for_level(level + step) <= xp:
            level += step
        step //= 2
    return level
