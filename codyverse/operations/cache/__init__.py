"""The tiered cache (report row R12)."""

from __future__ import annotations

import logging
import zlib

import sqlalchemy.exc
from flask import Flask
from sqlalchemy.engine import make_url

from codyverse.claims import claims_in
from codyverse.operations import breakers, components, gauges, host_memory, tallies
from codyverse.operations.breaker import Breaker, BreakerOpen, NullBreaker
from codyverse.operations.cache.background import Background
from codyverse.operations.cache.changes import Changes
from codyverse.operations.cache.cluster import Cluster, Names, NullCluster, RedisCluster
from codyverse.operations.cache.entries import Count, NullTier
from codyverse.operations.cache.flights import Flights
from codyverse.operations.cache.generations import Generations, NullGenerations
from codyverse.operations.cache.host import HostTier
from codyverse.operations.cache.listener import Listener, NullListener
from codyverse.operations.cache.process import ProcessTier
from codyverse.operations.cache.tiered import Cache, Parts
from config import Settings

__all__ = ["Cache", "Changes", "changes", "init_app", "of", "opened"]

log = logging.getLogger("codyverse.cache")

UNREACHABLE = (sqlalchemy.exc.OperationalError, sqlalchemy.exc.TimeoutError, BreakerOpen)


def of(app: Flask) -> Cache:
    """Return the application's cache."""
    cache: Cache = app.extensions["codyverse.cache"]
    return cache


def changes(app: Flask) -> Changes:
    """Return what has to hear of the tags that transactions touch."""
    heard: Changes = app.extensions["codyverse.changes"]
    return heard


def opened(settings: Settings, count: Count, breaker: Breaker | None = None) -> Parts:
    """Return the parts of an installation's cache. Where the generations cannot be opened, it is one that keeps nothing.

    The breaker is that of Redis, where there is one; None for one that nobody watches.
    """
    folder = host_memory.folder(settings)
    generations: Generations | NullGenerations
    try:
        generations = Generations(folder / "generations", guarded=bool(settings.redis_url))
    except OSError as error:
        log.warning("nothing is cached: %s", type(error).__name__)
        generations = NullGenerations()
    cluster = _cluster(settings, generations.host, count, breaker or _breaker(settings))
    heard = Changes(generations, cluster)  # also where nothing is kept: other hosts may keep something
    listener: Listener | NullListener = NullListener()
    if settings.redis_url and isinstance(generations, Generations):
        listener = Listener(
            settings.redis_url, _names(settings), claims_in(folder / "cache-listener"), generations, heard.settled
        )
    kept = settings.feature_caching and isinstance(generations, Generations)
    return Parts(
        generations=generations,
        process=ProcessTier(settings.cache_process_entries, settings.cache_process_s, count) if kept else NullTier(),
        host=HostTier(folder / _file_of(settings), settings.cache_host_entries, settings.cache_host_s, count)
        if kept
        else NullTier(),
        cluster=cluster if kept else NullCluster(),
        changes=heard,
        flights=Flights(claims_in(folder / "cache-flights")) if kept else Flights(None, wait_s=0),
        listener=listener,
        background=Background(),
        count=count,
        failures=UNREACHABLE,
    )


def _file_of(settings: Settings) -> str:
    # An instance folder may be pointed at another database, of which nothing is kept here. Whose account asks does not matter.
    url = make_url(settings.database_url)
    return f"cache-{zlib.crc32(f'{url.host}:{url.port}/{url.database}'.encode()):08x}.sqlite3"


def _breaker(settings: Settings) -> Breaker:
    if not settings.feature_circuit_breaker:
        return NullBreaker("redis")
    return Breaker.of("redis", settings.breaker_redis, settings.breaker_redis_open_s)


def _cluster(settings: Settings, host: int, count: Count, breaker: Breaker) -> Cluster:
    if not settings.redis_url:
        return NullCluster()
    return RedisCluster(
        settings.redis_url, _names(settings), settings.cache_cluster_entries, settings.cache_cluster_s, host, count, breaker
    )


def _names(settings: Settings) -> Names:
    return Names(make_url(settings.database_url).database or "")


def init_app(app: Flask) -> None:
    """Open the cache. Comes before the database, whose transactions tell it what they change, and before what keeps answers."""
    settings: Settings = app.config["CODYVERSE"]
    breaker = _breaker(settings)
    parts = opened(settings, tallies.of(app).count, breaker)
    if settings.redis_url:
        breakers.watch(app, breaker)
    cache = Cache(parts)
    app.extensions["codyverse.cache"] = cache
    app.extensions["codyverse.changes"] = parts.changes
    app.extensions["codyverse.generations"] = parts.generations if isinstance(parts.generations, Generations) else None
    told = gauges.of(app)
    for tier, entries in cache.entries().items():
        if entries is not None:
            told.add("codyverse_cache_entries", {"tier": tier}, entries)
    components.of(app).add("cache", cache.close, shrink=parts.process.shrink)
