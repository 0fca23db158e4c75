"""How much memory a process gains by a request: the median of the slopes between all pairs of samples (Theil and Sen).

A few samples that are far off, such as one large answer that was just being made, do not move it.
"""

from __future__ import annotations

from collections import deque
from itertools import combinations
from statistics import median

SAMPLES = 30
FEWEST = 5  # samples for any slope at all
RISING = 0.9  # share of the pairs that rise when growth is steady
SLOWING = 0.5  # growth of the newer half against that of the older one, below which it is a process that warms up


class Trend:
    """The last SAMPLES samples of the last so many requests."""

    def __init__(self, window_requests: int) -> None:
        self.slope: float | None = None  # bytes a request; None while there are too few samples
        self.steady = False  # whether it grew through the whole window, and did not slow down
        self._apart = max(1, window_requests // SAMPLES)
        self._samples: deque[tuple[int, float, float]] = deque(maxlen=SAMPLES)

    @property
    def requests(self) -> int:
        """Return how many requests lie between the first sample and the last."""
        return self._samples[-1][0] - self._samples[0][0] if self._samples else 0

    @property
    def requests_a_second(self) -> float:
        """Return how fast requests came meanwhile, 0 when that is not known."""
        elapsed_s = self._samples[-1][2] - self._samples[0][2] if self._samples else 0.0
        return self.requests / elapsed_s if elapsed_s > 0 else 0.0

    def add(self, requests: int, rss_bytes: float, now: float) -> None:
        """Take a sample, if enough requests were answered since the last one."""
        if self._samples and requests - self._samples[-1][0] < self._apart:
            return
        self._samples.append((requests, rss_bytes, now))
        self._judge()

    def forget(self) -> None:
        """Begin anew: what comes now does not continue what was."""
        self._samples.clear()
        self.slope, self.steady = None, False

    def _judge(self) -> None:
        samples = list(self._samples)
        if len(samples) < FEWEST:
            return
        slopes = _slopes(samples)
        self.slope = median(slopes)
        self.steady = False
        if len(samples) == SAMPLES and sum(slope > 0 for slope in slopes) >= RISING * len(slopes):
            older, newer = median(_slopes(samples[: SAMPLES // 2])), median(_slopes(samples[SAMPLES // 2 :]))
            self.steady = newer > 0 and newer >= SLOWING * older


def _slopes(samples: list[tuple[int, float, float]]) -> list[float]:
    return [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(samples, 2)]
