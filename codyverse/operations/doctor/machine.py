"""Checks of the machine: memory, descriptors, disks, the account and the version of Python."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from pathlib import Path

from codyverse.operations import gauges, host_memory
from codyverse.operations.doctor.check import Finding, Group, fault, ok, skipped, warning
from codyverse.operations.doctor.deployment import Deployment

# Of https://devguide.python.org/versions/; a newer one is not older than these.
CORRECTED_UNTIL = {(3, 11): date(2027, 10, 31), (3, 12): date(2028, 10, 31), (3, 13): date(2029, 10, 31)}
OWN_DESCRIPTORS = 64  # of a worker: its log, its files in memory, its sockets
LEAST_WORKER_BYTES = 150_000_000  # a worker has about 100 MB when it begins
LEAST_MEMORY_FOLDER_BYTES = 16_000_000
DISK_WARNING, DISK_FAULT = (2_000_000_000, 0.10), (300_000_000, 0.02)  # bytes that are free, or this part of all, if less
FILES_WARNING, FILES_FAULT = 0.10, 0.02

group = Group("machine")
disks = Group("disk")

GROUPS = (group, disks)


@group.check(
    "python",
    "Python's version is maintained",
    why="Holes that become known stay open in one that is not.",
    mend="A newer Python, and `make` to install into it.",
)
def python(it: Deployment) -> Finding:
    """Compare the day with the one until which this version is corrected."""
    until = CORRECTED_UNTIL.get(sys.version_info[:2])
    today = datetime.fromtimestamp(it.machine.now(), UTC).date()
    told = f"{sys.version_info.major}.{sys.version_info.minor}"
    return ok(told) if until is None or today <= until else warning(f"{told} is corrected until {until} only.")


@group.check(
    "account",
    "The service runs under an account of its own",
    why="What breaks into a service of root's has the machine.",
    mend="The unit in deploy/systemd, or USER in the image; run this command as that account, too.",
)
def account(it: Deployment) -> Finding:
    """Look at who runs the workers, and this command."""
    if 0 in [it.machine.account_of(pid) for pid in _workers(it)]:
        return fault("Workers run as root.")
    return ok() if it.machine.uid else warning("This command runs as root.")


@group.check(
    "open-files",
    "A worker may open as many files as it takes connections",
    why="With none left it accepts nobody, and cannot open its own files either.",
    mend="LimitNOFILE=65536 in the unit, `ulimit -n` in a shell, or fewer worker_connections.",
)
def open_files(it: Deployment) -> Finding:
    """Compare the limit of the workers that run, or without any this command's, with what a worker may need."""
    needed = it.plan.worker_connections + it.settings.database_pool_size + it.plan.threads + OWN_DESCRIPTORS
    told = [limit for pid in _workers(it) if (limit := it.machine.open_files_of(pid)) is not None]
    if told:
        return ok() if min(told) >= needed else fault(f"One may open {min(told)}, and may need {needed}.")
    may, could = it.machine.open_files
    if could < needed:
        return fault(f"It could open {could}, and may need {needed}.")
    return ok() if may >= needed else warning(f"None runs; started like this command, it may open {may} and need {needed}.")


@group.check(
    "backlog",
    "The system lets as many connections wait as gunicorn asks for",
    why="What comes beyond is refused without an answer when a moment is busy.",
    mend="sysctl net.core.somaxconn=4096, and a file for it in /etc/sysctl.d.",
)
def backlog(it: Deployment) -> Finding:
    """Compare gunicorn's backlog with the system's limit."""
    most = it.machine.somaxconn()
    return ok() if most >= it.plan.backlog else warning(f"gunicorn asks for {it.plan.backlog}, the system allows {most}.")


