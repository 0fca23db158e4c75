"""What faults of the database mean to requests, logs and figures.

A request waits for one silence of the database only: what asks it later in the same request fails at once. The tallies are
`breaker:database:open`, `…:half-open` and `…:closed`, `retry:conflict`, `retry:lost`, and `retry:budget`: not made.
"""

from __future__ import annotations

import logging

from flask import Flask

from codyverse.database import Database
from codyverse.operations import tallies
from codyverse.operations.breaker import Listener, State

log = logging.getLogger("codyverse.faults")


def breaker_listener(app: Flask) -> Listener:
    """Return a listener that logs and counts what a breaker does."""
    counts = tallies.of(app)

    def hear(name: str, state: State) -> None:
        counts.count(f"breaker:{name}:{state}")
        if state is State.OPEN:
            log.warning("a breaker opened: %s", name)
        elif state is State.CLOSED:
            log.warning("a breaker closed: %s", name)

    return hear


def init_app(app: Flask, database: Database) -> None:
    """Listen, and mark where requests begin and end. Comes before whatever asks the database in a request."""
    counts = tallies.of(app)
    database.breaker.listener = breaker_listener(app)
    database.retries.listener = lambda reason: counts.count(f"retry:{reason}")
    app.before_request(database.begin_request)

    @app.teardown_request
    def end(error: BaseException | None) -> None:
        database.end_request()
