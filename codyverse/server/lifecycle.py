"""What gunicorn's hooks do when a worker begins and ends."""

from __future__ import annotations

import gc
import signal
from typing import Any

from codyverse.operations import components
from codyverse.server import access_log, replacement, watchdog


def before_fork(worker: Any) -> None:
    """Give a worker its slot in what the workers share; in the master."""
    worker.slot = replacement.roster.take(worker.age)


def forked() -> None:
    """Let the worker be told to stop, and hear whether it was already: as long as it has begun nothing that just ends it."""
    for number in replacement.STOPPING:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, replacement.STOPPING)


def begun(worker: Any) -> None:
    """Begin what a worker has of its own, and freeze what was loaded: looking through it for garbage would cost every request."""
    access_log.begin(worker)
    parts = components.of(_application(worker))
    slot = getattr(worker, "slot", None)
    parts.worker = "-" if slot is None else str(slot)
    parts.workers_wanted = lambda: replacement.roster.wanted or int(worker.cfg.workers)
    parts.start()
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