@group.check(
    "memory",
    "All workers fit into the memory, and a new one that takes the place of another",
    why="What does not fit is slow, until the system kills the largest process, or the database.",
    mend="Fewer workers, a smaller CODYVERSE_MEMORY_WORKER_MB or CODYVERSE_MEMORY_SHARE, or more memory.",
)
def memory(it: Deployment) -> Finding:
    """Compare workers × budget with what the container or the machine has."""
    workers, has = it.plan.workers, it.machine.memory_bytes
    budget = it.settings.memory_worker_mb * 1_000_000 or int(has * it.settings.memory_share / max(1, workers))
    if budget * workers + LEAST_WORKER_BYTES > has:
        return fault(f"{workers} workers with {_mb(budget)} each do not fit into {_mb(has)}.")
    if budget < LEAST_WORKER_BYTES:
        return fault(f"{_mb(budget)} are left for a worker; it would be replaced again and again.")
    return ok(f"{workers} × {_mb(budget)} of {_mb(has)}")


@group.check(
    "memory-folder",
    "What the processes of a host share lies in memory",
    why="On a disk every request waits for it, and it wears out.",
    mend="CODYVERSE_MEMORY_PATH=/dev/shm, with room (shm_size in a container), and commands run as the service's account.",
)
def memory_folder(it: Deployment) -> Finding:
    """Look at the folder that is used, its kind and its room."""
    if not it.settings.memory_path:
        return skipped("It is to lie in the instance folder: CODYVERSE_MEMORY_PATH.")
    folder = host_memory.folder(it.settings)
    if folder == it.settings.instance_path:
        return warning(f"There is no folder of ours that can be trusted in {it.settings.memory_path}.")
    kind = it.machine.file_system(folder)
    if kind not in ("tmpfs", "ramfs", ""):
        return warning(f"{folder.parent} lies on {kind}.")
    free = it.machine.disk(folder).free_bytes
    return warning(f"{_mb(free)} are free in {folder.parent}.") if free < LEAST_MEMORY_FOLDER_BYTES else ok()


@disks.check(
    "disk-writable",
    "The instance folder can be written",
    why="Uploads, the SQLite file and the history of the figures lie in it.",
    mend="chown -R codyverse: on it, and ReadWritePaths or StateDirectory in the unit.",
)
def disk_writable(it: Deployment) -> Finding:
    """Make a file in it, and remove it."""
    probe = Path(it.settings.instance_path, ".doctor")
    try:
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return fault(f"{it.settings.instance_path}: {error.strerror}.")
    return ok()


@disks.check(
    "disk-space",
    "The disk of the instance folder has room",
    why="A database that cannot write stops, and logs end when they are needed.",
    mend="Remove old backups and logs, or enlarge the disk.",
    needs="disk-writable",
)
def disk_space(it: Deployment) -> Finding:
    """Look at what is free."""
    disk = it.machine.disk(it.settings.instance_path)
    told = f"{_mb(disk.free_bytes)} of {_mb(disk.bytes)} are free."
    if disk.free_bytes < min(DISK_FAULT[0], DISK_FAULT[1] * disk.bytes):
        return fault(told)
    return warning(told) if disk.free_bytes < min(DISK_WARNING[0], DISK_WARNING[1] * disk.bytes) else ok()


@disks.check(
    "disk-files",
    "The disk of the instance folder has room for files",
    why="With no numbers for files left nothing can be made, however many bytes are free.",
    mend="Find the folder with millions of small files: du --inodes -x / | sort -n | tail.",
    needs="disk-writable",
)
def disk_files(it: Deployment) -> Finding:
    """Look at how many more files it takes."""
    disk = it.machine.disk(it.settings.instance_path)
    if not disk.files:
        return skipped("Nobody counts them here.")
    share = disk.free_files / disk.files
    if share < FILES_FAULT:
        return fault(f"{disk.free_files} more can be made.")
    return warning(f"{disk.free_files} more can be made.") if share < FILES_WARNING else ok()


def _workers(it: Deployment) -> list[int]:
    return [process.pid for process in gauges.of(it.app).processes()]


def _mb(amount: int) -> str:
    return f"{amount / 1e6:,.0f} MB"
