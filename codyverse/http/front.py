"""What the worker that serves this application has to know of it."""

from __future__ import annotations

from functools import partial

from flask import Flask

from codyverse.operations import components, proxies, request_ids, tallies
from codyverse.server.front import NAME, Front
from codyverse.server.hits import Hits
from codyverse.server.shell import Shell
from config import Settings


def init_app(app: Flask) -> None:
    """Leave it where the worker looks. Comes after finishing, whose shell answers the hits."""
    settings: Settings = app.config["CODYVERSE"]
    shell: Shell | None = app.extensions.get("codyverse.shell")
    hits = None
    if shell is not None:
        behind_proxies = proxies.believing(shell.hit, settings.trusted_proxies)  # type: ignore[arg-type]
        hits = Hits(behind_proxies, partial(request_ids.take, trusted=settings.trusted_proxies > 0))  # type: ignore[arg-type]
    app.extensions[NAME] = Front(settings, components.of(app), tallies.of(app).count, hits)
