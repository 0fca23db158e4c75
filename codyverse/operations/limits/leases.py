"""Counting without asking the shared counters at every request: a process takes several entries at once and spends them.

What was taken is counted, so a limit is never exceeded. Only clients that ask often are given more than one entry at a time. A
thread behind the requests fills what is nearly spent or about to end, for as long as its client goes on asking, so that few of
his requests wait for Redis; a counter on the host is as quick as a thread is woken, and is asked when it is needed. What is not
spent within LIFETIME_S is given back. So a client is refused too early by no more than other processes hold for him in that time,
and they hold less the less is left: 1/32 of it at the most, nothing when fewer than 32 are left.

The idea is that of leases in distributed rate limiting (Raghavan et al., "Cloud control with distributed rate limiting", 2007).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from limits import RateLimitItem

from codyverse.operations.limits.headers import Standing, standing
from codyverse.operations.limits.storage import Acquired, Ask
from codyverse.operations.limits.tiers import Tier, TierDown, Tiers

LIFETIME_S = 1.0
TICK_S = LIFETIME_S / 2  # how often the thread looks for leases that are about to end
LARGEST = 10_000  # entries, which only a limit of more than 320,000 leaves room for
SHARE_OF_REMAINING = 32
MOST = 50_000  # leases of a process; beyond it entries are taken one by one
OFTEN = 2  # requests during a lease, for which it is filled before it ends
WORTH_WAKING = 8  # entries of a lease that is filled when half of them are spent; a smaller one grows with the requests

Count = Callable[[str, float], None]


def nobody_counts(name: str, amount: float) -> None:
    """Count nothing."""


class Exceeded(Exception):
    """One request too many; `standing` says with which policy and until when."""

    def __init__(self, told: Standing) -> None:
        super().__init__(told.policy)
        self.standing = told


class Charge(NamedTuple):
    """What a request is counted against: a policy, and the key of its counter."""

    policy: str
    item: RateLimitItem
    key: str


@dataclass(slots=True)
class _Lease:
    tier: Tier  # that counted it
    policy: str
    item: RateLimitItem
    size: int  # when it was filled
    unspent: int
    low: int  # unspent entries at which it is filled again, -1 for never
    remaining: int  # beyond those of this lease
    ends_at: float
    window_ends_at: float
    granted: int  # requests that it has allowed or still may
    quota: int = field(init=False)  # of the item, which reckons them anew whenever it is asked
    window_s: int = field(init=False)

    def __post_init__(self) -> None:
        self.quota, self.window_s = self.item.amount, self.item.get_expiry()


class Leases:
    """Entries that this process has taken."""

    def __init__(self, tiers: Tiers, clock: Callable[[], float] = time.time, count: Count = nobody_counts) -> None:
        self._tiers = tiers
        self._clock = clock
        self._count = count
        self._leases: dict[str, _Lease] = {}
        self._taking: set[str] = set()  # keys that a thread takes entries of, which will make a lease
        self._low: set[str] = set()  # keys to fill
        self._replaced: list[tuple[str, _Lease]] = []  # to be given back
        self._guard = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def spend(self, *charges: Charge) -> Standing:
        """Count one request against policies, in this order; returns how the client stands with the one that leaves least.

        It is not counted against what comes after a policy that is exceeded. What is not at hand is asked for all at once. Raises
        Exceeded.
        """
        at_once = self.spend_at_hand(*charges)
        if at_once is not None:
            return at_once
        now = self._clock()
        told: list[Standing] = []
        with self._guard:
            for charge in charges:
                lease = self._at_hand(charge, now)
                if lease is None:
                    break
                self._spend(charge, lease)
                told.append(_standing(charge, lease, now))
            rest = charges[len(told) :]
            missing = [charge for charge in rest if self._at_hand(charge, now) is None]
        if missing:
            taken = self._take(missing, now)
            told += [taken[charge.key] if charge.key in taken else self.spend(charge) for charge in rest]
        return min(told, key=_remaining)

    def spend_at_hand(self, *charges: Charge) -> Standing | None:
        """Count like `spend`, for who must not wait: returns None, and counts nothing, unless all that it takes is at hand."""
        now = self._clock()
        least, left = 0, math.inf
        with self._guard:
            leases = []
            for charge in charges:  # as in _at_hand and _spend, whose calls every request would pay for
                lease = self._leases.get(charge.key)
                if lease is None or not lease.unspent or now >= lease.ends_at:
                    return None
                leases.append(lease)
            for number, lease in enumerate(leases):
                lease.unspent -= 1
                if lease.unspent == lease.low:
                    self._fill_soon(charges[number].key)
                if lease.remaining + lease.unspent < left:
                    least, left = number, lease.remaining + lease.unspent
            return _standing(charges[least], leases[least], now)

    def give_back(self, all_of_them: bool = True) -> None:
        """Give back what was not spent: of leases that have ended, or of all."""
        now = self._clock()
        with self._guard:
            given = [(key, lease) for key, lease in self._leases.items() if all_of_them or lease.ends_at <= now]
            for key, lease in given:
                del self._leases[key]
                self._count_allowed(lease)
            given += self._replaced
            self._replaced = []
        self._release((lease.tier, key, lease.unspent) for key, lease in given if now < lease.window_ends_at)

    def close(self) -> None:
        """Give everything back."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(5)
        self.give_back()

    def _at_hand(self, charge: Charge, now: float) -> _Lease | None:
        lease = self._leases.get(charge.key)
        return lease if lease is not None and lease.unspent and now < lease.ends_at else None

    def _spend(self, charge: Charge, lease: _Lease) -> None:
        lease.unspent -= 1
        if lease.unspent == lease.low:
            self._fill_soon(charge.key)

    def _fill_soon(self, key: str) -> None:
        self._low.add(key)
        self._wake.set()

    def _take(self, charges: Sequence[Charge], now: float) -> dict[str, Standing]:
        """Take an entry for each, and some more for clients that ask often. Raises Exceeded."""
        with self._guard:
            # One thread takes for all: what the others need meanwhile they take one by one.
            alone = {charge.key for charge in charges if charge.key not in self._taking}
            sizes = [self._size(charge.key, now) if charge.key in alone else 1 for charge in charges]
            self._taking |= alone
        try:
            asks = [_ask(charge.key, charge.item, size) for charge, size in zip(charges, sizes, strict=True)]
            tier, answers = self._tiers.acquire_windows(asks, in_order=True)
            return {
                charge.key: self._taken(charge, tier, answer, now, keep=charge.key in alone)
                for charge, answer in zip(charges, answers, strict=False)  # as many as were asked for
            }
        finally:
            with self._guard:
                self._taking -= alone

    def _size(self, key: str, now: float) -> int:
        last = self._leases.get(key)
        # The last one was spent before its end: this client asks often.
        return max(1, _within(2 * last.size, last)) if last is not None and now < last.ends_at else 1

    def _taken(self, charge: Charge, tier: Tier, answer: Acquired, now: float, keep: bool) -> Standing:
        told = standing(charge.policy, charge.item, answer.window)
        if not answer.entries:
            self._count(f"limit:{charge.policy}:refused", 1)
            raise Exceeded(told)
        taken = _filled(tier, charge.item, answer.entries, answer.entries - 1, told, now)
        if keep and (taken.unspent or told.remaining >= SHARE_OF_REMAINING):
            self._keep(charge.key, taken)
        else:
            self._count_allowed(taken)
        return Standing(charge.policy, told.quota, told.window_s, told.remaining + taken.unspent, told.wait_s)

    def _keep(self, key: str, lease: _Lease) -> None:
        with self._guard:
            before = self._leases.get(key)
            if before is None and len(self._leases) >= MOST:
                self._replaced.append((key, lease))
                self._count_allowed(lease)
            else:
                self._leases[key] = lease
                if before is not None:
                    self._count_allowed(before)
                if before is not None and before.unspent:
                    self._join(key, before, lease)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
                self._thread.start()

    def _join(self, key: str, before: _Lease, lease: _Lease) -> None:
        """Spend with a lease what another one left, which another thread has taken meanwhile, or which has ended."""
        if before.tier is lease.tier and before.window_ends_at > lease.ends_at:
            lease.unspent += before.unspent
            lease.size += before.unspent
            lease.granted += before.unspent
            lease.low = _low(lease)
        else:
            self._replaced.append((key, before))

    def _run(self) -> None:
        next_tick = time.monotonic() + TICK_S
        while not self._closed:
            woken = self._wake.wait(max(0.0, next_tick - time.monotonic()))
            self._wake.clear()
            is_tick = not woken or time.monotonic() >= next_tick
            self._fill(about_to_end=is_tick)
            if is_tick:
                next_tick = time.monotonic() + TICK_S
                self.give_back(all_of_them=False)
                with self._guard:
                    if not self._leases:
                        self._thread = None
                        return

    def _fill(self, about_to_end: bool) -> None:
        """Take entries ahead for clients that go on asking, and give back what they were given too many."""
        now = self._clock()
        with self._guard:
            due = self._due(now, about_to_end)
            self._taking |= due.keys()
            too_many = [(lease.tier, key, lease.unspent - size) for key, (lease, size) in due.items() if lease.unspent > size]
            asks = [_ask(key, lease.item, max(1, size - lease.unspent)) for key, (lease, size) in due.items()]
            for lease, size in due.values():
                lease.granted -= max(0, lease.unspent - size)
                lease.unspent = min(lease.unspent, size)
        try:
            if asks:
                tier, answers = self._tiers.acquire_windows(asks, in_order=False)
                for ask, answer in zip(asks, answers, strict=True):
                    if answer.entries:
                        item = due[ask.key][0].item
                        told = standing(due[ask.key][0].policy, item, answer.window)
                        self._keep(ask.key, _filled(tier, item, answer.entries, answer.entries, told, now))
        finally:
            with self._guard:
                self._taking -= due.keys()
        self._release(too_many)

    def _due(self, now: float, about_to_end: bool) -> dict[str, tuple[_Lease, int]]:
        """Return the leases that are to be filled, and how many entries each is to have then."""
        wanted = {key: 2 * self._leases[key].size for key in self._low if key in self._leases}
        self._low.clear()
        if about_to_end:
            for key, lease in self._leases.items():
                spent = lease.size - lease.unspent
                if lease.tier.is_far and spent >= OFTEN and now < lease.ends_at <= now + TICK_S:
                    wanted.setdefault(key, 2 * spent)
        sizes = {key: _within(size, self._leases[key]) for key, size in wanted.items() if key not in self._taking}
        return {key: (self._leases[key], size) for key, size in sizes.items() if size > 1}

    def _count_allowed(self, lease: _Lease) -> None:
        """Count what was spent of a lease that nobody spends of any more: counting each request would cost every hit."""
        if lease.granted > lease.unspent:
            self._count(f"limit:{lease.policy}:allowed", lease.granted - lease.unspent)

    def _release(self, given: Iterable[tuple[Tier, str, int]]) -> None:
        of_tiers: dict[Tier, list[tuple[str, int]]] = {}
        for tier, key, entries in given:
            if entries:
                of_tiers.setdefault(tier, []).append((key, entries))
        for tier, entries_of in of_tiers.items():
            with suppress(TierDown):
                tier.call("release_all", entries_of)


def _remaining(told: Standing) -> int:
    return told.remaining


def _standing(charge: Charge, lease: _Lease, now: float) -> Standing:
    wait_s = max(1, math.ceil(lease.window_ends_at - now))
    return Standing(charge.policy, lease.quota, lease.window_s, lease.remaining + lease.unspent, wait_s)


def _ask(key: str, item: RateLimitItem, entries: int) -> Ask:
    return Ask(key, item.amount, item.get_expiry(), entries)


def _within(wanted: int, lease: _Lease) -> int:
    return min(wanted, LARGEST, lease.remaining // SHARE_OF_REMAINING)


def _filled(tier: Tier, item: RateLimitItem, size: int, unspent: int, told: Standing, now: float) -> _Lease:
    """Return a lease of entries that were just taken."""
    ends_at = now + min(LIFETIME_S, told.wait_s)
    lease = _Lease(tier, told.policy, item, size, unspent, -1, told.remaining, ends_at, now + told.wait_s, size)
    lease.low = _low(lease)
    return lease


def _low(lease: _Lease) -> int:
    return lease.size // 2 if lease.tier.is_far and lease.size >= WORTH_WAKING else -1
