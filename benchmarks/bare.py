"""Bare servers of other kinds, which answer cached reads with the bytes of the service: Node's http, and granian.

Node is Debian's `nodejs`; granian is put into build/ by `make bench`, so that neither the service nor its tests depend on it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.server import ROOT, Server, wait_until

NODE_SCRIPT = Path(__file__).parent / "bare.js"
GRANIAN = ROOT / "build" / "granian"


class Bare(Server):
    """A context in which something else than gunicorn serves at `.url`; `command` is what starts it on a port."""

    def __init__(self, folder: Path, name: str, command: list[str], **environment: str) -> None:
        super().__init__(folder, "")
        self._command = [word.format(port=self.port) for word in command]
        self._environment = {"PATH": os.environ["PATH"], **environment}
        self._log = folder / f"{name}.log"

    def __enter__(self) -> Bare:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(self._command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)
        wait_until(self.is_ready)
        return self


def node(path: Path, script: Path) -> Bare | None:
    """Return Node's http in one process, answering what the script says; None where there is no Node."""
    command = shutil.which("node") or shutil.which("nodejs")
    return Bare(path, "node", [command, str(NODE_SCRIPT), str(script), "{port}"]) if command else None


def granian(path: Path, script: Path) -> Bare | None:
    """Return granian with two workers, serving the twin; None where it is not installed."""
    if not (GRANIAN / "granian").is_dir():
        return None
    words = ["-m", "granian", "--interface", "wsgi", "--workers", "2", "--log-level", "warning", "--host", "127.0.0.1"]
    command = [sys.executable, *words, "--port", "{port}", "benchmarks.twin:application"]
    return Bare(path, "granian", command, PYTHONPATH=str(GRANIAN), TWIN_SCRIPT=str(script))
