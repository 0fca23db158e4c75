"""L3: entries and generations that the hosts of a cluster share, in Redis.

Nothing here fails: what Redis does not answer is unknown. A request waits for it REDIS_TIMEOUT_S at the most. After one that
waited in vain nobody of the process asks for SILENCE_S; of failures that come at once the breaker takes care.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from codyverse.operations.breaker import Breaker, BreakerOpen
from codyverse.operations.cache import scripts
from codyverse.operations.cache.entries import Count, Entry, Size
from codyverse.operations.cache.generations import LAPSES_S, Generations, Slots

log = logging.getLogger("codyverse.cache")

REDIS_TIMEOUT_S = 0.2
SILENCE_S = 1.0
SAMPLE = 1000  # entries whose sizes are added up for the figures


class Names:
    """The keys and the channel of those who use one database: others on the same Redis, such as a staging system, have theirs."""

    def __init__(self, database: str) -> None:
        self._prefix = f"{{codyverse:cache:{database}}}"  # the braces keep all keys in one slot of a Redis cluster
        self.generations, self.used = f"{self._prefix}:generations", f"{self._prefix}:used"
        self.channel = f"{self._prefix}:changes"

    def entry(self, key: str) -> str:
        """Return where an entry lies."""
        return f"{self._prefix}:entry:{key}"


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look into Redis found: the number to keep a load by, and an entry, with Redis' word on whether it is fresh."""

    as_of: int
    entry: Entry | None = None
    fresh: bool = False


class Cluster(Protocol):
    """What the hosts share."""

    lifetime_s: float

    def look(self, key: str) -> Looked | None:
        """Return what is known of a key, None when nothing can be known."""

    def keep(self, entry: Entry, as_of: int) -> None:
        """Keep an entry that was loaded as of a number of the cluster's."""

    def forget(self, key: str) -> None:
        """Forget what is kept under a key."""

    def begin(self, tags: Collection[str]) -> bool:
        """Tell all hosts that tags are about to change; returns whether they could be told."""

    def end(self, tags: Collection[str]) -> int | None:
        """Tell them that tags have changed; returns a number that no later change has, None when they could not be told."""

    def outdate_all(self) -> bool:
        """Tell them that everything may have changed; returns whether they could be told."""

    def clear(self) -> None:
        """Forget every entry."""

    def size(self) -> Size:
        """Return how much is kept."""

    def entries(self) -> int | None:
        """Return how many entries are kept, which takes less than `size`; None when that is not known."""

    def close(self) -> None:
        """Close connections."""


class NullCluster:
    """One host, which has nobody to tell."""

    lifetime_s = 0.0

    def look(self, key: str) -> Looked | None:
        """Return nothing."""
        return None

    def keep(self, entry: Entry, as_of: int) -> None:
        """Keep nothing."""

    def forget(self, key: str) -> None:
        """Do nothing."""

    def begin(self, tags: Collection[str]) -> bool:
        """Say that everybody knows."""
        return True

    def end(self, tags: Collection[str]) -> int | None:
        """Say that everybody knows."""
        return 0

    def outdate_all(self) -> bool:
        """Say that everybody knows."""
        return True

    def clear(self) -> None:
        """Do nothing."""

    def size(self) -> Size:
        """Return zero."""
        return Size(0, 0)

    def entries(self) -> int | None:
        """Return zero."""
        return 0

    def close(self) -> None:
        """Do nothing."""


