"""Whether the canary is worse than stable, as far as the numbers can tell.

Rates of few requests say little, so bounds are compared and not the rates: of errors the lower bound of the difference of two
proportions (Newcombe 1998, method 10: Wilson's intervals combined), of times the order statistics around the 95th percentile
(binomial, normal approximation). Both are looked at again and again while a window slides, hence three standard errors, not two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, hypot, sqrt

Z = 3.0
LEAST = 20  # requests, below which nothing is said
LEAST_SLOWER_MS = 10  # below which nobody notices, and small times differ by chance of the machine


@dataclass(frozen=True, slots=True)
class Answers:
    """What one track answered in the window. Requests and errors are counted; times may be missing of some requests."""

    requests: int = 0
    errors: int = 0
    times_ms: Sequence[int] = ()

    def __str__(self) -> str:
        if not self.requests:
            return "no requests"
        low_high = p95_bounds(self.times_ms)
        p95 = f"p95 {percentile(self.times_ms, 0.95)} ms" if low_high else "p95 unknown"
        return f"{self.errors / self.requests:.1%} errors of {self.requests}, {p95}"


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How much worse a canary may be: by how many errors per request, and at how many times stable's p95."""

    errors: float = 0.01
    slower: float = 1.5


def why_worse(canary: Answers, stable: Answers, tolerance: Tolerance) -> str | None:
    """Return in what the canary is worse, None when it is not or too few requests are known."""
    if canary.requests >= LEAST and excess_of_errors(canary, stable) > tolerance.errors:
        return "it answers more errors"
    mine, theirs = p95_bounds(canary.times_ms), p95_bounds(stable.times_ms)
    if mine and theirs and mine[0] > max(theirs[1] * tolerance.slower, theirs[1] + LEAST_SLOWER_MS):
        return "it is slower"
    return None


def excess_of_errors(canary: Answers, stable: Answers, z: float = Z) -> float:
    """Return the least by which the canary's share of errors is above stable's; few requests to stable count as none."""
    share = canary.errors / canary.requests
    low, _ = wilson(canary.errors, canary.requests, z)
    if stable.requests < LEAST:
        return low
    other = stable.errors / stable.requests
    _, high = wilson(stable.errors, stable.requests, z)
    return share - other - hypot(share - low, high - other)


def wilson(errors: int, requests: int, z: float = Z) -> tuple[float, float]:
    """Return Wilson's interval of a proportion; requests must be above 0."""
    share, z2 = errors / requests, z * z
    middle = share + z2 / (2 * requests)
    half = z * sqrt(share * (1 - share) / requests + z2 / (4 * requests * requests))
    return (middle - half) / (1 + z2 / requests), (middle + half) / (1 + z2 / requests)


def p95_bounds(times_ms: Sequence[int]) -> tuple[int, int] | None:
    """Return a lower and an upper bound of the 95th percentile, the upper one at the most the largest; None for too few times."""
    count = len(times_ms)
    if count < LEAST:
        return None
    off = Z * sqrt(0.95 * 0.05 / count)
    return percentile(times_ms, 0.95 - off), percentile(times_ms, min(0.95 + off, 1.0))


def percentile(times_ms: Sequence[int], share: float) -> int:
    """Return the smallest time that this share of all times does not exceed (nearest rank)."""
    ordered = sorted(times_ms)
    return ordered[max(ceil(share * len(ordered)), 1) - 1]
