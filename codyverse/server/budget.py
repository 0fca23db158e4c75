"""How much memory a worker may hold, and how much it holds."""

from __future__ import annotations

import os
from pathlib import Path

from config import Settings

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MEGABYTE = 1_000_000
UNLIMITED = 2**60  # bytes; version 1 of control groups writes a number above this for no limit


def budget_bytes(settings: Settings, workers: int, root: Path = Path("/")) -> int:
    """Return what one of so many workers may hold: the setting, or its part of what the container or else the machine has."""
    if settings.memory_worker_mb:
        return settings.memory_worker_mb * MEGABYTE
    return int(limit_bytes(root) * settings.memory_share / max(1, workers))


def limit_bytes(root: Path = Path("/")) -> int:
    """Return the least of the machine's memory and the limits of the control groups around this process."""
    machine = PAGE_BYTES * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits_of_groups(root)])


def _limits_of_groups(root: Path) -> list[int]:
    try:
        lines = (root / "proc/self/cgroup").read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError):  # another system, or a name that nobody foresaw
        return []
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            limits += _limits_above(root / "sys/fs/cgroup", path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits_above(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
    return limits


def _limits_above(mount: Path, path: str, name: str) -> list[int]:
    """Return the limits of a group and of those around it. In a container the path may be the host's; then the mount is ours."""
    group = mount / path.strip("/")
    found = [_read(group / name)]
    while group != mount:
        group = group.parent
        found.append(_read(group / name))
    return [limit for limit in found if limit is not None]


def _read(file: Path) -> int | None:
    try:
        text = file.read_text("ascii").strip()
    except OSError:
        return None
    limit = int(text) if text.isdigit() else UNLIMITED
    return limit if 0 < limit < UNLIMITED else None


def rss_bytes() -> int:
    """Return the memory that this process holds; 0 where the system does not tell. Takes about 10 µs."""
    try:
        file = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return int(os.read(file, 128).split(b" ", 2)[1]) * PAGE_BYTES
    finally:
        os.close(file)
