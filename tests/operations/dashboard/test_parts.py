from __future__ import annotations

from codyverse.operations.dashboard import parts
from codyverse.operations.dashboard.readings import Readings
from codyverse.operations.gauges import Sample


def read(*samples: tuple[str, dict[str, str], float]) -> parts.Parts:
    return parts.read(Readings(Sample(*sample) for sample in samples))


def test_what_is_not_measured_is_not_known() -> None:
    found = read()
    assert (found.workers, found.tiers, found.breakers, found.pool) == ([], [], [], {})
    assert found.memory_percent is found.disk_percent is found.shed is found.log_lines_lost is None


def test_workers_come_in_the_order_of_their_slots() -> None:
    found = read(
        *(("codyverse_worker_memory_bytes", {"worker": slot}, 50.0 + int(slot)) for slot in ("10", "2", "0")),
        ("codyverse_worker_memory_budget_bytes", {"worker": "10"}, 100.0),
        ("codyverse_worker_memory_bytes", {"worker": "-"}, 1.0),
    )
    assert [(worker.slot, worker.memory_percent) for worker in found.workers] == [("0", None), ("2", None), ("10", 60.0)]
    assert found.memory_percent == 60.0


def test_a_tier_that_was_not_asked_has_no_hit_rate() -> None:
    found = read(
        ("codyverse_cache_total", {"event": "hit", "tier": "l1"}, 3.0),
        ("codyverse_cache_total", {"event": "miss", "tier": "l1"}, 1.0),
        ("codyverse_cache_entries", {"tier": "l2"}, 7.0),
    )
    assert [(tier.title, tier.hit_percent, tier.entries) for tier in found.tiers] == [
        ("L1 process", 75.0, None),
        ("L2 host", None, 7.0),
    ]


def test_breakers_disk_and_what_was_refused() -> None:
    found = read(
        ("codyverse_breaker_open", {"breaker": "redis"}, 0.0),
        ("codyverse_breaker_open", {"breaker": "database"}, 1.0),
        ("codyverse_breaker_transitions_total", {"breaker": "database", "state": "open"}, 4.0),
        ("codyverse_breaker_transitions_total", {"breaker": "database", "state": "closed"}, 3.0),
        ("codyverse_disk_free_bytes", {"path": "instance"}, 25.0),
        ("codyverse_disk_bytes", {"path": "instance"}, 100.0),
        ("codyverse_admission_total", {"class": "page", "outcome": "admitted"}, 90.0),
        ("codyverse_admission_total", {"class": "page", "outcome": "late"}, 4.0),
        ("codyverse_admission_total", {"class": "static", "outcome": "full"}, 6.0),
    )
    assert [(breaker.name, breaker.is_open, breaker.opened) for breaker in found.breakers] == [
        ("database", True, 4.0),
        ("redis", False, 0.0),
    ]
    assert found.disk_percent == 75.0
    assert found.shed == 10.0
