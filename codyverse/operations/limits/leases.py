"""Counting without asking the shared counters at every request: a process takes several entries at once and spends them.

What was taken is counted, so a limit is never exceeded. What is not spent within LIFETIME_S is given back, so a client is refused
too early by no more than other processes hold for him in that time, and they hold less the less is left: 1/32 of it at the most,
nothing when fewer than 32 are left. Only clients that ask often are given more than one entry at a time.

The idea is that of leases in distributed rate limiting (Raghavan et al., "Cloud control with distributed rate limiting", 2007).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from limits import RateLimitItem

from codyverse.operations.limits.headers import Standing, standing
from codyverse.operations.limits.tiers import Tiers

LIFETIME_S = 1.0
LARGEST = 1_000  # entries, which only a limit of more than 32,000 leaves room for
SHARE_OF_REMAINING = 32
MOST = 50_000  # leases of a process; beyond it entries are taken one by one


class Exceeded(Exception):
    """One request too many; `standing` says with which policy and until when."""

    def __init__(self, told: Standing) -> None:
        super().__init__(told.policy)
        self.standing = told


@dataclass(slots=True)
class _Lease:
    size: int
    unspent: int
    remaining: int  # beyond those of this lease
    ends_at: float
    window_ends_at: float


class Leases:
    """Entries that this process has taken."""

    def __init__(self, tiers: Tiers, clock: Callable[[], float] = time.time) -> None:
        self._tiers = tiers
        self._clock = clock
        self._leases: dict[str, _Lease] = {}
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._sweeping = False

    def spend(self, policy: str, item: RateLimitItem, key: str) -> Standing:
        """Count one request and return how the client stands then. Raises Exceeded."""
        now = self._clock()
        with self._guard:
            lease = self._leases.get(key)
            if lease is not None and lease.unspent and now < lease.ends_at:
                lease.unspent -= 1
                return _standing(policy, item, lease, now)
        return self._take(policy, item, key, lease, now)

    def give_back(self, all_of_them: bool = True) -> None:
        """Give back what was not spent: of leases that have ended, or of all."""
        now = self._clock()
        with self._guard:
            ended = [(key, lease) for key, lease in self._leases.items() if all_of_them or lease.ends_at <= now]
            for key, _ in ended:
                del self._leases[key]
            self._sweeping = self._sweeping and bool(self._leases)
        for key, lease in ended:
            self._release(key, lease)

    def close(self) -> None:
        """Give everything back."""
        self._ended.set()
        self.give_back()

    def _take(self, policy: str, item: RateLimitItem, key: str, last: _Lease | None, now: float) -> Standing:
        amount, expiry_s = item.amount, item.get_expiry()
        # The last one was spent before its end: this client asks often.
        wanted = min(2 * last.size, LARGEST, last.remaining // SHARE_OF_REMAINING) if last and now < last.ends_at else 1
        size = max(1, wanted)
        window = self._tiers.acquire_window(key, amount, expiry_s, size)
        if window is None and size > 1:
            size = 1
            window = self._tiers.acquire_window(key, amount, expiry_s)
        if window is None:
            raise Exceeded(standing(policy, item, self._tiers.get_sliding_window(key, expiry_s)))
        told = standing(policy, item, window)
        taken = _Lease(size, size - 1, told.remaining, now + min(LIFETIME_S, told.wait_s), now + told.wait_s)
        if taken.unspent or told.remaining >= SHARE_OF_REMAINING:
            self._keep(key, taken)
        return Standing(policy, amount, expiry_s, told.remaining + taken.unspent, told.wait_s)

    def _keep(self, key: str, lease: _Lease) -> None:
        with self._guard:
            before = self._leases.get(key)
            if before is None and len(self._leases) >= MOST:
                before = lease
            else:
                self._leases[key] = lease
                if not self._sweeping:
                    self._sweeping = True
                    threading.Thread(target=self._sweep, name="leases", daemon=True).start()
        if before is not None:  # it has ended, or another thread was as quick
            self._release(key, before)

    def _release(self, key: str, lease: _Lease) -> None:
        # After the end of their window the counter has forgotten them, or will have soon.
        if lease.unspent and self._clock() < lease.window_ends_at:
            self._tiers.release(key, lease.unspent)

    def _sweep(self) -> None:
        while not self._ended.wait(LIFETIME_S):
            self.give_back(all_of_them=False)
            with self._guard:
                if not self._sweeping:
                    return


def _standing(policy: str, item: RateLimitItem, lease: _Lease, now: float) -> Standing:
    wait_s = math.ceil(lease.window_ends_at - now)
    return Standing(policy, item.amount, item.get_expiry(), lease.remaining + lease.unspent, max(1, wait_s))
