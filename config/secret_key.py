"""The secret key of an installation, kept in a file that only its owner may read."""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path


def read(path: Path) -> str:
    """Return the key in the file, or an empty text where there is none."""
    try:
        return path.read_text("utf-8").strip()
    except FileNotFoundError:
        return ""


def read_or_make(path: Path) -> str:
    """Return the key in the file; make one when there is none. Several processes may do so at once and agree."""
    key = read(path)
    if key:
        return key
    if path.exists():
        path.unlink()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=path.name) as file:  # made with mode 0600
        file.write(secrets.token_urlsafe(48))
        file.flush()
        os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(file.name, path)  # the first one wins, and the file never exists half written
    return read(path)
