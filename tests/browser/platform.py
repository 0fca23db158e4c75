"""The platform as it is served, with an operator, and a day of figures if they are wanted."""

from __future__ import annotations

import fcntl
import math
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from flask import Flask

from codyverse import create_app
from codyverse.accounts.service import change_role
from codyverse.learning.service.catalogue import import_catalogue
from codyverse.operations import components, journal
from codyverse.operations.alerts import evaluator
from codyverse.operations.alerts.states import Standing, State
from codyverse.operations.alerts.store import AlertEvent, Change, Store
from tests.conftest import make_settings, read_content
from tests.server import Server

EMAIL, PASSWORD = "operator@example.org", "seven quiet otters"
DAY_MINUTES = 1440


@dataclass
class Platform:
    """A server, and an application over the same files to prepare them with."""

    url: str
    app: Flask

    def fire(self, name: str, state: State = "firing", value: float = 0.93) -> None:
        """Have an alert stand like that, as the evaluator writes it."""
        now = time.time()
        events = [AlertEvent(now, name, "firing", value)] if state == "firing" else []
        Store(journal.of(self.app)).save(Change({name: Standing(state, now, value)}, now, {}, now, events))

    def keep_a_day(self) -> None:
        """Write a day of figures such as a school makes: lessons from eight to four, and one bad quarter of an hour."""
        last = int(time.time() // 60 - 1) * 60
        points = [
            (name, "minute", last - 60 * ago, value)
            for ago in range(DAY_MINUTES)
            for name, value in _figures(1 - ago / DAY_MINUTES, random.Random(ago)).items()
        ]
        points += [(name, "hour", at - at % 3600, value) for name, _, at, value in points if at % 3600 == 0]
        journal.of(self.app).write(lambda file: file.executemany("INSERT OR REPLACE INTO points VALUES (?, ?, ?, ?)", points))


def _figures(part: float, chance: random.Random) -> dict[str, float | None]:
    busy = max(0.0, math.sin(math.pi * (part - 0.25) / 0.6)) ** 0.7 if 0.25 < part < 0.85 else 0.0
    bad = 0.58 < part < 0.59
    requests_per_s = 1.5 + 140 * busy * chance.uniform(0.8, 1.2)
    errors = chance.uniform(2, 4) if bad else (chance.uniform(0, 0.05) if chance.random() < 0.1 else 0.0)
    mean_ms = (180 if bad else 7 + 11 * busy) * chance.uniform(0.85, 1.2)
    return {
        "requests_per_s": requests_per_s,
        "errors_percent": errors,
        "availability_percent": 100 - errors,
        "mean_ms": mean_ms,
        "p95_ms": mean_ms * chance.uniform(2.4, 3.2),
        "cache_hit_percent": 99 - 5 * chance.random() * (1 - busy) - (20 if bad else 0),
        "memory_percent": 22 + 40 * (part * 3 % 1) + chance.uniform(-1, 1),
        "in_flight": float(round(requests_per_s * mean_ms / 1000)),
        "waiting": float(chance.randrange(30, 90)) if bad else 0.0,
        "shed_per_s": chance.uniform(1, 3) if bad else 0.0,
        "database_errors": float(chance.randrange(3)) if bad else 0.0,
        "pool_in_use": float(round(1 + 6 * busy * chance.random() + (8 if bad else 0))),
    }


@contextmanager
def served(folder: Path, database_url: str, **settings: str) -> Iterator[Platform]:
    """Serve the platform, whose operator has an account; alerts stand as a test has them, since it holds the evaluator's lock."""
    app = create_app(make_settings(folder, database_url))
    try:
        import_catalogue(app.extensions["codyverse.database"], read_content())
        with (folder / evaluator.LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with Server(folder, database_url, **settings) as server:
                register(server.url, app)
                yield Platform(server.url, app)
    finally:
        components.of(app).close()


def register(url: str, app: Flask) -> None:
    """Make the operator."""
    details: dict[str, Any] = {"email": EMAIL, "password": PASSWORD, "display_name": "Ada", "birth_date": "1990-12-10"}
    with requests.post(f"{url}/api/v1/auth/register", json=details, timeout=30) as response:
        assert response.status_code == 201, response.text
    change_role(app.extensions["codyverse.database"], EMAIL, "admin")
