"""A host: the server with its workers, and the commands of an operator beside it. Two may share a database and a Redis."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType

from tests.network import Place
from tests.server import ROOT, Server, wait_until

HERE = Place("127.0.0.1", "127.0.0.1")


class Host(Server):
    """A server, in a place of its own."""

    def __init__(self, folder: Path, database_url: str, workers: int = 4, threads: int = 4, place: Place = HERE, **settings: str):
        super().__init__(folder, database_url, "--workers", str(workers), "--threads", str(threads), **settings)
        self._workers = workers
        self._place = place
        self.url = f"http://{place.address}:{self.port}"
        self._arguments = (*self._arguments, "--bind", f"{place.address}:{self.port}")
        self._importer: subprocess.Popen[str] | None = None

    def __enter__(self) -> Host:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*self._place.prefix, sys.executable, "-m", "gunicorn", *self._arguments],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: self.is_ready() and len(self.workers()) == self._workers)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._importer:
            self._importer.communicate(timeout=40)
        super().__exit__(kind, error, trace)

    def flask(self, *arguments: str) -> str:
        """Run a `flask` command as an operator of this host does; returns what it printed."""
        ended = subprocess.run(
            [*self._place.prefix, sys.executable, "-m", "flask", *arguments],
            check=False,
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def import_by_service(self, folder: Path) -> None:
        """Have another process of this host, which goes on running, import a catalogue; returns when that is done."""
        if self._importer is None:
            with self._log.open("ab") as log:
                self._importer = subprocess.Popen(
                    [*self._place.prefix, sys.executable, "-m", "tests.faults.importer"],
                    cwd=ROOT,
                    env=self._environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
        assert self._importer.stdin and self._importer.stdout
        print(folder, file=self._importer.stdin, flush=True)
        line = next(line for line in self._importer.stdout if not line.startswith("{"))  # which is one of the log
        assert line == "done\n"

    def used_cpu(self) -> dict[int, int]:
        """Return the ticks of processor time that each worker has used."""
        fields = {pid: Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split() for pid in self.workers()}
        return {pid: int(stat[11]) + int(stat[12]) for pid, stat in fields.items()}
