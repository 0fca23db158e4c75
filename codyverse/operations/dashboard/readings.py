"""The samples of this host's metrics, to be asked by name and label; what was not measured is None."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from codyverse.operations.gauges import Sample


class Readings:
    """Samples of one moment."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._by_name: dict[str, list[tuple[Mapping[str, str], float]]] = defaultdict(list)
        for sample in samples:
            self._by_name[sample.name].append((sample.labels, sample.value))

    def __bool__(self) -> bool:
        """Say whether there is any."""
        return bool(self._by_name)

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Return the sums of those that have these labels, by the values of one label."""
        sums: dict[str, float] = defaultdict(float)
        for of_sample, value in self._matching(name, labels):
            if label in of_sample:
                sums[of_sample[label]] += value
        return dict(sums)

    def total(self, name: str, **labels: str) -> float | None:
        """Return the sum of those that have these labels."""
        found = [value for _, value in self._matching(name, labels)]
        return sum(found) if found else None

    def _matching(self, name: str, labels: Mapping[str, str]) -> Iterable[tuple[Mapping[str, str], float]]:
        for of_sample, value in self._by_name.get(name, ()):
            if all(of_sample.get(label) == wanted for label, wanted in labels.items()):
                yield of_sample, value
