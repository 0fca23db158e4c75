"""Accepting connections, no more than the worker's share of them.

Linux wakes every worker that waits for a listening socket, and the quickest gets the connection, which is often the one that has
most already. Here a worker that holds more than another waits a moment for that one to take it, and takes it itself when nobody has.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from codyverse.server.shares import Shares

PATIENCE_S = 0.02


class Acceptor:
    """Accepts from the listeners until `most` connections are held. `slot` is the worker's in `shares`, None for no share."""

    def __init__(
        self,
        listeners: Sequence[Any],
        poller: selectors.BaseSelector,
        most: int,
        shares: Shares,
        slot: int | None,
        take: Callable[[socket.socket, Any, Any], None],
    ) -> None:
        self.held = 0
        self._listeners = listeners
        self._poller = poller
        self._most = most
        self._shares = shares
        self._slot = slot
        self._take = take
        self._open = False
        self._listening = False
        self._waits_until: float | None = None
        self._has_waited = False

    def open(self) -> None:
        """Begin to accept."""
        self._open = True
        self._publish()
        self._listen()

    def close(self) -> None:
        """Accept no more; what is held stays."""
        self._open = False
        self._publish()
        self._listen()

    def released(self) -> None:
        """Hear that a connection is held no longer."""
        self.held -= 1
        self._publish()
        self._listen()

    def turn(self) -> float | None:
        """Go on when the wait for others is over; returns the seconds until it is, None when nothing is waited for."""
        if self._waits_until is None:
            return None
        left_s = self._waits_until - time.monotonic()
        if left_s > 0:
            return left_s
        self._waits_until = None
        self._listen()
        return None

    def _accept(self, listener: Any) -> None:
        if self._has_more_than_others() and not self._has_waited:
            self._has_waited = True
            self._waits_until = time.monotonic() + PATIENCE_S
            self._listen()
            return
        self._has_waited = False
        try:
            peer, client = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        self.held += 1
        self._publish()
        self._listen()
        self._take(peer, client, listener.getsockname())

    def _has_more_than_others(self) -> bool:
        least = self._shares.least() if self._slot is not None else None
        return least is not None and self.held > least

    def _publish(self) -> None:
        if self._slot is None:
            return
        if self._open:
            self._shares.publish(self._slot, self.held)
        else:
            self._shares.clear(self._slot)

    def _listen(self) -> None:
        """Wait for connections, or do not."""
        wanted = self._open and self.held < self._most and self._waits_until is None
        if wanted == self._listening:
            return
        self._listening = wanted
        for listener in self._listeners:
            if wanted:
                listener.setblocking(False)
                self._poller.register(listener, selectors.EVENT_READ, self._accept)
            else:
                self._poller.unregister(listener)
