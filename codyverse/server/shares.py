"""What the workers of a master know of each other: how many connections each holds.

One page of memory, made before gunicorn forks. The master gives each worker a slot of its own and takes it back when the worker
has ended; the worker writes into its slot, everybody reads all.
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
        self._owners: dict[object, int] = {}

    def take(self, worker: object) -> int | None:
        """Give a worker a slot, None when there is none; for the master, before it forks."""
        taken = set(self._owners.values())
        slot = next((number for number in range(SLOTS) if number not in taken), None)
        if slot is not None:
            self._owners[worker] = slot
            self.clear(slot)
        return slot

    def free(self, worker: object) -> None:
        """Take a worker's slot back; for the master, when the worker has ended."""
        slot = self._owners.pop(worker, None)
        if slot is not None:
            self.clear(slot)

    def publish(self, slot: int, connections: int) -> None:
        """Tell how many connections the worker of this slot holds, who accepts more."""
        _NUMBER.pack_into(self._memory, slot * _NUMBER.size, connections + 1)

    def clear(self, slot: int) -> None:
        """Tell that the worker of this slot accepts none."""
        _NUMBER.pack_into(self._memory, slot * _NUMBER.size, _NONE)

    def least(self) -> int | None:
        """Return how many connections the worker holds that holds fewest, None when none accepts any."""
        held = [number for number in _ALL.unpack_from(self._memory) if number != _NONE]
        return min(held) - 1 if held else None
