"""What an application tells the worker that serves it, in its extension `codyverse.front`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from codyverse.operations.components import Components
from codyverse.server.hits import Hits
from config import Settings

NAME = "codyverse.front"


@dataclass(frozen=True, slots=True)
class Front:
    """The parts of the application that the worker uses. `hits` is None when nothing finished is kept.

    `refused` hears the method and the status of what the worker refuses; `tell` has a value of the worker's read, now and then.
    """

    settings: Settings
    components: Components
    count: Callable[[str], None]
    hits: Hits | None
    refused: Callable[[str, int], None]
    tell: Callable[[str, Mapping[str, str], Callable[[], float | None]], None]
