"""Which of what was read is outdated: tags and their generations, in memory that all processes of a host share.

What is kept carries `as_of`, a number that was read before it was loaded, and the slots of its tags. Every change takes the next
number as the generation of each tag it touched, so a kept value is good while no generation of its tags is above its `as_of`.
A look-up costs a few hundred nanoseconds, no lock and no system call, and no process trusts a value that is older than a commit,
whoever made it: a worker, a job or a `flask` command.

A change is told twice. `begin`, before the commit, makes the tags unfit for keeping anything; `end`, after it, gives them their
new generation. A writer that is killed in between leaves them unfit for LAPSES_S: too little is kept then, never too long.

Tags share a fixed number of slots. Two tags in one slot outdate each other's values, which costs a load and no more.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

SLOTS = 65_536
LAPSES_S = 15.0  # longer than any commit may take
LOOK_NS = 1_000_000_000  # how often it is looked whether the file is still there
CHANGING = 2**63  # the generation of a tag that is being changed: above every number

# 64-bit words of the header, then three for each slot: its generation, how many writers are changing it, when that lapses.
_BOOT, _LAST, _FLOOR, _HEARD_UNTIL, _HOST, _OWED, _PAID, _MESSAGE = range(8)
_HEADER = 512
_WRITERS, _LAPSES_AT = 1, 2
_SIZE = 8 * (_HEADER + 3 * SLOTS)

Slots = tuple[int, ...]


class Generations:
    """The tags of one host."""

    def __init__(self, path: Path, guarded: bool = False, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """Open or make the file. Raises OSError. With `guarded` nothing is fresh while `heard` has not been said lately."""
        self._guarded = guarded
        self._now = monotonic_ns
        self._turn = threading.Lock()
        self._lock = os.open(path.with_name(f"{path.name}-lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._look_at = 0
        self._removed = False
        with self._alone():
            if os.fstat(self._file).st_size != _SIZE:
                os.ftruncate(self._file, 0)
                # Not a hole: memory that the host does not have would end the process at the first write to it.
                os.posix_fallocate(self._file, 0, _SIZE)
            self._map = mmap.mmap(self._file, _SIZE)
            self._words = memoryview(self._map).cast("Q")
            self._begin_anew_after_a_boot()

    def as_of(self) -> int:
        """Return the number to take before loading what will be kept."""
        return self._words[_LAST]

    @staticmethod
    def slots(tags: Iterable[str]) -> Slots:
        """Return where the generations of the tags lie."""
        return tuple(sorted({_HEADER + 3 * (zlib.crc32(tag.encode()) % SLOTS) for tag in tags}))

    def fresh(self, as_of: int, slots: Slots) -> bool:
        """Say whether what was loaded as of a number is as good as a new load."""
        return self.unchanged(as_of, slots) and self.trusted()

    def trusted(self) -> bool:
        """Say whether every change is heard of, those of other hosts too."""
        now = self._now()
        if now >= self._look_at:
            self._look_at = now + LOOK_NS
            # Something that tidies up has removed it: who comes now makes another file, and is not heard here.
            self._removed = os.fstat(self._file).st_nlink == 0
        return not self._removed and (not self._guarded or self._words[_HEARD_UNTIL] > now)

    def unchanged(self, as_of: int, slots: Slots) -> bool:
        """Say whether nothing that this host knows of has changed since a number was taken."""
        words = self._words
        if as_of < words[_FLOOR]:
            return False
        for slot in slots:
            if words[slot] > as_of:
                if words[slot] == CHANGING:
                    self._end_if_lapsed(slot)
                return False
        return True

    def begin(self, tags: Collection[str]) -> None:
        """Hear that tags are about to change."""
        with self._alone():
            now = self._now()
            for slot in self.slots(tags):
                if self._words[slot + _LAPSES_AT] <= now:
                    self._words[slot + _WRITERS] = 1
                    self._words[slot + _LAPSES_AT] = now + int(LAPSES_S * 1e9)
                else:  # the time stays that of the first, or one that was killed would never lapse where others keep coming
                    self._words[slot + _WRITERS] += 1
                self._words[slot] = CHANGING

    def end(self, tags: Collection[str]) -> int:
        """Hear that tags have changed, and return a number that no later change has: what was read since is as of that."""
        with self._alone():
            for slot in self.slots(tags):
                self._words[slot + _WRITERS] = max(0, self._words[slot + _WRITERS] - 1)
                if self._words[slot + _WRITERS] == 0:
                    self._settle(slot)
            return self._words[_LAST]

    def outdate_all(self) -> None:
        """Make everything that was loaded before this outdated."""
        with self._alone():
            self._words[_FLOOR] = self._next()

    def heard(self, for_s: float) -> None:
        """Trust, for so many seconds, that every change of other hosts is heard of."""
        self._words[_HEARD_UNTIL] = self._now() + int(for_s * 1e9)

    def unheard(self) -> None:
        """Trust nothing until something is heard again."""
        self._words[_HEARD_UNTIL] = 0

    @property
    def host(self) -> int:
        """Return the number by which other hosts know this one."""
        return self._words[_HOST]

    @property
    def message(self) -> int:
        """Return the number of the last message of the cluster that was heard."""
        return self._words[_MESSAGE]

    def heard_message(self, number: int) -> None:
        """Remember which message was the last."""
        self._words[_MESSAGE] = number

    def owe(self) -> None:
        """Note, for all processes, that the cluster could not be told of a change."""
        with self._alone():
            self._words[_OWED] += 1

    def owed(self) -> int:
        """Return the number of the last change that the cluster does not know of, 0 when it knows all."""
        owed = self._words[_OWED]
        return owed if owed != self._words[_PAID] else 0

    def paid(self, owed: int) -> None:
        """Note that the cluster knows of all changes up to one."""
        with self._alone():
            self._words[_PAID] = max(self._words[_PAID], owed)

    def close(self) -> None:
        """Let go of the file."""
        self._words.release()
        self._map.close()
        os.close(self._file)
        os.close(self._lock)

    def _end_if_lapsed(self, slot: int) -> None:
        if self._words[slot + _LAPSES_AT] <= self._now():
            with self._alone():
                if self._words[slot] == CHANGING and self._words[slot + _LAPSES_AT] <= self._now():
                    self._words[slot + _WRITERS] = 0
                    self._settle(slot)

    def _settle(self, slot: int) -> None:
        self._words[slot + _LAPSES_AT] = 0
        self._words[slot] = self._next()

    def _next(self) -> int:
        self._words[_LAST] += 1
        return self._words[_LAST]

    def _begin_anew_after_a_boot(self) -> None:
        # Where there is no memory folder the file outlives the host's uptime, by which lapses are told.
        boot = zlib.crc32(Path("/proc/sys/kernel/random/boot_id").read_bytes()) + 1
        if self._words[_BOOT] != boot:
            # The clock as well: what was kept under a file that is gone must not seem to be loaded later than this.
            last = max(self._words[_LAST], time.time_ns() // 1000)
            if self._words[_BOOT]:
                self._map[:] = bytes(_SIZE)
            self._words[_BOOT] = boot
            self._words[_LAST] = self._words[_FLOOR] = last + 1
            self._words[_HOST] = int.from_bytes(os.urandom(6))
            self._words[_OWED] = 1  # whether the cluster was told of everything is not known any more

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._turn:
            fcntl.lockf(self._lock, fcntl.LOCK_EX)  # between processes; it ends with the process that holds it
            try:
                yield
            finally:
                fcntl.lockf(self._lock, fcntl.LOCK_UN)


class NullGenerations:
    """Generations that cannot be known: nothing is ever fresh."""

    host = 0

    def as_of(self) -> int:
        """Return zero."""
        return 0

    @staticmethod
    def slots(tags: Iterable[str]) -> Slots:
        """Return none."""
        return Generations.slots(tags)[:0]

    def fresh(self, as_of: int, slots: Slots) -> bool:
        """Say no."""
        return False

    def trusted(self) -> bool:
        """Say no."""
        return False

    def unchanged(self, as_of: int, slots: Slots) -> bool:
        """Say no."""
        return False

    def begin(self, tags: Collection[str]) -> None:
        """Do nothing."""

    def end(self, tags: Collection[str]) -> int:
        """Return zero."""
        return 0

    def outdate_all(self) -> None:
        """Do nothing."""

    def owe(self) -> None:
        """Do nothing."""

    def owed(self) -> int:
        """Return zero."""
        return 0

    def paid(self, owed: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
