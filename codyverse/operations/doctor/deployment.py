"""What the checks look at: settings, database, what gunicorn is told, the machine, and the site as visitors see it."""

from __future__ import annotations

import ast
import os
import re
import resource
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.config import Config

from codyverse.database import Database
from codyverse.operations.doctor.site import Site
from codyverse.server import budget
from config import ROOT, Settings

GUNICORN = ROOT / "gunicorn.conf.py"


@dataclass(frozen=True, slots=True)
class Plan:
    """What gunicorn is told, of which some matters to the rest."""

    workers: int
    threads: int
    worker_connections: int
    backlog: int
    bind: tuple[str, ...]

    @classmethod
    def read(cls, file: Path = GUNICORN) -> Plan:
        """Return what the file says, and GUNICORN_CMD_ARGS, which wins. Raises ValueError, OSError, SyntaxError, SystemExit."""
        config = Config()
        for name, value in _plain_values(file, {each.name for each in fields(cls)}).items():
            config.set(name, value)
        arguments = config.parser().parse_args(config.get_cmd_args_from_env())
        for name, value in vars(arguments).items():
            if value is not None and name in config.settings:
                config.set(name, value)
        return cls(config.workers, config.threads, config.worker_connections, config.backlog, tuple(config.bind))


def _plain_values(file: Path, names: Container[str]) -> dict[str, Any]:
    """Return what a file of Python assigns to these names. It is not run: to gunicorn's that means to begin to serve."""
    found = {}
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in names:
            found[node.targets[0].id] = _plain(node.value)
    return found


def _plain(node: ast.expr) -> Any:
    """Return a value as it is written; of a text with holes what stands around them. Raises ValueError."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
    return [_plain(each) for each in node.elts] if isinstance(node, ast.List | ast.Tuple) else ast.literal_eval(node)


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system: bytes and files that it may hold, and how many more; files 0 where nobody counts them."""

    bytes: int
    free_bytes: int
    files: int
    free_files: int

    @classmethod
    def of(cls, path: Path) -> Disk:
        """Return the one that a path lies on. Raises OSError."""
        found = os.statvfs(path)
        return cls(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, found.f_files, found.f_favail)


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine as this process meets it."""

    root: Path = Path("/")
    uid: int = field(default_factory=os.geteuid)
    open_files: tuple[int, int] = field(default_factory=lambda: resource.getrlimit(resource.RLIMIT_NOFILE))  # may, and could
    memory_bytes: int = field(default_factory=budget.limit_bytes)
    disk: Callable[[Path], Disk] = Disk.of
    device: Callable[[Path], int] = lambda path: path.stat().st_dev
    now: Callable[[], float] = time.time

    def open_files_of(self, pid: int) -> int | None:
        """Return how many files a process may open, None for one that is gone."""
        try:
            told = (self.root / f"proc/{pid}/limits").read_text("ascii")
        except OSError:
            return None
        found = re.search(r"^Max open files +(\d+)", told, re.MULTILINE)
        return int(found[1]) if found else None

    def account_of(self, pid: int) -> int | None:
        """Return the account that a process runs under, None for one that is gone."""
        try:
            return (self.root / f"proc/{pid}").stat().st_uid
        except OSError:
            return None

    def is_container(self) -> bool:
        """Say whether this is a container, which has a network of its own."""
        return any((self.root / marker).exists() for marker in (".dockerenv", "run/.containerenv"))

    def somaxconn(self) -> int:
        """Return how many connections may wait to be accepted at one socket. Raises OSError."""
        return int((self.root / "proc/sys/net/core/somaxconn").read_text("ascii"))

    def file_system(self, path: Path) -> str:
        """Return the kind of file system that a path lies on, an empty text where the system does not tell."""
        try:
            lines = (self.root / "proc/self/mounts").read_text("utf-8").splitlines()
        except OSError:
            return ""
        kinds = {Path(line.split()[1].replace("\\040", " ")): line.split()[2] for line in lines}  # the last mount is on top
        return next((kinds[place] for place in (path, *path.parents) if place in kinds), "")


@dataclass
class Deployment:
    """One deployment. `url` is where visitors find it, empty for nowhere yet."""

    app: Flask
    settings: Settings
    database: Database
    machine: Machine = field(default_factory=Machine)
    url: str = ""
    read_plan: Callable[[], Plan] = Plan.read

    @cached_property
    def plan(self) -> Plan:
        """Return what gunicorn is told."""
        return self.read_plan()

    @cached_property
    def site(self) -> Site:
        """Return the site as visitors see it."""
        return Site(self.url)

    @classmethod
    def of(cls, app: Flask, url: str = "") -> Deployment:
        """Return the deployment that an application stands in."""
        return cls(app, app.config["CODYVERSE"], app.extensions["codyverse.database"], url=url)
