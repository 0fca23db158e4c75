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

    A database that cannot be asked now may be there when the first request comes, so that is only said.
    """
    size = settings.database_pool_size
    if size < threads:
        log.warning("%d threads of a worker share %d connections to the database: some will wait for others", threads, size)
    try:
        room = connections.most_connections(settings)
    except sqlalchemy.exc.DBAPIError as error:
        cause = type(error.orig).__name__
        log.warning("whether the database has room for %d connections could not be asked: %s", workers * size, cause)
        return
    if room is not None and workers * size > room:
        print(  # noqa: T201  (as for every setting that cannot be used: one line, and no stack trace)
            f"codyverse: {workers} workers × {size} connections (CODYVERSE_DATABASE_POOL_SIZE) are {workers * size}, "
            f"and the database has {room} for accounts like ours (max_connections without those it reserves).",
            file=sys.stderr,
        )
        raise SystemExit(2)
