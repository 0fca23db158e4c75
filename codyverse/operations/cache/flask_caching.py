"""Flask-Caching over the tiers: `cache.get/set/delete`, `@cache.memoize`, `@cache.cached`, as its users know them.

Two differences. Values are what JSON can hold: anything else is a TypeError, and never a pickle. And `@cache.cached` tells
answers apart by their query, too, which Flask-Caching leaves out unless it is told.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import flask_caching
import orjson
from flask import Flask
from flask_caching.backends.base import BaseCache

from codyverse.operations import cache
from codyverse.operations.cache.entries import Entry

BACKEND = f"{__name__}.TieredCache"
PREFIX = "flask:"

# What comes back must be what was set: a datetime would come back as a text.
_STRICT = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS


class TieredCache(BaseCache):
    """The backend. A timeout of 0 means as long as the tiers keep things, which is the longest that anything is kept."""

    def __init__(self, tiers: cache.Cache, default_timeout: int) -> None:
        super().__init__(default_timeout, ignore_delete_many_errors=True)
        self._tiers = tiers

    @classmethod
    def factory(cls, app: Flask, config: Any, args: Any, kwargs: dict[str, Any]) -> TieredCache:  # noqa: ARG003  (as is called)
        """Return the backend of an application."""
        return cls(cache.of(app), kwargs["default_timeout"])

    def get(self, key: str) -> Any:
        """Return the value, None when there is none."""
        entry = self._entry(key)
        return None if entry is None else entry.value()

    def has(self, key: str) -> bool:
        """Say whether there is a value."""
        return self._entry(key) is not None

    def set(self, key: str, value: Any, timeout: int | timedelta | None = None) -> bool:
        """Keep a value. Raises TypeError for what is no JSON."""
        self._tiers.set(PREFIX + key, _dumps(value), self._normalize_timeout(timeout))
        return True

    def add(self, key: str, value: Any, timeout: int | timedelta | None = None) -> bool:
        """Keep a value unless there is one; returns whether it was kept; see Cache.add. Raises TypeError for what is no JSON."""
        return self._tiers.add(PREFIX + key, _dumps(value), self._normalize_timeout(timeout))

    def delete(self, key: str) -> bool:
        """Forget a value; returns whether there was one."""
        return self._tiers.delete(PREFIX + key)

    def clear(self) -> bool:
        """Forget everything, also what is not Flask-Caching's."""
        self._tiers.clear()
        return True

    def _entry(self, key: str) -> Entry | None:
        return self._tiers.get(PREFIX + key)


class FlaskCache(flask_caching.Cache):
    """Flask-Caching's extension with the query as part of every key of `@cached`."""

    def cached(self, *args: Any, **options: Any) -> Any:
        """Keep what a view returns; see Flask-Caching."""
        if not args[1:] and not {"key_prefix", "make_cache_key", "query_string"} & options.keys():
            options["query_string"] = True
        return super().cached(*args, **options)


def _dumps(value: Any) -> bytes:
    if _holds_a_tuple(value):
        raise TypeError("A tuple would come back from the cache as a list.")
    return orjson.dumps(value, option=_STRICT)


def _holds_a_tuple(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_a_tuple(inner) for inner in value.values())
    if isinstance(value, list):
        return any(_holds_a_tuple(inner) for inner in value)
    return isinstance(value, tuple)


def init_app(app: Flask, extension: FlaskCache) -> None:
    """Have the extension use the tiers. Comes after the cache."""
    extension.init_app(app, {"CACHE_TYPE": BACKEND, "CACHE_DEFAULT_TIMEOUT": app.config["CODYVERSE"].cache_process_s})
