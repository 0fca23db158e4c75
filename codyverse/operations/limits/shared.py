"""Counters that the hosts of a cluster share: a storage for `limits` in Redis, which is asked for several counters at once.

A round trip costs a request far more than what Redis does in it, so the counters of a request, and those that a process fills
ahead, are taken in one step. The keys are those of `limits`' own storage, whose other methods count under them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from limits.storage import RedisStorage
from redis.backoff import NoBackoff
from redis.retry import Retry

from codyverse.operations.limits.storage import Acquired, Ask

Item = TypeVar("Item")

REDIS_TIMEOUT_S = 0.2
# The strategy is part of the prefix: another one would find values of another type under the same keys.
REDIS_PREFIX = "codyverse:limits:sliding-window-counter"
MOST = 100  # counters of one step, during which Redis answers nobody else: about half a millisecond

# KEYS: the window before and the present one of each counter; ARGV: whether to end with the first counter that is exhausted, then
# limit, expiry (s) and entries of each. Returns for each the entries given (all, one or none), and both windows with the
# milliseconds that are left of them. The rules are those of `limits`' script.
_ACQUIRE = b"""
local told = {}
for i = 1, #KEYS / 2 do
    local before, present = KEYS[2 * i - 1], KEYS[2 * i]
    local limit, expiry, wanted = tonumber(ARGV[3 * i - 1]), ARGV[3 * i] * 1000, tonumber(ARGV[3 * i + 1])
    local left = redis.call('pttl', present)
    if left > 0 and left < expiry then
        redis.call('rename', present, before)
        left = left + expiry
        redis.call('set', present, 0, 'PX', left)
    end
    local old = tonumber(redis.call('get', before)) or 0
    local old_left = old > 0 and math.max(0, redis.call('pttl', before)) or 0
    local current = tonumber(redis.call('get', present)) or 0
    local free = limit - math.floor(old * old_left / expiry) - current
    local given = (wanted <= free and wanted) or (free >= 1 and 1) or 0
    if given > 0 and left > 0 then
        redis.call('incrby', present, given)
    elseif given > 0 then
        left = 2 * expiry
        redis.call('set', present, given, 'PX', left)
    end
    told[i] = {given, old, old_left, current + given, math.max(0, left)}
    if given == 0 and ARGV[1] == '1' then
        break
    end
end
return told
"""

# KEYS: the present window and the one before of each counter; ARGV: the entries to take back of each.
_RELEASE = b"""
for i = 1, #KEYS / 2 do
    local left = tonumber(ARGV[i])
    for _, key in ipairs({KEYS[2 * i - 1], KEYS[2 * i]}) do
        local taken = math.min(left, tonumber(redis.call('get', key)) or 0)
        if taken > 0 then
            redis.call('decrby', key, taken)
            left = left - taken
        end
    end
end
"""


class SharedStorage(RedisStorage):
    """Counters in Redis."""

    STORAGE_SCHEME = None  # type: ignore[assignment]  # `redis://` stays the name of the class that this one extends

    def __init__(self, url: str) -> None:
        """Connect to nothing yet. A request that meets a dead Redis waits for it once, and briefly."""
        super().__init__(
            url,
            key_prefix=REDIS_PREFIX,
            socket_timeout=REDIS_TIMEOUT_S,
            socket_connect_timeout=REDIS_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]
        )
        connection: Any = self.get_connection()
        self._acquire, self._release = connection.register_script(_ACQUIRE), connection.register_script(_RELEASE)

    def acquire_windows(self, asks: Sequence[Ask], in_order: bool) -> list[Acquired]:
        """Count the entries of several counters; `in_order` ends with the first one that is exhausted."""
        given: list[Acquired] = []
        for some in _steps(asks):
            keys = [key for ask in some for key in (self._before(ask.key), self._present(ask.key))]
            told = self._acquire(keys, [int(in_order), *(figure for ask in some for figure in ask[1:])])
            for entries, old, old_ms, current, current_ms in told:
                given.append(Acquired(entries, (old, old_ms / 1000, current, current_ms / 1000)))
            if in_order and not given[-1].entries:
                break
        return given

    def release(self, key: str, amount: int = 1) -> None:
        """Take entries back, from the present window or else from the one before."""
        self.release_all([(key, amount)])

    def release_all(self, entries: Sequence[tuple[str, int]]) -> None:
        """Take entries of several counters back."""
        for some in _steps(entries):
            keys = [key for name, _ in some for key in (self._present(name), self._before(name))]
            self._release(keys, [amount for _, amount in some])

    def names(self) -> list[str]:
        """Return the keys of all counters."""
        start, end = f"{REDIS_PREFIX}:{{", "}"
        connection: Any = self.get_connection()
        found = (key.decode() for key in connection.scan_iter(match=f"{REDIS_PREFIX}:*", count=500))
        return sorted({key.removeprefix(start).removesuffix("/-1").removesuffix(end) for key in found})

    def _present(self, key: str) -> str:
        return self.prefixed_key(self._current_window_key(key))

    def _before(self, key: str) -> str:
        return self.prefixed_key(self._previous_window_key(key))


def _steps(items: Sequence[Item]) -> list[Sequence[Item]]:
    return [items[start : start + MOST] for start in range(0, len(items), MOST)]
