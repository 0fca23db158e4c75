"""What a worker's event loop asks at every turn: whether the worker should be replaced, and whether it ends now."""

from __future__ import annotations

from typing import Any

from codyverse.server.front import Front
from codyverse.server.memory import Memory
from codyverse.server.replacement import Replacement
from codyverse.server.watchdog import Watchdog


class Oversight:
    """Memory, watchdog and replacement of one worker. Made in the worker; `turn` and `ask` are for its event loop."""

    def __init__(self, front: Front, cfg: Any, age: int) -> None:
        settings = front.settings
        self.watchdog = Watchdog(settings.request_deadline_s, front.count)
        self._memory = Memory(settings, cfg.workers, front.components, front.count)
        self._memory.tell(front.tell)
        self._replacement = Replacement(age, front.count, settings.memory_emergency_s)
        self._ends_within_s = float(cfg.graceful_timeout)
        self._stuck = False
        self._replacement.serving()

    def ask(self, reason: str) -> None:
        """Have the worker replaced."""
        self._replacement.ask(reason)

    def leave(self) -> None:
        """Hear that the worker accepts no more, whoever decided so."""
        self._replacement.leave()

    def turn(self, requests: int, running: int) -> str | None:
        """Return once why the worker ends now; `requests` it has answered, `running` it has in hand."""
        verdict = self._memory.check(requests, running)
        if verdict is not None:
            self._replacement.ask(verdict.reason, verdict.emergency)
        stuck = self.watchdog.check()
        if stuck is not None:
            self._stuck = True
            self._replacement.ask(stuck.reason)
        reason = self._replacement.check()
        if reason is not None:
            self._memory.report()
            if self._stuck:
                self.watchdog.end_process_within(self._ends_within_s)
        return reason
