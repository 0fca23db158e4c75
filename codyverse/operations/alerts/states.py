"""How an alert comes and goes: inactive, pending while its condition has not held for long enough, firing until it has cleared.

What is unknown does not hold. The steps are Prometheus' own (`for` and `keep_firing_for`), so that both are in the same state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from codyverse.operations.alerts.rules import Rule

State = Literal["inactive", "pending", "firing"]
INACTIVE: State = "inactive"
PENDING: State = "pending"
FIRING: State = "firing"


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of one alert, in Unix time: wall clocks are what a restart and another process share.

    `since` is when the state began; of a pending one, when the condition began to hold. `untrue_since` is when the condition of
    one that fires ceased to hold.
    """

    state: State
    since: float
    value: float | None = None
    untrue_since: float | None = None


def step(rule: Rule, standing: Standing, value: float | None, now: float) -> Standing:
    """Return where the alert stands now."""
    standing = replace(standing, value=value, since=min(standing.since, now))  # a clock may be set back
    if rule.holds(value):
        return _true(rule, standing, now)
    if standing.state == FIRING:
        untrue_since = now if standing.untrue_since is None else min(standing.untrue_since, now)
        if now - untrue_since < rule.clear_s:
            return replace(standing, untrue_since=untrue_since)
    return standing if standing.state == INACTIVE else Standing(INACTIVE, now, value)


def _true(rule: Rule, standing: Standing, now: float) -> Standing:
    if standing.state == FIRING:
        return replace(standing, untrue_since=None)
    since = standing.since if standing.state == PENDING else now
    return Standing(FIRING, now, standing.value) if now - since >= rule.for_s else Standing(PENDING, since, standing.value)
