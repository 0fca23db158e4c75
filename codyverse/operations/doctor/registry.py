"""All checks of an application, in the order in which they are made."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Flask

from codyverse.operations.doctor import (
    database,
    machine,
    postgresql,
    redis,
    secrets,
    served,
    settings,
    sqlite,
    upkeep,
)
from codyverse.operations.doctor.check import Check, Group

ORDER = (
    *("settings", "cors", "secrets", "database", "pool", "redis", "clocks"),
    *("machine", "disk", "backups", "logs", "alerts", "audit"),
)

_MODULES = (settings, secrets, database, postgresql, sqlite, redis, machine, upkeep)


def of(app: Flask) -> list[Check]:
    """Return the checks of an application, group by group."""
    checks: list[Check] = app.extensions["codyverse.doctor"]
    return checks


def init_app(app: Flask, more: Iterable[Group] = ()) -> None:
    """Gather the checks: ours, those of the domains, and last those of the site that visitors see."""
    found = [check for module in _MODULES for group in module.GROUPS for check in group.checks]
    found.sort(key=lambda check: ORDER.index(check.group))
    found += [check for group in (*more, *served.GROUPS) for check in group.checks]
    app.extensions["codyverse.doctor"] = found
