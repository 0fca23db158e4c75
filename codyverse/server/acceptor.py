"""Accepting connections, no more than the worker's share of them.

Linux wakes every worker that waits for a listening socket, and the quickest gets the connection, which is often the one that has
most already. Here a worker that holds more than another leaves it to that one for a moment, and takes it itself when nobody does.
"""

from __future__ import annotations

import errno
import logging
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from codyverse.server.shares import Shares

log = logging.getLogger("codyverse.performance")

PAUSE_S = 0.001  # between looks whether others have taken it
PATIENCE_S = 0.02
NO_ROOM_S = 0.1  # until the next try when the process, or the system, has no descriptor or memory for one more
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
SLACK = 1  # what a worker may hold more before it leaves connections to others: with none all would wait for each other often


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
        self._paused_until = 0.0
        self._patient_since: float | None = None
        self._paused = False

    def open(self) -> None:
        """Begin to accept."""
        self._open = True
        self._publish()
        self._listen()

    def close(self) -> None:
        """Accept no more; what is held stays. Who has connected already is taken, or would be reset with the listening socket."""
        self._open = self._paused = False
        self._publish()
        self._listen()
        for listener in self._listeners:
            while self._accepts(listener):
                pass
            listener.close()  # who comes now is refused at once, and may go elsewhere

    def released(self) -> None:
        """Hear that a connection is held no longer."""
        self.held -= 1
        self._publish()
        self._listen()

    def turn(self) -> float | None:
        """Go on when the pause is over; returns the seconds until it is, None for no pause."""
        if not self._paused:
            self._patient_since = None  # nobody is there any more who was left to others
            return None
        left_s = self._paused_until - time.monotonic()
        if left_s > 0:
            return left_s
        self._paused = False
        self._listen()
        return None

    def _accept(self, listener: Any) -> None:
        if not self._listening or self._leaves_it_to_others():  # of two listeners that are ready, the first may have been enough
            return
        self._patient_since = None
        self._accepts(listener)

    def _accepts(self, listener: Any) -> bool:
        try:
            peer, client = listener.accept()
        except (InterruptedError, ConnectionAbortedError):
            return True
        except OSError as error:
            if self._open and error.errno in _NO_ROOM:
                log.warning("no connection can be accepted now: %s", error.strerror)
                self._pause(NO_ROOM_S)  # who waits would otherwise wake the event loop again and again
            return False  # most often nobody is there: another worker was quicker
        self.held += 1
        self._publish()
        self._listen()
        self._take(peer, client, listener.getsockname())
        return True

    def _leaves_it_to_others(self) -> bool:
        """Say whether somebody who has fewer shall take a connection, and look again in a moment."""
        least = self._shares.least() if self._slot is not None else None
        if least is None or self.held <= least + SLACK:
            return False
        now = time.monotonic()
        if self._patient_since is None:
            self._patient_since = now
        if now - self._patient_since >= PATIENCE_S:
            return False
        self._pause(PAUSE_S)
        return True

    def _pause(self, seconds: float) -> None:
        self._paused_until = time.monotonic() + seconds
        self._paused = True
        self._listen()

    def _publish(self) -> None:
        if self._slot is None:
            return
        if self._open:
            self._shares.publish(self._slot, self.held)
        else:
            self._shares.clear(self._slot)

    def _listen(self) -> None:
        """Wait for connections, or do not."""
        wanted = self._open and self.held < self._most and not self._paused
        if wanted == self._listening:
            return
        self._listening = wanted
        for listener in self._listeners:
            if wanted:
                listener.setblocking(False)
                self._poller.register(listener, selectors.EVENT_READ, self._accept)
            else:
                self._poller.unregister(listener)
