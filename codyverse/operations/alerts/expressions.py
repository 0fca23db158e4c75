"""What a rule measures, in a vocabulary so small that Prometheus and the evaluator of one machine mean the same by it.

- A level: gauges now, as their largest, smallest, sum or number; or each divided by another gauge with the same labels.
- A rise: by how much counters grew over a window, all of them together.
- A share: one rise in another, unknown while the other is less than `at_least`.

A rise is the sum of the counters now less their sum at the beginning of the window, where one that did not exist yet counts as
zero. Sums that fell were begun anew: what is there now is the rise then. (Prometheus' own `increase` extrapolates, and overlooks
the first value of a counter, such as that of the first errors.) It is unknown while nothing was read at the beginning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from codyverse.operations.gauges import Sample

LOOKBACK_S = 300.0  # how old what was read last may be when it stands for a moment; Prometheus' own default
JOB = "codyverse"  # of the server in Prometheus' configuration


class Sums(Protocol):
    """What was read at a moment: sums of counters by their selector's text."""

    def at(self, moment: float) -> Mapping[str, float] | None:
        """Return the sums that were read last then, None when that was longer ago than LOOKBACK_S before."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known at a moment: the figures now, and the sums of counters at earlier ones."""

    moment: float
    samples: Iterable[Sample]
    sums: Sums


@dataclass(frozen=True)
class Selector:
    """Figures of one name whose labels match: alternatives with `|` between them, in which a dot is any character."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    except_labels: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return it as Prometheus writes it."""
        terms = [f'job="{JOB}"']
        terms += [f'{name}=~"{pattern}"' for name, pattern in self.labels.items()]
        terms += [f'{name}!~"{pattern}"' for name, pattern in self.except_labels.items()]
        return f"{self.name}{{{','.join(terms)}}}"

    def find(self, samples: Iterable[Sample]) -> list[Sample]:
        """Return the samples that match."""
        return [sample for sample in samples if sample.name == self.name and self._matches(sample.labels)]

    def _matches(self, labels: Mapping[str, str]) -> bool:
        return all(re.fullmatch(pattern, labels.get(name, "")) for name, pattern in self.labels.items()) and not any(
            re.fullmatch(pattern, labels.get(name, "")) for name, pattern in self.except_labels.items()
        )


_TAKE: Mapping[str, Callable[[list[float]], float]] = {"max": max, "min": min, "sum": sum, "count": len}
TAKES = tuple(_TAKE)


@dataclass(frozen=True)
class Level:
    """Gauges now. Unknown while there are none, but for their number, which is zero then."""

    gauge: Selector
    take: str
    divided_by: Selector | None = None

    @property
    def counters(self) -> tuple[Selector, ...]:
        """Return the counters whose sums have to be known at earlier moments."""
        return ()

    @property
    def longest_s(self) -> float:
        """Return how far back they have to be known."""
        return 0.0

    def value(self, reading: Reading) -> float | None:
        """Return the level, None when it is unknown."""
        levels = [sample.value for sample in self._divided(self.gauge.find(reading.samples), reading)]
        return _TAKE[self.take](levels) if levels or self.take == "count" else None

    def _divided(self, samples: list[Sample], reading: Reading) -> list[Sample]:
        if self.divided_by is None:
            return samples
        whole = {frozenset(sample.labels.items()): sample.value for sample in self.divided_by.find(reading.samples)}
        pairs = ((sample, whole.get(frozenset(sample.labels.items()), 0.0)) for sample in samples)
        return [Sample(sample.name, sample.labels, sample.value / other) for sample, other in pairs if other > 0]


@dataclass(frozen=True)
class Rise:
    """By how much counters grew over so many seconds."""

    counter: Selector
    over_s: float

    @property
    def counters(self) -> tuple[Selector, ...]:
        """Return the counters whose sums have to be known at earlier moments."""
        return (self.counter,)

    @property
    def longest_s(self) -> float:
        """Return how far back they have to be known."""
        return self.over_s

    def value(self, reading: Reading) -> float | None:
        """Return the rise, None when it is unknown."""
        now, before = reading.sums.at(reading.moment), reading.sums.at(reading.moment - self.over_s)
        text = str(self.counter)
        if now is None or before is None or text not in now or text not in before:  # a rule may be new
            return None
        rise = now[text] - before[text]
        return rise if rise >= 0 else now[text]


@dataclass(frozen=True)
class Share:
    """One rise in another."""

    part: Rise
    whole: Rise
    at_least: float

    @property
    def counters(self) -> tuple[Selector, ...]:
        """Return the counters whose sums have to be known at earlier moments."""
        return (self.part.counter, self.whole.counter)

    @property
    def longest_s(self) -> float:
        """Return how far back they have to be known."""
        return self.whole.over_s

    def value(self, reading: Reading) -> float | None:
        """Return the share (0 to 1), None when it is unknown or says nothing."""
        part, whole = self.part.value(reading), self.whole.value(reading)
        return part / whole if part is not None and whole is not None and whole >= self.at_least else None


Expression: TypeAlias = Level | Rise | Share


def sums(selectors: Iterable[Selector], samples: Iterable[Sample]) -> dict[str, float]:
    """Return the sum of what each selector finds, by the selector's text."""
    samples = list(samples)
    return {str(selector): float(sum(sample.value for sample in selector.find(samples))) for selector in selectors}
