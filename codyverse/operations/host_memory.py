"""The folder in memory (tmpfs) that the processes of an installation on one host share; what lies there may end with the host."""

from __future__ import annotations

import hashlib
import logging
import os
from contextlib import suppress
from pathlib import Path

from config import Settings

log = logging.getLogger("codyverse.startup")


def folder(settings: Settings) -> Path:
    """Return a folder of ours below `memory_path`, or the instance folder where there is none that can be trusted."""
    instance = settings.instance_path
    if settings.memory_path:
        path = Path(settings.memory_path) / f"codyverse-{hashlib.sha256(str(instance).encode()).hexdigest()[:16]}"
        with suppress(OSError):
            owner = instance.stat().st_uid if os.geteuid() == 0 and instance.exists() else os.geteuid()
            with suppress(FileExistsError):
                path.mkdir(mode=0o700)
                if owner != os.geteuid():  # root works for the account that the service runs under
                    os.chown(path, owner, -1)
            found = path.lstat()
            # Accounts of the host share such a place: a folder that somebody else made in ours, or may read, is not used.
            if found.st_mode & 0o170777 == 0o040700 and found.st_uid in (owner, os.geteuid()):
                return path
            # A command that another account runs would change what the service's processes never hear of.
            log.warning("%s belongs to another account or is open to others; run commands as the account of the service", path)
    return instance
