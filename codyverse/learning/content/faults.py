"""What the linter finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that keeps a catalogue from being imported; `path` is relative to the catalogue's folder, lines count from 1."""

    path: str
    line: int
    message: str


class File:
    """One file under inspection: collects what is wrong with it."""

    def __init__(self, path: str, faults: list[Fault]) -> None:
        self.path = path
        self._faults = faults

    def fault(self, line: int, message: str) -> None:
        """Note what is wrong in a line."""
        self._faults.append(Fault(self.path, line, message))
