"""Workers that stop in the first moment of their life until the test lets them go on: where the folder BIRTH says so."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from codyverse.server import worker

BIRTH = Path(os.environ["BIRTH"])


class _Waiting:
    """Waits where gunicorn tells a new process its id, which is the first thing that happens in one."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "pid" and value == os.getpid():
            (BIRTH / f"{value}").touch()
            while not (BIRTH / "go").exists():
                time.sleep(0.01)


class Worker(_Waiting, worker.Worker):
    """Ours."""


class Gthread(_Waiting, ThreadWorker):  # type: ignore[misc]
    """Gunicorn's."""
