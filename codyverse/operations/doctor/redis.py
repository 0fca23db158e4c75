"""Checks of Redis, which several hosts share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import redis

from codyverse.operations.cache import cluster
from codyverse.operations.doctor import clocks
from codyverse.operations.doctor.check import Finding, Group, fault, ok, warning
from codyverse.operations.doctor.deployment import Deployment

OLDEST = (6, 2)
TIMEOUT_S = 2.0
FULL = 0.9


def _not_here(it: Deployment) -> str:
    return "" if it.settings.redis_url else "There is no Redis: CODYVERSE_REDIS_URL."


group = Group("redis", _not_here)
time_of_server = Group("clocks", _not_here)

GROUPS = (group, time_of_server)

REACHABLE = "redis-reachable"


@group.check(
    REACHABLE,
    "Redis answers",
    why="Without it every host counts for itself: limits are as many times higher as there are hosts, and caches empty sooner.",
    mend="Start it, and compare CODYVERSE_REDIS_URL with its address and password.",
)
def reachable(it: Deployment) -> Finding:
    """Ask it for nothing."""
    try:
        with _redis(it) as client:
            client.ping()
    except redis.AuthenticationError:
        return fault("It refuses the password.")
    except redis.TimeoutError:
        return fault(f"It said nothing for {TIMEOUT_S:g} s.")
    except redis.RedisError:  # its text may hold the address, with the password
        return fault("It cannot be asked.")
    return ok()


@group.check(
    "redis-version",
    "Redis' version is one that we know",
    why="Scripts of the cache and of the limits are tried with newer ones only.",
    mend="Debian 12's, or a newer one.",
    needs=REACHABLE,
)
def version(it: Deployment) -> Finding:
    """Ask for it."""
    told = str(_info(it, "server")["redis_version"])
    oldest = ".".join(map(str, OLDEST))
    return ok(told) if tuple(map(int, told.split(".")[:2])) >= OLDEST else fault(f"It is {told}; {oldest} is the oldest.")


@group.check(
    "redis-memory",
    "Redis has room, or makes room with what ends anyway",
    why="One that is full refuses to count; one that throws away whatever key outdates every cache at once.",
    mend="maxmemory-policy volatile-ttl, a larger maxmemory, or smaller CODYVERSE_CACHE_CLUSTER_ENTRIES.",
    needs=REACHABLE,
)
def memory(it: Deployment) -> Finding:
    """Compare what it holds with what it may, and ask what it does when that is full."""
    found = _info(it, "memory")
    most, used, policy = int(found["maxmemory"]), int(found["used_memory"]), str(found["maxmemory_policy"])
    if most and policy == "noeviction" and used > FULL * most:
        return fault(f"It holds {used / 1e6:.1f} of {most / 1e6:.1f} MB, and refuses what is more ({policy}).")
    return warning(f"It would throw away whatever key ({policy}).") if most and policy.startswith("allkeys") else ok()


@group.check(
    "redis-disk",
    "Redis can write to its disk, where it is told to",
    why="One that could not refuses every write until it can: limits and cache are then each host's own.",
    mend="Room on its disk, or no snapshots: nothing in it has to last but counters, which begin anew.",
    needs=REACHABLE,
)
def disk(it: Deployment) -> Finding:
    """Ask how the last writing went."""
    found = _info(it, "persistence")
    failed = [name for name in ("rdb_last_bgsave_status", "aof_last_write_status") if found.get(name, "ok") != "ok"]
    return fault(f"It could not: {' and '.join(failed)}.") if failed else ok()


@group.check(
    "redis-password",
    "Redis asks for a password, or is this machine's own",
    why="Whoever reaches it can read what is cached, change it, and count limits down.",
    mend="requirepass or an ACL, the password in CODYVERSE_REDIS_URL, and rediss:// outside a network of one's own.",
)
def password(it: Deployment) -> Finding:
    """Look at the address."""
    url = urlsplit(it.settings.redis_url)
    if url.password or _is_here(url.hostname or ""):
        return ok()
    return fault(f"{url.hostname} is asked without one.")


@time_of_server.check("redis-clock", "This machine's clock and Redis' agree", why=clocks.WHY, mend=clocks.MEND, needs=REACHABLE)
def clock(it: Deployment) -> Finding:
    """Compare the two."""
    with _redis(it) as client:

        def theirs() -> float:
            seconds, microseconds = client.time()
            return float(seconds) + float(microseconds) / 1e6

        return clocks.compare(theirs, it.machine.now)


@contextmanager
def _redis(it: Deployment) -> Iterator[Any]:
    with closing(cluster.client(it.settings.redis_url, TIMEOUT_S)) as client:
        yield client


def _info(it: Deployment, section: str) -> dict[str, Any]:
    with _redis(it) as client:
        return dict(client.info(section))


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
