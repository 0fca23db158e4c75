"""What the worker that serves this application has to know of it."""

from __future__ import annotations

from functools import cache, partial

from flask import Flask

from codyverse.operations import components, gauges, metrics, proxies, request_ids, tallies
from codyverse.server import budget
from codyverse.server.front import NAME, Front
from codyverse.server.hits import Hits
from codyverse.server.shell import Shell
from config import Settings


@cache
def _budget_bytes(settings: Settings) -> int:
    return budget.budget_bytes(settings, 1)


def init_app(app: Flask) -> None:
    """Leave it where the worker looks. Comes after finishing, whose shell answers the hits."""
    settings: Settings = app.config["CODYVERSE"]
    shell: Shell | None = app.extensions.get("codyverse.shell")
    hits = None
    if shell is not None:
        behind_proxies = proxies.believing(shell.hit, settings.trusted_proxies)  # type: ignore[arg-type]
        hits = Hits(behind_proxies, partial(request_ids.take, trusted=settings.trusted_proxies > 0))  # type: ignore[arg-type]
    told = gauges.of(app)
    told.add("codyverse_worker_memory_bytes", {}, lambda: budget.rss_bytes() or None)
    told.add("codyverse_worker_memory_budget_bytes", {}, lambda: _budget_bytes(settings))  # a worker of ours knows better
    counted = metrics.of(app)
    refused = (lambda *_: None) if counted is None else counted.refused
    app.extensions[NAME] = Front(settings, components.of(app), tallies.of(app).count, hits, refused, told.add)
