"""L1: entries in the process's own memory; what was not used for longest goes first."""

from __future__ import annotations

import threading

from cachetools import LRUCache

from codyverse.operations.cache.entries import Count, Entry, Size


class ProcessTier:
    """Up to so many entries."""

    shared = False

    def __init__(self, most: int, lifetime_s: float, count: Count) -> None:
        self.lifetime_s = lifetime_s
        self._entries: LRUCache[str, Entry] = LRUCache(most)
        self._most = self._whole = most
        self._bytes = 0
        self._count = count
        self._guard = threading.Lock()

    def get(self, key: str, count_use: bool = True) -> Entry | None:
        """Return an entry, whether it may still be used or not."""
        with self._guard:
            return self._entries.get(key)

    def put(self, entry: Entry) -> None:
        """Keep an entry instead of an older one with its key."""
        with self._guard:
            old = self._entries.get(entry.key)
            if old is not None:
                if old.as_of > entry.as_of:
                    return
                self._bytes -= len(old.body)
            elif len(self._entries) >= self._most:
                self._evict()
            self._entries[entry.key] = entry
            self._bytes += len(entry.body)

    def forget(self, key: str) -> None:
        """Forget what is kept under a key."""
        with self._guard:
            entry = self._entries.pop(key, None)
            self._bytes -= len(entry.body) if entry is not None else 0

    def shrink(self, share: float) -> None:
        """Keep no more than this share of what there is room for, from now on; one entry always has room."""
        with self._guard:
            kept = int(self._whole * share)
            while len(self._entries) > kept:
                self._evict()
            self._most = max(1, kept)

    def _evict(self) -> None:
        _, evicted = self._entries.popitem()
        self._bytes -= len(evicted.body)
        self._count("cache:evicted:l1")

    def clear(self) -> None:
        """Forget everything."""
        with self._guard:
            self._entries.clear()
            self._bytes = 0

    def size(self) -> Size:
        """Return how much is kept."""
        with self._guard:
            return Size(len(self._entries), self._bytes)

    def close(self) -> None:
        """Forget everything."""
        self.clear()
