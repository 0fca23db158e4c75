"""Sums of counters as they were read before, for as long as a rule looks back."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping

from codyverse.operations.alerts.expressions import LOOKBACK_S

_SAME_S = 1e-6  # moments are sums of fractions


class Readings:
    """What was read, the oldest first."""

    def __init__(self, kept_s: float, found: Iterable[tuple[float, Mapping[str, float]]] = ()) -> None:
        self._kept_s = kept_s + LOOKBACK_S
        self._moments: list[float] = []
        self._sums: list[Mapping[str, float]] = []
        for moment, sums in sorted(found, key=lambda each: each[0]):
            self.add(moment, sums)

    def add(self, moment: float, sums: Mapping[str, float]) -> None:
        """Keep what was read now. What lies after it was read before the clock was set back, and is forgotten."""
        last = bisect_right(self._moments, moment - _SAME_S)
        first = bisect_right(self._moments, self.oldest(moment) - _SAME_S)
        self._moments = [*self._moments[first:last], moment]
        self._sums = [*self._sums[first:last], sums]

    def at(self, moment: float) -> Mapping[str, float] | None:
        """Return the sums that were read last then, None when that was longer ago than LOOKBACK_S before."""
        index = bisect_right(self._moments, moment + _SAME_S) - 1
        return self._sums[index] if index >= 0 and moment - self._moments[index] <= LOOKBACK_S else None

    def oldest(self, now: float) -> float:
        """Return the moment before which nothing is needed any more."""
        return now - self._kept_s
