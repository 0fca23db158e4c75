"""What the breakers of a process mean to logs and figures: `breaker:database:open`, `…:half-open` and `…:closed` are counted.

Whether one is open is told, too; one that waits for its probe to come back is.
"""

from __future__ import annotations

import logging

from flask import Flask

from codyverse.operations import gauges, tallies
from codyverse.operations.breaker import Breaker, State

log = logging.getLogger("codyverse.faults")


def watch(app: Flask, breaker: Breaker) -> None:
    """Log, count and tell what a breaker does."""
    counts = tallies.of(app)

    def hear(name: str, state: State) -> None:
        counts.count(f"breaker:{name}:{state}")
        if state is State.OPEN:
            log.warning("a breaker opened: %s", name)
        elif state is State.CLOSED:
            log.warning("a breaker closed: %s", name)

    breaker.listener = hear
    labels = {"breaker": breaker.name}
    gauges.of(app).add("codyverse_breaker_open", labels, lambda: float(breaker.state is not State.CLOSED))
