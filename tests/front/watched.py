"""The platform with routes that leak and hang, and its worker under oversight."""

from __future__ import annotations

import math
import os
import signal
import threading
from typing import Any

from codyverse import create_app
from codyverse.server.admission import Class
from codyverse.server.oversight import Oversight
from codyverse.server.worker import Worker as OurWorker

LEAKED = 1_000_000  # bytes a request

_kept: list[bytearray] = []
_never = threading.Event()


class Worker(OurWorker):
    """Asks at every turn."""

    current: Worker

    def run(self) -> None:
        Worker.current = self
        self.oversight = Oversight(self.front, self.cfg, self.age)
        super().run()

    def _turn(self) -> None:
        super()._turn()
        in_hand = sum(self.admission.running().values()) + sum(self.admission.waiting().values())
        reason = self.oversight.turn(self.nr + self._loop.answered_here, in_hand)
        if reason is not None:
            self.retire(reason)

    def _leave(self) -> None:
        self.oversight.leave()
        super()._leave()

    def _answer(self, klass: Class, connection: Any) -> None:
        outline = connection.outline
        what = f"{outline.method} {outline.path}" if outline else "a request"
        endless = klass in (Class.STREAM, Class.SLOW)
        self.oversight.watchdog.begin(threading.get_ident(), what, math.inf if endless else None)
        try:
            super()._answer(klass, connection)
        finally:
            self.oversight.watchdog.end(threading.get_ident())


def leak() -> str:
    _kept.append(bytearray(LEAKED))
    return "leaked"


def calm() -> str:
    return "calm"


def retire() -> str:
    Worker.current.oversight.ask("the test says so")
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
