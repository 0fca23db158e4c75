"""What `/health` looks at: database, tiers of the cache, limiter, disk, memory, workers; and from where on each is not well."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import partial

from flask import Flask

from codyverse.operations import cache, components, gauges, host_memory, limits
from codyverse.operations.components import OK, UNAVAILABLE
from codyverse.operations.gauges import Gauges, Process
from codyverse.operations.health_checks import Checks, Since, State
from codyverse.operations.limits.tiers import TierDown
from codyverse.operations.readiness import Readiness
from config import Settings

DEGRADED, OFF = "degraded", "off"
MEGABYTE = 1_000_000

MEMORY, BUDGET = "codyverse_worker_memory_bytes", "codyverse_worker_memory_budget_bytes"


def make(app: Flask, readiness: Readiness) -> Checks:
    """Return the checks of an application, which its parts start and close."""
    settings: Settings = app.config["CODYVERSE"]
    since = Since(host_memory.folder(settings) / "health.json")
    checks = Checks(settings.health_every_s, settings.health_deadline_s, since)
    checks.add("database", partial(_database, settings, readiness))
    for tier, entries in cache.of(app).entries().items():
        checks.add(f"cache_{tier}", partial(_tier, settings, cache.of(app).trusted, entries, is_shared=tier == "l3"))
    checks.add("limiter", partial(_limiter, settings, limits.of(app)))
    checks.add("disk", partial(_disk, settings))
    checks.add("memory", partial(_memory, settings, gauges.of(app)))
    checks.add("workers", partial(_workers, settings, gauges.of(app), components.of(app)))
    components.of(app).add("health", checks.close, start=checks.start)
    return checks


def _database(settings: Settings, readiness: Readiness) -> State:
    found = readiness.database()
    return _quick(settings, found, found.get("latency_ms"))


def _tier(settings: Settings, trusted: Callable[[], bool], entries: Callable[[], int | None] | None, *, is_shared: bool) -> State:
    """Look at a tier of the cache; one without anything that tells its entries is off."""
    if entries is None:
        return {"status": OFF}
    began = time.monotonic()
    number = entries()
    latency_ms = _since_ms(began)
    if number is None:
        return {"status": UNAVAILABLE, "reason": "it does not answer", "latency_ms": latency_ms, "threshold": _latency(settings)}
    if not is_shared and not trusted():  # what this host keeps is not used then
        return {"status": DEGRADED, "reason": "changes of other hosts are not heard", "entries": number}
    return _quick(settings, {"status": OK, "entries": number}, latency_ms)


def _limiter(settings: Settings, found: limits.Limits | None) -> State:
    if found is None:
        return {"status": OFF}
    wanted = found.tiers.tiers[0]
    for tier in found.tiers.tiers:
        began = time.monotonic()
        try:
            tier.call("get_sliding_window", "health", 60)
        except TierDown:
            continue
        latency_ms = _since_ms(began)
        if tier is wanted:
            return _quick(settings, {"status": OK, "counted_by": tier.name}, latency_ms)
        return {"status": DEGRADED, "reason": f"not counted by {wanted.name}", "counted_by": tier.name, "latency_ms": latency_ms}
    return {"status": UNAVAILABLE, "reason": "nothing counts"}


def _disk(settings: Settings) -> State:
    usage = shutil.disk_usage(settings.instance_path)
    status = OK if usage.free >= settings.health_disk_free_mb * MEGABYTE else DEGRADED
    free_mb = round(usage.free / MEGABYTE, 1)
    return {
        "status": status if usage.free else UNAVAILABLE,
        "free_mb": free_mb,
        "free_percent": round(usage.free / usage.total * 100, 1) if usage.total else None,
        "threshold": {"free_mb": settings.health_disk_free_mb},
    }


def _memory(settings: Settings, told: Gauges) -> State:
    shares = [share for share in map(_share, told.processes()) if share is not None]
    largest = max(shares, default=None)
    return {
        "status": DEGRADED if largest is not None and largest >= settings.memory_collect_percent else OK,
        "largest_percent": largest,
        "threshold": {"largest_percent": settings.memory_collect_percent},
    }


def _workers(settings: Settings, told: Gauges, parts: components.Components) -> State:
    processes, now = told.processes(), time.time()
    silent = sum(now - process.at > settings.health_silent_s for process in processes)
    wanted = parts.workers_wanted()
    well = len(processes) - silent
    return {
        "status": OK if well >= wanted and not silent else DEGRADED if well else UNAVAILABLE,
        "number": len(processes),
        "silent": silent,
        "threshold": {"number": wanted, "silent_s": settings.health_silent_s},
    }


def _share(process: Process) -> float | None:
    values = {sample.name: sample.value for sample in process.values}
    return round(values[MEMORY] / values[BUDGET] * 100, 1) if values.get(BUDGET) and MEMORY in values else None


def _quick(settings: Settings, found: State, latency_ms: float | None) -> State:
    """Return what was found with the time that it took; what is well and slow is degraded."""
    slow = latency_ms is not None and latency_ms > settings.health_latency_ms
    status = DEGRADED if found["status"] == OK and slow else found["status"]
    return {**found, "status": status, "latency_ms": latency_ms, "threshold": _latency(settings)}


def _latency(settings: Settings) -> State:
    return {"latency_ms": settings.health_latency_ms}


def _since_ms(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 2)
