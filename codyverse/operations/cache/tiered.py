"""The tiered cache: L1 in the process, L2 on the host, L3 in the cluster, then the loader, which one of all who ask runs.

What makes it right: the number `as_of` is taken before the look into the tiers and before the load, what was loaded is kept with
that number, and is used only while no tag of it has changed since (see generations.py).

    good        unchanged, and within its time
    late        unchanged, and past its time, up to twice: it is answered, while one thread loads it anew behind the answer
    outdated    used only when the load fails because its source cannot be reached, up to KEPT_TIMES the time of L2
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from codyverse.operations.cache.background import Background
from codyverse.operations.cache.changes import Changes
from codyverse.operations.cache.cluster import Cluster, NullCluster
from codyverse.operations.cache.entries import Count, Entry, NullTier, Size, dumps
from codyverse.operations.cache.flights import Flights
from codyverse.operations.cache.generations import Generations, NullGenerations
from codyverse.operations.cache.host import HostTier
from codyverse.operations.cache.listener import Listener, NullListener
from codyverse.operations.cache.process import ProcessTier
from codyverse.operations.cache.reading import depends_on, used_outdated
from codyverse.version import VERSION

KEPT_TIMES = 2

Load = Callable[[], Any]
Tags = Collection[str] | Callable[[Any], Collection[str]]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a cache is made of."""

    generations: Generations | NullGenerations
    process: ProcessTier | NullTier
    host: HostTier | NullTier
    cluster: Cluster
    changes: Changes
    flights: Flights
    listener: Listener | NullListener
    background: Background
    count: Count
    failures: tuple[type[Exception], ...]  # of the source, for which something outdated is better than nothing
    clock: Callable[[], float] = time.time


def _always(value: Any) -> bool:
    return True


class Wanted(NamedTuple):
    """What somebody asks for."""

    key: str
    load: Load
    tags: Tags
    worth_keeping: Callable[[Any], bool]


class Found(NamedTuple):
    """What L1 and L2 have of a key."""

    good: Entry | None = None
    late: Entry | None = None
    outdated: Entry | None = None


