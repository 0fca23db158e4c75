"""What gunicorn's master checks before it starts a worker."""

from __future__ import annotations

import logging
import sys

import sqlalchemy.exc

from codyverse import connections
from config import Settings

log = logging.getLogger("codyverse.startup")


def check_connections(settings: Settings, workers: int, threads: int) -> None:
    """End the process with code 2 when the database has not room for every connection that so many workers may open.

    With them counts the one more that there is while one is replaced (see `replacement`).
    A database that cannot be asked now may be there when the first request comes, so that is only said.
    """
    size = settings.database_pool_size
    needed = (workers + 1) * size
    if size < threads:
        log.warning("%d threads of a worker share %d connections to the database: some will wait for others", threads, size)
    try:
        room = connections.most_connections(settings)
    except sqlalchemy.exc.DBAPIError as error:
        cause = type(error.orig).__name__
        log.warning("whether the database has room for %d connections could not be asked: %s", needed, cause)
        return
    if room is not None and needed > room:
        print(  # noqa: T201  (as for every setting that cannot be used: one line, and no stack trace)
            f"codyverse: {workers} workers, and one more while one is replaced, with {size} connections each "
            f"(CODYVERSE_DATABASE_POOL_SIZE) may open {needed}, "
            f"and the database has {room} for accounts like ours (max_connections without those it reserves).",
            file=sys.stderr,
        )
        raise SystemExit(2)
