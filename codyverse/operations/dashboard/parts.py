"""How the parts of this host are at this moment, by its own metrics: workers, tiers of the cache, breakers, connections, disk."""

from __future__ import annotations

from dataclasses import dataclass

from codyverse.operations.dashboard.readings import Readings

TIERS = {"l1": "L1 process", "l2": "L2 host", "l3": "L3 cluster"}


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker of gunicorn's, by its slot."""

    slot: str
    memory_bytes: float | None
    budget_bytes: float | None
    age_s: float | None
    requests: float | None
    in_flight: float | None
    waiting: float | None

    @property
    def memory_percent(self) -> float | None:
        """Return how much of its budget it holds."""
        if self.memory_bytes is None or not self.budget_bytes:
            return None
        return 100 * self.memory_bytes / self.budget_bytes


@dataclass(frozen=True, slots=True)
class Tier:
    """A tier of the cache, counted since the host's counters began."""

    title: str
    hits: float | None
    misses: float | None
    entries: float | None
    evictions: float | None
    failures: float | None

    @property
    def hit_percent(self) -> float | None:
        """Return the share of its look-ups that it answered."""
        looked_up = (self.hits or 0) + (self.misses or 0)
        return 100 * (self.hits or 0) / looked_up if looked_up else None


@dataclass(frozen=True, slots=True)
class Breaker:
    """A breaker, open if it is so in any worker."""

    name: str
    is_open: bool
    opened: float  # how often


@dataclass(frozen=True, slots=True)
class Parts:
    """All of them."""

    workers: list[Worker]
    tiers: list[Tier]
    breakers: list[Breaker]
    pool: dict[str, float]
    disk_free_bytes: float | None
    disk_bytes: float | None
    shed: float | None
    log_lines_lost: float | None

    @property
    def memory_percent(self) -> float | None:
        """Return how much of its budget the fullest worker holds."""
        return max((each.memory_percent for each in self.workers if each.memory_percent is not None), default=None)

    @property
    def disk_percent(self) -> float | None:
        """Return how full the disk of the instance folder is."""
        if self.disk_free_bytes is None or not self.disk_bytes:
            return None
        return 100 * (1 - self.disk_free_bytes / self.disk_bytes)


def read(readings: Readings) -> Parts:
    """Return what the samples say."""
    waited = readings.by("codyverse_admission_total", "outcome")
    return Parts(
        workers=_workers(readings),
        tiers=_tiers(readings),
        breakers=_breakers(readings),
        pool=readings.by("codyverse_database_pool_connections", "state"),
        disk_free_bytes=readings.total("codyverse_disk_free_bytes"),
        disk_bytes=readings.total("codyverse_disk_bytes"),
        shed=sum(amount for outcome, amount in waited.items() if outcome != "admitted") if waited else None,
        log_lines_lost=readings.total("codyverse_log_lines_lost_total"),
    )


def _workers(readings: Readings) -> list[Worker]:
    figures = {
        name: readings.by(f"codyverse_worker_{name}", "worker")
        for name in ("memory_bytes", "memory_budget_bytes", "age_seconds", "requests", "requests_in_flight", "requests_waiting")
    }
    slots = set().union(*figures.values()) - {"-"}  # `-` is what runs beside the workers, such as a command
    return [
        Worker(
            slot=slot,
            memory_bytes=figures["memory_bytes"].get(slot),
            budget_bytes=figures["memory_budget_bytes"].get(slot),
            age_s=figures["age_seconds"].get(slot),
            requests=figures["requests"].get(slot),
            in_flight=figures["requests_in_flight"].get(slot),
            waiting=figures["requests_waiting"].get(slot),
        )
        for slot in sorted(slots, key=lambda slot: (len(slot), slot))
    ]


def _tiers(readings: Readings) -> list[Tier]:
    hits, misses, evictions, failures = (
        readings.by("codyverse_cache_total", "tier", event=event) for event in ("hit", "miss", "evicted", "failed")
    )
    entries = readings.by("codyverse_cache_entries", "tier")
    counted = {*hits, *misses, *evictions, *failures}

    def count(of_tiers: dict[str, float], name: str) -> float | None:
        """Return a count; of a tier that was asked, what was never counted has not happened."""
        return of_tiers.get(name, 0.0 if name in counted else None)

    return [
        Tier(
            title=title,
            hits=count(hits, name),
            misses=count(misses, name),
            entries=entries.get(name),
            evictions=count(evictions, name),
            failures=count(failures, name),
        )
        for name, title in TIERS.items()
        if name in counted or name in entries
    ]


def _breakers(readings: Readings) -> list[Breaker]:
    opened = readings.by("codyverse_breaker_transitions_total", "breaker", state="open")
    states = readings.by("codyverse_breaker_open", "breaker")
    return [Breaker(name, states[name] > 0, opened.get(name, 0.0)) for name in sorted(states)]
