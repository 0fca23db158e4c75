"""How often each key was asked for lately, roughly: a count-min sketch that forgets (Einziger et al., "TinyLFU", 2017).

It takes 64 KiB however many keys there are, so whoever makes up addresses fills nothing with them. Two keys may share a count;
Python's hashes of texts are salted anew in each process, so nobody can choose which.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable

HALF_LIFE_S = 60.0
_ROW = 32_768
_HALVES = bytes(count // 2 for count in range(256))


class Doorkeeper:
    """The counts. `epoch` is how often they were halved, for those who count along."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.epoch = 0
        self._clock = clock
        self._halved_at = clock()
        self._counts = bytearray(2 * _ROW)
        self._turn = threading.Lock()

    def count(self, key: Hashable) -> None:
        """Note that a key was asked for."""
        with self._turn:
            self._forget()
            for place in self._places(key):
                self._counts[place] = min(255, self._counts[place] + 1)

    def estimate(self, key: Hashable) -> int:
        """Return how often, at the most, a key was asked for; what is a minute old counts half, and so on."""
        if self._clock() - self._halved_at >= HALF_LIFE_S:
            with self._turn:
                self._forget()
        return min(self._counts[place] for place in self._places(key))

    @staticmethod
    def _places(key: Hashable) -> tuple[int, int]:
        hashed = hash(key)
        return hashed % _ROW, _ROW + (hashed >> 20) % _ROW

    def _forget(self) -> None:
        halvings = int((self._clock() - self._halved_at) / HALF_LIFE_S)
        self._halved_at += halvings * HALF_LIFE_S
        self.epoch += halvings
        for _ in range(min(halvings, 8)):
            self._counts = self._counts.translate(_HALVES)
