"""What a process has to close when it ends, in the reverse order of its beginning."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flask import Flask

log = logging.getLogger("codyverse.startup")


class Components:
    """Parts of a process by name. An error while one is closed does not keep the others open."""

    def __init__(self) -> None:
        self._closing: list[tuple[str, Callable[[], None]]] = []

    def add(self, name: str, close: Callable[[], None]) -> None:
        """Have a part closed before those that were added earlier."""
        self._closing.append((name, close))

    def close(self) -> None:
        """Close everything, once."""
        while self._closing:
            name, close = self._closing.pop()
            try:
                close()
            except Exception:
                log.exception("a part did not close: %s", name)


def of(app: Flask) -> Components:
    """Return the application's parts."""
    components: Components = app.extensions["codyverse.components"]
    return components


def init_app(app: Flask) -> None:
    """Begin with none. Comes before every part that has to be closed."""
    app.extensions["codyverse.components"] = Components()
