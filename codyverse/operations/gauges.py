"""What every process of a host has at this moment: memory, requests in hand, connections. All of them can read it.

A process that serves writes its values to a file in host memory every EVERY_S. Whoever reads removes the files of processes that
are gone, and so does every process that begins, so that a thousand recycled workers leave none behind. What is only ever counted
upwards is for `tallies`.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import orjson
from flask import Flask

from codyverse.operations import components, host_memory
from codyverse.operations.components import Components

log = logging.getLogger("codyverse.performance")

EVERY_S = 2.0
CLOSE_S = 1.0

Read = Callable[[], float | None]


class Sample(NamedTuple):
    """A value, with the name and the labels that Prometheus knows it by."""

    name: str
    labels: Mapping[str, str]
    value: float


class Process(NamedTuple):
    """What a process said of itself `at` a time. `worker` is the number of its slot, `-` outside of gunicorn."""

    worker: str
    pid: int
    started_at: float  # Unix time, like `at`
    at: float
    values: list[Sample]


class Gauges:
    """Values that can be asked for, of this process and of the others."""

    def __init__(self, folder: Path, parts: Components, clock: Callable[[], float] = time.time) -> None:
        self.serves = False  # whether this process belongs to the service; a `flask` command beside it does not
        self._folder = folder
        self._parts = parts
        self._clock = clock
        self._reads: dict[tuple[str, tuple[tuple[str, str], ...]], Read] = {}
        self._failed: set[str] = set()
        self._told: Process | None = None  # of late; it is asked anew by the thread only, since that may take a moment
        self._began = (0, 0.0)  # this process and when
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, name: str, labels: Mapping[str, str], read: Read) -> None:
        """Have a value read: often, by any thread. None is for nothing to say. Added again, it is read in the new way only."""
        self._reads[name, tuple(sorted(labels.items()))] = read

    def processes(self) -> list[Process]:
        """Return what each process that lives says of itself, in the order of their slots, within EVERY_S."""
        found = [self._told or self._own()] if self.serves else []
        found += [process for process in self._others() if process.pid != os.getpid()]
        return sorted(found, key=lambda process: (len(process.worker), process.worker, process.started_at))

    def start(self) -> None:
        """Begin to tell the others."""
        self.serves = True
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_telling, args=(self._ended,), name="gauges", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Tell nothing any more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)
        told, self._thread, self._told, self.serves = self._told, None, None, False
        if told is not None and told.pid == os.getpid():
            with suppress(OSError):
                _file_of(self._folder, os.getpid()).unlink(missing_ok=True)

    def _keep_telling(self, ended: threading.Event) -> None:
        for _ in self._others():  # whose files go when nobody else reads them
            pass
        fails = False
        while True:
            try:
                self._tell()
                fails = False
            except OSError as error:
                if not fails:
                    log.warning("what this process holds cannot be told: %s", type(error).__name__)
                fails = True
            if ended.wait(EVERY_S):
                return

    def _tell(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        own = self._told = self._own()
        values = [[sample.name, sample.labels, sample.value] for sample in own.values]
        path = _file_of(self._folder, own.pid)
        new = path.with_suffix(".new")
        new.write_bytes(orjson.dumps([own.worker, began(own.pid), own.started_at, own.at, values]))
        new.replace(path)

    def _own(self) -> Process:
        pid = os.getpid()
        if self._began[0] != pid:  # a fork has a beginning of its own
            self._began = pid, started_at(pid) or self._clock()
        return Process(self._parts.worker, pid, self._began[1], self._clock(), list(self._values()))

    def _values(self) -> Iterator[Sample]:
        for (name, labels), read in list(self._reads.items()):
            try:
                value = read()
            except Exception:  # the others still have something to say
                if name not in self._failed:
                    self._failed.add(name)
                    log.exception("a value cannot be read: %s", name)
                continue
            if value is not None and math.isfinite(value):
                yield Sample(name, dict(labels), float(value))

    def _others(self) -> Iterator[Process]:
        """Yield what lies in the folder, and remove what no living process has written."""
        with suppress(OSError):
            for path in sorted(self._folder.iterdir()):
                process = _read(path)
                if process is not None:
                    yield process
                elif path.suffix != ".new" or began(_pid_of(path)) is None:  # else somebody is about to replace it
                    path.unlink(missing_ok=True)


def began(pid: int) -> int | None:
    """Return when a process began, in ticks since the machine did; None when there is none. With its number that names it."""
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] not in ("Z", "X") else None


def started_at(pid: int) -> float | None:
    """Return when a process began as a Unix time, None where the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        ticks = began(pid)
        since_boot_s = float(Path("/proc/uptime").read_text("ascii").split()[0])
        if ticks is not None:
            return time.time() - since_boot_s + ticks / os.sysconf("SC_CLK_TCK")
    return None


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return []


def _file_of(folder: Path, pid: int) -> Path:
    return folder / f"{pid}.json"


def _pid_of(path: Path) -> int:
    return int(path.stem) if path.stem.isdigit() else 0


def _read(path: Path) -> Process | None:
    """Return what a file says, None when its process is gone, or when it says nothing."""
    pid = _pid_of(path)
    if path.suffix != ".json":
        return None
    try:
        worker, ticks, since, at, values = orjson.loads(path.read_bytes())
        if ticks is None or ticks != began(pid):
            return None
        return Process(worker, pid, since, at, [Sample(*value) for value in values])
    except (OSError, ValueError, TypeError):
        return None


def of(app: Flask) -> Gauges:
    """Return the application's gauges."""
    gauges: Gauges = app.extensions["codyverse.gauges"]
    return gauges


def init_app(app: Flask) -> None:
    """Make the gauges of this process. Comes before every part that has something to tell."""
    parts = components.of(app)
    gauges = Gauges(host_memory.folder(app.config["CODYVERSE"]) / "gauges", parts)
    app.extensions["codyverse.gauges"] = gauges
    parts.add("gauges", gauges.close, start=gauges.start)

    @app.before_request
    def serve() -> None:
        gauges.serves = True  # a server that starts no parts, such as `flask run`, has this process only
