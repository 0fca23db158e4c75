"""Finished responses: complete headers and body, one variant an encoding, each made once.

The store knows neither WSGI nor Flask: `shell` asks it for WSGI. What is kept is used while the generations of its tags are what
they were (see operations/cache/generations.py), `fresh_s` at the most, and for OUTDATED_S longer when nothing newer can be had.

Room is bounded by bytes; who was asked for longest ago goes first, but only for what is asked for more often. Thus whoever varies
queries or hosts cannot drive out what matters: he would have to ask for each of his own more often than everybody for theirs.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from werkzeug.http import parse_etags

from codyverse.operations.cache.generations import Generations, Slots
from codyverse.server.doorkeeper import Doorkeeper

OUTDATED_S = 3600.0
LARGEST_BYTES = 1_000_000
LARGEST_SHARE = 8  # of the store: one answer must not drive out all the others
OVERHEAD_BYTES = 2_500  # of an entry besides its texts, and of each further variant with its headers: measured
IDENTITY = ""  # the encoding of what is sent as it is

# What a 304 leaves out (RFC 9110, 15.4.5), as Werkzeug has it.
_OF_BODY = frozenset(
    {
        *("allow", "content-encoding", "content-language", "content-length", "content-location", "content-md5"),
        *("content-range", "content-type", "expires", "last-modified"),
    }
)
_REPLACED = frozenset({"etag", "content-length", "content-encoding"})

Headers = list[tuple[str, str]]
Compressors = Mapping[str, Callable[[bytes], bytes]]

# Scheme, host, path and query as they were sent, and the origin if it is one that the answer admits. Queries are not sorted: the
# order of two values of one name matters, and what differs for no reason is asked for less often and makes room.
Key = tuple[str, str, str, str, str]


def as_sent(headers: Headers) -> bytes:
    """Return header lines as HTTP/1.1 has them."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers]).encode("latin-1")


@dataclass(slots=True)
class Variant:
    """An answer in one encoding, or what says that the client has it."""

    headers: Headers
    body: bytes
    _block: bytes = b""

    def block(self) -> bytes:
        """Return the headers as they are sent."""
        if not self._block:
            self._block = as_sent(self.headers)
        return self._block


@dataclass(slots=True)
class Entry:
    """An answer with status 200. `etag` is quoted as in the header, an empty text for none."""

    rule: str
    headers: Headers
    body: bytes
    compressible: bool
    as_of: int
    slots: Slots
    made_at: float
    etag: str = ""
    outdated_at: float | None = None
    uses: int = 1
    epoch: int = 0
    size_bytes: int = 0
    variants: dict[str, Variant] = field(default_factory=dict)
    unmodified: dict[str, Variant] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.etag = next((value for name, value in self.headers if name.lower() == "etag"), "")
        self.headers = [pair for pair in self.headers if pair[0].lower() != "content-length"]
        self.headers.append(("Content-Length", str(len(self.body))))
        self.variants[IDENTITY] = Variant(self.headers, self.body)
        self.size_bytes = OVERHEAD_BYTES + len(self.body) + sum(len(name) + len(value) for name, value in self.headers)

    def etag_of(self, encoding: str) -> str:
        """Return the tag of a variant, as operations/compression.py makes it."""
        if not encoding or not self.etag.startswith('"'):
            return self.etag
        return f'W/{self.etag[:-1]}:{encoding}"'

    def not_modified(self, encoding: str) -> Variant:
        """Return what goes with a 304."""
        found = self.unmodified.get(encoding)
        if found is None:
            kept = [(name, value) for name, value in self.headers if name.lower() not in _OF_BODY | _REPLACED]
            found = self.unmodified[encoding] = Variant([*kept, ("ETag", self.etag_of(encoding))], b"")
        return found

    def known_as(self, if_none_match: str, encoding: str) -> str | None:
        """Return the encoding in which the client has this already, None when it has not. Tags are compared weakly."""
        if not self.etag:
            return None
        # What has the client, and not how it would be sent now, is what Flask compares first.
        for each in (IDENTITY, encoding):
            if if_none_match == self.etag_of(each):
                return each
        known = parse_etags(if_none_match)
        for each in (IDENTITY, encoding):
            if known.contains_weak(self.etag_of(each).removeprefix("W/").strip('"')):
                return each
        return None

    def used(self, epoch: int) -> int:
        """Return how often this was used lately, by the doorkeeper's measure."""
        if self.epoch != epoch:
            self.uses >>= epoch - self.epoch
            self.epoch = epoch
        return self.uses


