"""What faults of the database mean to requests, logs and figures.

A request waits for one silence of the database only: what asks it later in the same request fails at once. Beside what its
breaker does (see `breakers`), the tallies are `retry:conflict`, `retry:lost`, and `retry:budget`: not made;
`database-error:connection`, `…:timeout` and `…:other`, and `happened:` with what was committed.
"""

from __future__ import annotations

from functools import partial

from flask import Flask

from codyverse.database import Database
from codyverse.operations import breakers, gauges, tallies


def init_app(app: Flask, database: Database) -> None:
    """Listen, and mark where requests begin and end. Comes before whatever asks the database in a request."""
    counts = tallies.of(app)
    breakers.watch(app, database.breaker)
    database.retries.listener = lambda reason: counts.count(f"retry:{reason}")
    database.error_listener = lambda kind: counts.count(f"database-error:{kind}")
    database.event_listener = lambda event, times: counts.count(f"happened:{event}", times)
    for state in ("in_use", "idle", "waiting"):
        gauges.of(app).add("codyverse_database_pool_connections", {"state": state}, partial(_in_state, database, state))
    app.before_request(database.begin_request)

    @app.teardown_request
    def end(error: BaseException | None) -> None:
        database.end_request()


def _in_state(database: Database, state: str) -> int:
    number: int = getattr(database.pool(), state)
    return number
