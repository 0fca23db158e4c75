"""Sends what waits in the outbox, each channel in order: at least once, at intervals that grow while its receiver is away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from codyverse.operations.alerts.channels import Channel, Refused, Undelivered
from codyverse.operations.alerts.store import Store, Waiting
from codyverse.operations.journal import UNUSABLE

log = logging.getLogger("codyverse.performance")

FIRST_AGAIN_S = 5.0
LATEST_AGAIN_S = 300.0
GIVEN_UP_S = 24 * 3600.0  # an older alert is no news
MOST_REFUSALS = 5  # what a receiver will not take must not keep back what follows
LOOK_S = 1.0
CLOSE_S = 6.0


def again_s(tries: int) -> float:
    """Return the seconds until a message is sent again that was sent so often."""
    return float(min(FIRST_AGAIN_S * 2 ** min(tries, 10), LATEST_AGAIN_S))


class Delivery:
    """The channels of this host, and the thread that sends."""

    def __init__(
        self, store: Store, channels: Sequence[Channel], count: Callable[[str], None], clock: Callable[[], float] = time.time
    ) -> None:
        self.channels = tuple(channel.name for channel in channels)
        self._store = store
        self._channels = channels
        self._count = count
        self._clock = clock
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to send; for the one process of a host that evaluates."""
        if self._thread is None:
            self._ended = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(self._ended,), name="alerts-delivery", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Send nothing any more; what waits is another's to send."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._ended.set()
            thread.join(CLOSE_S)

    def send_due(self) -> None:
        """Send what is due."""
        for channel in self._channels:
            while not self._ended.is_set():
                waiting = self._store.next_message(channel.name)
                if waiting is None or waiting.due_at > self._clock() or not self._send(channel, waiting):
                    break

    def _send(self, channel: Channel, waiting: Waiting) -> bool:
        """Send a message; returns whether the next one may be sent."""
        now = self._clock()
        try:
            channel.send(waiting.message, now)
        except Undelivered as error:
            refused = isinstance(error, Refused) and waiting.tries + 1 >= MOST_REFUSALS
            if not refused and now - waiting.made_at < GIVEN_UP_S:
                log.warning("an alert was not delivered by %s, and will be sent again: %s", channel.name, error)
                self._store.put_off_message(waiting, now + again_s(waiting.tries))
                self._count(f"alerts:{channel.name}:failed")
                return False
            log.error("an alert was not delivered by %s, and is given up: %s: %s", channel.name, waiting.message.alert, error)
            self._count(f"alerts:{channel.name}:given-up")
        else:
            self._count(f"alerts:{channel.name}:delivered")
        self._store.forget_message(waiting)
        return True

    def _run(self, ended: threading.Event) -> None:
        forgotten = False
        while not ended.wait(LOOK_S):
            try:
                if not forgotten:
                    self._store.forget_channels_but(self.channels)
                    forgotten = True
                self.send_due()
            except UNUSABLE as error:
                log.warning("alerts that wait could not be read: %s", type(error).__name__)
            except Exception:
                log.exception("alerts could not be sent")
