"""What gunicorn's hooks do when a worker begins and ends."""

from __future__ import annotations

import gc
from typing import Any

from codyverse.operations import components
from codyverse.server import access_log, replacement, watchdog
from codyverse.server.worker import shares


def before_fork(worker: Any) -> None:
    """Give a worker its places in what the workers share; in the master."""
    worker.slot = shares.take(worker)
    replacement.roster.take(worker.age)


def begun(worker: Any) -> None:
    """Begin what a worker has of its own, and freeze what was loaded: looking through it for garbage would cost every request."""
    access_log.begin(worker)
    components.of(_application(worker)).start()
    watchdog.write_stacks_on_abort()
    gc.collect()
    gc.freeze()


def ended(worker: Any) -> None:
    """Close what a worker has open: counts are added up, events written, connections closed."""
    application = _application(worker)
    if application is not None:  # it could not be loaded
        components.of(application).close()


def _application(worker: Any) -> Any:
    return getattr(worker, "application", getattr(worker, "wsgi", None))
