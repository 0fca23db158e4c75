"""How long answers took, from the lines that HAProxy logs: its own figures are means, from which no percentile can be had.

HAProxy sends a datagram for every request, in its HTTP log format. Of many some may be lost, or left out by `log … sample`:
percentiles hardly change by that, and counts are not taken from here.
"""

from __future__ import annotations

import re
import socket
import time
from collections import deque
from types import TracebackType

from codyverse.operations.commands import CommandError

ADDRESS = "127.0.0.1:8514"  # where the generated configuration sends its lines
MOST = 10_000  # times that are kept for a track, the last ones

# `… [24/Nov/2026:17:27:17.986] frontend backend/server TR/Tw/Tc/Tr/Ta status …`; what clients send comes behind that.
_LINE = re.compile(rb"\] \S+ ([\w.:-]+)/\S+ -?\d+/(-?\d+)/(-?\d+)/(-?\d+)/\+?\d+ \d+ ")


class RequestTimes:
    """A context that listens at HOST:PORT. Entering it raises CommandError when somebody else does."""

    def __init__(self, address: str = ADDRESS) -> None:
        self._address = address
        self._times: dict[str, deque[tuple[float, int]]] = {}

    def __enter__(self) -> RequestTimes:
        host, _, port = self._address.rpartition(":")
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((host.strip("[]"), int(port)))
        except (OSError, OverflowError, ValueError) as error:
            self._socket.close()
            raise CommandError(f"Log lines cannot be received at {self._address}: {error}. Does another watch run?") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def receive(self, seconds: float) -> None:
        """Take lines in for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                line = self._socket.recv(65_536)
            except TimeoutError:
                return
            self._take(line)

    def of(self, track: str, window_s: float) -> list[int]:
        """Return the milliseconds from request to answer's beginning, of what the track answered within the window."""
        since = time.monotonic() - window_s
        return [took for at, took in self._times.get(track, ()) if at >= since]

    def _take(self, line: bytes) -> None:
        found = _LINE.search(line)
        if found is None:
            return
        waited, connected, answered = (int(part) for part in found.groups()[1:])
        if answered >= 0:  # -1: no answer came
            times = self._times.setdefault(found[1].decode("ascii"), deque(maxlen=MOST))
            times.append((time.monotonic(), max(waited, 0) + max(connected, 0) + answered))
