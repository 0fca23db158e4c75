"""What the workers of a master know of each other: how many connections each holds.

One page of memory, made before gunicorn forks. Each worker writes into the slot that it was given (see `replacement`), everybody
reads all.
"""

from __future__ import annotations

import mmap
import struct

SLOTS = 256
_NUMBER = struct.Struct("i")
_ALL = struct.Struct(f"{SLOTS}i")
_NONE = 0  # a worker that accepts connections writes one more than it holds


class Shares:
    """The slots. What a worker that does not accept holds is nobody's measure."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _ALL.size)

    def publish(self, slot: int, connections: int) -> None:
        """Tell how many connections the worker of this slot holds, who accepts more."""
        _NUMBER.pack_into(self._memory, slot * _NUMBER.size, connections + 1)

    def clear(self, slot: int) -> None:
        """Tell that nobody who has this slot accepts any."""
        _NUMBER.pack_into(self._memory, slot * _NUMBER.size, _NONE)

    def least(self) -> int | None:
        """Return how many connections the worker holds that holds fewest, None when none accepts any."""
        held = [number for number in _ALL.unpack_from(self._memory) if number != _NONE]
        return min(held) - 1 if held else None


shares = Shares()  # made in the master, which imports this before it forks
