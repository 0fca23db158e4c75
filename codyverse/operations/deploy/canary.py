"""The share of visitors that the canary gets, in HAProxy as it runs and in the file that its next start reads."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from codyverse.operations.commands import CommandError
from codyverse.operations.deploy.runtime import BACKEND, Row, Runtime

STABLE, CANARY = "stable", "canary"
MAP_NAME = "canary.map"
KEY = "pct"


class NotKept(CommandError):
    """Visitors go where they should, but the file says otherwise, so that a reload would undo it."""


@dataclass(frozen=True, slots=True)
class Track:
    """How the servers of one version are, and what they answered together since HAProxy's last reload."""

    up: int
    servers: int
    requests: int
    errors: int
    mean_ms: int  # over the last 1,024 answers: HAProxy knows no percentile


class Canary:
    """The canary of one HAProxy. Everything raises CommandError, Unreachable among them."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._path: Path | None = None

    def percent(self) -> int:
        """Return the percentage of visitors that the canary gets."""
        number, _ = self._map()
        value = self._runtime.map_value(number, KEY) or "0"
        if not (value.isascii() and value.isdigit()):
            raise CommandError(f"HAProxy's map has {value!r} for a percentage.")
        return int(value)

    def set_percent(self, percent: int) -> None:
        """Send that percentage of visitors to the canary, at once. Raises NotKept when only the file could not be written."""
        number, path = self._map()
        if percent and not self.tracks()[CANARY].up:
            raise CommandError("No server of the canary is up.")
        self._runtime.set_map_value(number, KEY, str(percent))
        write_percent(path, percent)

    def tracks(self) -> dict[str, Track]:
        """Return how both versions do."""
        rows = self._runtime.rows()
        return {name: _track(name, [row for row in rows if row.backend == name]) for name in (STABLE, CANARY)}

    def keep_off(self) -> None:
        """Have HAProxy's next start send nobody to the canary, for when it cannot be told. Raises NotKept.

        Raises CommandError when HAProxy never said where its map is.
        """
        if self._path is None:
            raise CommandError("HAProxy was never asked where its map is.")
        write_percent(self._path, 0)

    def _map(self) -> tuple[str, Path]:
        found = self._runtime.map_id(MAP_NAME)
        if found is None:
            raise CommandError(f"HAProxy reads no {MAP_NAME}: its configuration has no canary.")
        number, path = found
        self._path = Path(path)
        return number, self._path


def write_percent(path: Path, percent: int) -> None:
    """Write the map file anew: whole or not at all, with the rights that it had. Raises NotKept."""
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            try:
                file.write(f"{KEY} {percent}\n")
                file.flush()
                os.fsync(file.fileno())
                shutil.copymode(path, file.name)
                with suppress(PermissionError):  # who is not root leaves the file to himself
                    os.chown(file.name, path.stat().st_uid, path.stat().st_gid)
                os.rename(file.name, path)  # noqa: PTH104  (a rename is what makes it atomic)
            except BaseException:
                os.unlink(file.name)  # noqa: PTH108
                raise
    except OSError as error:
        raise NotKept(f"{path} cannot be written ({error.strerror}): its next start will not know of {percent} %.") from None


def _track(name: str, rows: list[Row]) -> Track:
    total = next((row for row in rows if row.name == BACKEND), None)
    if total is None:
        raise CommandError(f"HAProxy has no backend {name}.")
    servers = [row for row in rows if row.name != BACKEND and not row.is_spare]
    return Track(
        up=sum(row.is_up for row in servers),
        servers=len(servers),
        requests=total.requests,
        errors=total.errors,
        mean_ms=total.mean_ms,
    )