class Responses:
    """The finished responses of a process."""

    def __init__(
        self,
        room_bytes: int,
        fresh_s: float,
        generations: Generations,
        compressors: Compressors,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.generations = generations
        self.size_bytes = 0
        self.largest_bytes = min(LARGEST_BYTES, room_bytes // LARGEST_SHARE)
        self._room = self._whole = room_bytes
        self._fresh_s = fresh_s
        self._compressors = compressors
        self._clock = clock
        self._doorkeeper = Doorkeeper(clock)
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._turn = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: Key) -> Entry | None:
        """Return what is kept under a key, outdated or not."""
        with self._turn:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
                entry.used(self._doorkeeper.epoch)
                entry.uses += 1
        return entry

    def fresh(self, entry: Entry) -> bool:
        """Say whether an entry is as good as a new answer."""
        now = self._clock()
        if self.generations.fresh(entry.as_of, entry.slots) and now - entry.made_at < self._fresh_s:
            entry.outdated_at = None
            return True
        if entry.outdated_at is None:
            entry.outdated_at = now
        return False

    def outdated_s(self, entry: Entry) -> int | None:
        """Return the age of an outdated entry, None when it has been outdated too long to be used even in need."""
        now = self._clock()
        if entry.outdated_at is not None and now - entry.outdated_at > OUTDATED_S:
            return None
        return int(now - entry.made_at)

    def note(self, key: Key) -> None:
        """Hear that an answer to this key could have been kept."""
        self._doorkeeper.count(key)

    def wants(self, key: Key) -> bool:
        """Say whether the next answer to a key is worth keeping: it was asked for before, and more often than what has to go."""
        asked = self._doorkeeper.estimate(key)
        if not asked:
            return False
        with self._turn:
            oldest = next(iter(self._entries.values()), None)
            full = self.size_bytes + self.largest_bytes > self._room
            return not full or oldest is None or oldest.used(self._doorkeeper.epoch) < asked

    def make(self, rule: str, headers: Headers, body: bytes, compressible: bool, as_of: int, slots: Slots) -> Entry:
        """Return an entry made now, which is not kept yet."""
        return Entry(rule, headers, body, compressible, as_of, slots, self._clock())

    def forget(self, key: Key) -> None:
        """Drop what is kept under a key."""
        with self._turn:
            self._drop(key)

    def keep(self, key: Key, entry: Entry) -> Entry | None:
        """Keep an entry and return it, or the one that another thread kept meanwhile; None when it is outdated or too large."""
        if entry.size_bytes > self.largest_bytes + OVERHEAD_BYTES or not self.generations.fresh(entry.as_of, entry.slots):
            return None
        with self._turn:
            before = self._entries.get(key)
            if before is not None and before.made_at >= entry.made_at and before.as_of >= entry.as_of:
                return before
            entry.epoch = self._doorkeeper.epoch
            entry.uses = before.used(entry.epoch) if before else self._doorkeeper.estimate(key)
            self._drop(key)
            self._entries[key] = entry
            self.size_bytes += entry.size_bytes
            self._make_room(key)
        return entry

    def variant(self, key: Key, entry: Entry, encoding: str) -> Variant:
        """Return a kept entry in an encoding, which is made at the first request that wants it."""
        found = entry.variants.get(encoding)
        if found is not None:
            return found
        made = self._compressed(entry, encoding)
        with self._turn:
            if self._entries.get(key) is entry and encoding not in entry.variants:
                entry.variants[encoding] = made
                grown = OVERHEAD_BYTES + len(made.body)
                entry.size_bytes += grown
                self.size_bytes += grown
                self._make_room(key)
        return made

    def _compressed(self, entry: Entry, encoding: str) -> Variant:
        body = self._compressors[encoding](entry.body)
        kept = [(name, value) for name, value in entry.headers if name.lower() not in _REPLACED]
        told = [("Content-Encoding", encoding), ("Content-Length", str(len(body)))]
        if entry.etag:
            told.append(("ETag", entry.etag_of(encoding)))
        return Variant([*kept, *told], body)

    def shrink(self, share: float) -> None:
        """Keep no more than this share of what there is room for, from now on."""
        with self._turn:
            self._room = int(self._whole * share)
            while self.size_bytes > self._room:
                self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        """Drop everything."""
        with self._turn:
            self._entries.clear()
            self.size_bytes = 0

    def _make_room(self, kept: Key) -> None:
        while self.size_bytes > self._room:
            oldest = next(iter(self._entries))
            if oldest == kept:  # it is the newest: there is nothing else
                self._entries.move_to_end(kept)
                oldest = next(iter(self._entries))
            self._drop(oldest)

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.size_bytes -= entry.size_bytes