class Cache:
    """Plain data, read through the tiers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._generations = parts.generations
        self._process, self._host, self._cluster = parts.process, parts.host, parts.cluster
        self._count = parts.count
        self._now = parts.clock

    def cached(
        self,
        key: str,
        load: Load,
        tags: Tags,
        worth_keeping: Callable[[Any], bool] = _always,
        may_be_outdated: bool = True,
    ) -> Any:
        """Return what is kept under the key, or else what `load` returns, as it comes back from JSON. Raises what it raises.

        `tags` are those of the value, or a function that tells them from it. What is not worth its room is not kept. Where the
        value decides about a write, it must not be outdated: then a load that fails raises, whatever is still kept.
        """
        key = versioned(key)
        what = Wanted(key, load, tags, worth_keeping)
        self._parts.listener.start()
        asked_at = self._now()
        found = self._find(key)
        entry = found.good or found.late
        if found.good is None and found.late is not None:
            self._count("cache:late")
            self._parts.background.do(key, lambda: self._fly(what, self._now()))
        if entry is None:
            try:
                entry = self._fly(what, asked_at)
            except self._parts.failures:
                entry = self._better_than_nothing(key, found) if may_be_outdated else None
                if entry is None:
                    raise
        value = entry.value()
        depends_on(_tags(tags, value))
        return value

    def invalidate(self, *tags: str) -> None:
        """Outdate what was read under these tags, on every host."""
        if tags:
            self._parts.changes.change(tags)

    def clear(self) -> None:
        """Forget everything that this host and the cluster keep, and outdate what is left in other processes."""
        self._parts.changes.outdate_all()
        for tier in (self._process, self._host, self._cluster):
            tier.clear()

    def get(self, key: str) -> Entry | None:
        """Return the entry that was set under a key, None when it is not there any more."""
        key = versioned(key)
        self._parts.listener.start()
        found = self._find(key).good
        if found is None:
            as_of = self._generations.as_of()
            found = self._in_cluster(key, as_of)[1]
        return found

    def set(self, key: str, value: bytes, lifetime_s: float | None = None) -> None:
        """Keep JSON under a key, as long as each tier keeps things or shorter, instead of what any process has there."""
        tags = (_own_tag(key),)
        changed = self._parts.changes.change(tags)
        now = self._now()
        expires_at = now + lifetime_s if lifetime_s else float("inf")
        entry = Entry(versioned(key), value, changed.as_of, self._generations.slots(tags), now, expires_at)
        self._keep(entry, changed.cluster_as_of, now)

    def add(self, key: str, value: bytes, lifetime_s: float | None = None) -> bool:
        """Keep JSON under a key unless there is something; returns whether it was kept.

        Exact among the processes of one release on one host, while the tiers have room. Where it cannot be known what there is,
        since other hosts are not heard, nothing is added. Where the cache is turned off there is never anything.
        """
        self._parts.listener.start()
        with self._parts.flights.alone(key):
            if not self._generations.trusted() or self.get(key) is not None:
                return False
            self.set(key, value, lifetime_s)
            return True

    def delete(self, key: str) -> bool:
        """Forget what was set under a key, in every process; returns whether there was anything."""
        there = self.get(key) is not None
        self.invalidate(_own_tag(key))
        return there

    def sizes(self) -> dict[str, Size]:
        """Return how much the tiers hold: L1 of all processes of the host together, L2, L3."""
        own = self._process.size()
        return {
            "l1": self._host.of_processes(own),
            "l2": self._host.size(),
            "l3": self._cluster.size(),
        }

    def entries(self) -> dict[str, Callable[[], int | None] | None]:
        """Return what tells how many entries each tier holds, None where it does not answer; None for a tier that is off."""
        host, cluster = self._host, self._cluster
        return {
            "l1": None if isinstance(self._process, NullTier) else lambda: self._process.size().entries,
            "l2": host.entries if isinstance(host, HostTier) else None,
            "l3": None if isinstance(cluster, NullCluster) else cluster.entries,
        }

    def trusted(self) -> bool:
        """Say whether changes are heard, those of other hosts too: else nothing is used that this host keeps."""
        return self._generations.trusted()

    def close(self) -> None:
        """End threads, close files and connections."""
        self._parts.background.close()
        self._parts.listener.close()
        for part in (self._process, self._host, self._cluster, self._parts.changes, self._generations):
            part.close()

    def _find(self, key: str) -> Found:
        """Look into L1 and L2; what is good in L2 is kept in L1 as well."""
        late: Entry | None = None
        outdated: Entry | None = None
        now = self._now()
        for name, tier in (("l1", self._process), ("l2", self._host)):
            entry = tier.get(key)
            if entry is not None and self._generations.fresh(entry.as_of, entry.slots):
                if now < entry.expires_at:
                    self._count(f"cache:hit:{name}")
                    if tier.shared:
                        self._process.put(entry.lasting(now, self._process.lifetime_s))
                    return Found(entry)
                if now < entry.expires_at + tier.lifetime_s:
                    late = entry
            self._count(f"cache:miss:{name}")
            outdated = _younger(entry, outdated)
        return Found(None, late, outdated)

    def _fly(self, what: Wanted, asked_at: float) -> Entry:
        def good(entry: Entry | None) -> bool:
            if entry is None or entry.expires_at <= self._now() or not self._generations.unchanged(entry.as_of, entry.slots):
                return False
            # While other hosts are not heard, only a load that began after the question knows of all their changes.
            return entry.loaded_at >= asked_at or self._generations.trusted()

        def good_of_another(entry: Entry) -> bool:
            # Without tags, as what is not there often is, no change of it would show.
            return bool(entry.slots) and good(entry)

        def find() -> Entry | None:
            entry = self._host.get(what.key, count_use=False)
            return entry if good(entry) else None

        return self._parts.flights.fly(what.key, find, lambda: self._load(what), good_of_another, self._parts.failures)

    def _load(self, what: Wanted) -> Entry:
        """Return the entry that the cluster has, or a new one; keep it in every tier above."""
        as_of = self._generations.as_of()
        number, shared, spare = self._in_cluster(what.key, as_of)
        if shared is not None:
            return shared
        began_at = self._now()
        try:
            value = what.load()
        except self._parts.failures:
            if spare is not None:  # where everybody who waits finds it
                self._host.put(replace(spare, as_of=0))
            raise
        except Exception:
            # The source answers, and what is kept is not there any more: it must not come back when the source goes away.
            self._process.forget(what.key)
            self._host.forget(what.key)
            if spare is not None:
                self._cluster.forget(what.key)
            raise
        body = dumps(value)
        self._count("cache:loaded")
        # What was loaded while one of its tags changed is kept as well: it is not used, unless the source goes away.
        slots = self._generations.slots(_tags(what.tags, value))
        entry = Entry(what.key, body, as_of, slots, began_at, float("inf"))
        if what.worth_keeping(value):
            self._keep(entry, number, began_at)
        return entry

    def _in_cluster(self, key: str, as_of: int) -> tuple[int | None, Entry | None, Entry | None]:
        """Look into L3: the number to keep a load by there, what is good, and what is not, as entries of this host."""
        if not (self._generations.trusted() and self._parts.changes.settled()):
            return None, None, None
        looked = self._cluster.look(key)
        if looked is None:
            return None, None, None
        now = self._now()
        if looked.entry is None or not looked.fresh or looked.entry.expires_at <= now:
            self._count("cache:miss:l3")
            return looked.as_of, None, looked.entry
        self._count("cache:hit:l3")
        entry = replace(looked.entry, as_of=as_of)
        self._keep_on_host(entry, now)
        return looked.as_of, entry, None

    def _keep(self, entry: Entry, cluster_as_of: int | None, now: float) -> None:
        if cluster_as_of:
            entry = entry.lasting(now, self._cluster.lifetime_s)
            self._cluster.keep(entry, cluster_as_of)
        self._keep_on_host(entry, now)

    def _keep_on_host(self, entry: Entry, now: float) -> None:
        if self._host.shared:
            entry = entry.lasting(now, self._host.lifetime_s)
            self._host.put(entry)
        self._process.put(entry.lasting(now, self._process.lifetime_s))
        self._host.report(self._process.size)

    def _better_than_nothing(self, key: str, found: Found) -> Entry | None:
        entry = _younger(self._host.get(key, count_use=False), found.outdated)
        if entry is None or self._now() - entry.loaded_at > KEPT_TIMES * max(self._host.lifetime_s, self._process.lifetime_s):
            return None
        self._count("cache:outdated")
        used_outdated(max(0.0, self._now() - entry.loaded_at))
        return entry


def _tags(tags: Tags, value: Any) -> Collection[str]:
    return tags(value) if callable(tags) else tags


def versioned(key: str) -> str:
    """Return the key that tiers know an entry by: another release, whose values may have another shape, does not find it."""
    return f"{VERSION} {key}"


def _own_tag(key: str) -> str:
    return f"key:{key}"


def _younger(one: Entry | None, other: Entry | None) -> Entry | None:
    if one is None or other is None:
        return one or other
    return one if one.loaded_at >= other.loaded_at else other
