"""Files of learners on the disk of this host."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from codyverse.errors import Unavailable

NAME_LENGTH = 32


class Storage:
    """Files under random names, `ab/abcdef…`, so that no folder holds too many."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, content: bytes) -> str:
        """Store a new file and return its name; by then it is whole and survives a loss of power. Raises Unavailable."""
        name = secrets.token_hex(NAME_LENGTH // 2)
        path = self._path(name)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{name}-", delete=False) as file:  # mode 0600
                try:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                    os.rename(file.name, path)  # noqa: PTH104  (a rename is what makes it atomic)
                except BaseException:
                    os.unlink(file.name)  # noqa: PTH108
                    raise
            for folder in (path.parent, self._folder):
                _sync(folder)
        except OSError as error:
            raise Unavailable("The file cannot be stored now. Nothing was changed; try again later.") from error
        return name

    def read(self, name: str) -> bytes | None:
        """Return the file's content, None when there is no such file. Raises Unavailable."""
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable("The file cannot be read now. Try again later.") from error

    def delete(self, name: str) -> None:
        """Remove a file if it is there. One that the disk will not let go is left over, for `names` to find."""
        with suppress(OSError):
            self._path(name).unlink()

    def names(self, before: datetime) -> Iterator[str]:
        """Yield the names of the files that were stored before a moment, unfinished ones among them."""
        for path in self._folder.glob("??/*"):
            with suppress(FileNotFoundError):
                if datetime.fromtimestamp(path.stat().st_mtime, UTC) < before:
                    yield path.name

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name


def _sync(folder: Path) -> None:
    """Write what the folder lists to the disk: the file's own fsync does not."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