class RedisCluster:
    """The hosts that share a Redis."""

    def __init__(
        self,
        url: str,
        names: Names,
        most: int,
        lifetime_s: float,
        host: int,
        count: Count,
        breaker: Breaker,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect to nothing yet."""
        self.lifetime_s = lifetime_s
        self._names = names
        self._most = most
        self._host = host
        self._count = count
        self._breaker = breaker
        self._monotonic = monotonic
        self._silent_until = 0.0
        self._client = client(url, REDIS_TIMEOUT_S)
        register: Callable[[str], Any] = self._client.register_script
        self._look, self._keep = register(scripts.LOOK), register(scripts.KEEP)
        self._begin, self._end = register(scripts.BEGIN), register(scripts.END)
        self._outdate_all, self._forget = register(scripts.OUTDATE_ALL), register(scripts.FORGET)

    def look(self, key: str) -> Looked | None:
        """Return what is known of a key, None when nothing can be known."""
        found = self._ask(lambda: self._look(keys=self._keys(key)))
        if found is None or len(found) == 1:
            return found and Looked(found[0])
        as_of, fresh, body, entry_as_of, slots, loaded_at, expires_at = found
        try:
            numbers = tuple(map(int, slots.split()))
            entry = Entry(key, body, int(entry_as_of), numbers, float(loaded_at), float(expires_at))
        except ValueError:  # somebody else wrote there
            return Looked(as_of)
        return Looked(as_of, entry, bool(fresh))

    def keep(self, entry: Entry, as_of: int) -> None:
        """Keep an entry that was loaded as of a number of the cluster's."""
        fields = [entry.body, as_of, _text(entry.slots), repr(entry.loaded_at), repr(entry.expires_at)]
        limits = [int(2 * self.lifetime_s * 1000), self._most]
        evicted = self._ask(lambda: self._keep(keys=self._keys(entry.key), args=fields + limits))
        if evicted:
            self._count("cache:evicted:l3", evicted)

    def forget(self, key: str) -> None:
        """Forget what is kept under a key."""
        _, entry, used = self._keys(key)
        self._ask(lambda: (self._client.delete(entry), self._client.zrem(used, entry)))

    def begin(self, tags: Collection[str]) -> bool:
        """Tell all hosts that tags are about to change; returns whether they could be told."""
        arguments = [_text(Generations.slots(tags)), int(LAPSES_S * 1000), self._names.channel, self._message("begin", tags)]
        return self._ask(lambda: self._begin(keys=[self._names.generations], args=arguments)) is not None

    def end(self, tags: Collection[str]) -> int | None:
        """Tell them that tags have changed; returns a number that no later change has, None when they could not be told."""
        arguments = [_text(Generations.slots(tags)), self._names.channel, self._message("end", tags)]
        number: int | None = self._ask(lambda: self._end(keys=[self._names.generations], args=arguments))
        return number

    def outdate_all(self) -> bool:
        """Tell them that everything may have changed; returns whether they could be told."""
        arguments = [self._names.channel, self._message("all", ())]
        return self._ask(lambda: self._outdate_all(keys=[self._names.generations], args=arguments)) is not None

    def clear(self) -> None:
        """Forget every entry."""
        self._ask(lambda: self._forget(keys=[self._names.generations, self._names.used]))

    def size(self) -> Size:
        """Return how much is kept; the bytes of many entries are estimated from some."""

        def ask() -> Size:
            entries = int(self._client.zcard(self._names.used))
            sample: Sequence[Any] = self._client.zrange(self._names.used, 0, SAMPLE - 1)
            pipeline: Any = self._client.pipeline(transaction=False)
            for key in sample:
                pipeline.hstrlen(key, "body")
            return Size(entries, sum(pipeline.execute()) * entries // max(1, len(sample)))

        return self._ask(ask) or Size(0, 0)

    def entries(self) -> int | None:
        """Return how many entries are kept, None when Redis does not answer."""
        found: int | None = self._ask(lambda: self._client.zcard(self._names.used))
        return found

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def _keys(self, key: str) -> list[str]:
        return [self._names.generations, self._names.entry(key), self._names.used]

    def _message(self, what: str, tags: Collection[str]) -> bytes:
        return orjson.dumps({"from": self._host, "what": what, "tags": sorted(tags)})

    def _ask(self, ask: Callable[[], Any]) -> Any:
        """Return what Redis answers, None when it does not."""
        if self._monotonic() < self._silent_until:
            return None
        try:
            with self._breaker.call(redis.RedisError):
                return ask()
        except BreakerOpen:
            return None
        except redis.RedisError as error:
            self._count("cache:failed:l3")
            if isinstance(error, redis.TimeoutError):
                self._silent_until = self._monotonic() + SILENCE_S
            # Only the name of the error: the address of a server, and its password, may be part of the text.
            log.warning("Redis failed the cache: %s", type(error).__name__)
            return None


def client(url: str, timeout_s: float) -> redis.Redis:
    """Return a client that waits no longer than that for anything, and tries nothing twice."""
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
    )


def _text(slots: Slots) -> str:
    return " ".join(map(str, slots))
