"""The platform's worker, for routes that want something of it. The master imports this, so it must not import the application."""

from __future__ import annotations

from codyverse.server import worker


class Worker(worker.Worker):
    """The one of this process is `Worker.current`."""

    current: Worker

    def run(self) -> None:
        Worker.current = self
        super().run()
