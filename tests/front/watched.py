"""The platform with routes that leak, hang and ask for a replacement."""

from __future__ import annotations

import os
import signal
import threading

from codyverse import create_app
from tests.front.watched_worker import Worker

LEAKED = 1_000_000  # bytes a request

_kept: list[bytearray] = []
_never = threading.Event()


def leak() -> str:
    _kept.append(bytearray(LEAKED))
    return "leaked"


def calm() -> str:
    return str(os.getpid())


def retire() -> str:
    Worker.current._oversight.ask("the test says so")
    return str(os.getpid())


def hang() -> str:
    _never.wait()
    return "never"


def freeze(sig: int, frame: object) -> None:
    sum(range(10**15))  # holds the event loop without a chance for Python's handlers of signals


app = create_app()
for view in (leak, calm, retire, hang):
    app.add_url_rule(f"/test/{view.__name__}", view_func=view)
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGUSR2, freeze)
