"""What a block of a test sends: the shape that `statements` and `round_trips` share."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Recording(Generic[Item]):
    """Records what this thread sends; others send at moments that no test knows."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._blocks: list[list[Item]] = []

    @contextmanager
    def recorded(self) -> Iterator[list[Item]]:
        """Lend the list of what the block sends."""
        sent: list[Item] = []
        self._blocks.append(sent)
        try:
            yield sent
        finally:
            # Not by `remove`, which would take another block that has sent the same.
            self._blocks = [block for block in self._blocks if block is not sent]

    @contextmanager
    def at_most(self, most: int) -> Iterator[list[Item]]:
        """Fail with what the block sends if there is more."""
        with self.recorded() as sent:
            yield sent
        assert len(sent) <= most, self.told(sent, most)

    def told(self, sent: list[Item], most: int) -> str:
        """Return what to fail with."""
        raise NotImplementedError

    def is_of_this_thread(self) -> bool:
        """Say whether the caller runs in the thread that is recorded."""
        return threading.get_ident() == self._thread

    def note(self, items: Iterable[Item]) -> None:
        """Record what was sent, in every block that is open."""
        items = list(items)
        if self.is_of_this_thread():
            for sent in self._blocks:
                sent.extend(items)


def numbered(lines: Iterable[str]) -> str:
    """Return the lines with their numbers."""
    return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1))
