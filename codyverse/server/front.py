"""What an application tells the worker that serves it, in its extension `codyverse.front`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from codyverse.operations.components import Components
from codyverse.server.hits import Hits
from config import Settings

NAME = "codyverse.front"


@dataclass(frozen=True, slots=True)
class Front:
    """The parts of the application that the worker uses. `hits` is None when nothing finished is kept."""

    settings: Settings
    components: Components
    count: Callable[[str], None]
    hits: Hits | None
