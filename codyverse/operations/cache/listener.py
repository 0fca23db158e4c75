"""Hearing of the changes of other hosts, by Redis' publish/subscribe: one process of a host listens for all of them.

Messages are numbered. One that listens anew, or finds a number left out, has everything of this host outdated, unless nothing was
told in the meantime. A ping every PING_S shows that the subscription lives: from its answer on the host trusts what it keeps for
TRUST_S, counted from when the ping was sent, since a message may be on its way behind it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import orjson
import redis

from codyverse.claims import FileClaims
from codyverse.operations.cache import scripts
from codyverse.operations.cache.cluster import CHANNEL, GENERATIONS, client
from codyverse.operations.cache.generations import Generations

log = logging.getLogger("codyverse.cache")

PING_S = 0.5
TRUST_S = 1.5
CLAIM = 1  # in a file of its own


class NullListener:
    """Nobody listens where there is nobody to hear."""

    def start(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Listener:
    """A thread that listens while no other process of the host does."""

    def __init__(self, url: str, claims: FileClaims, generations: Generations, settled: Callable[[], bool]) -> None:
        """Start nothing yet: the process that reads may be a child of this one."""
        self._url = url
        self._claims = claims
        self._generations = generations
        self._settled = settled
        self._pid = 0
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, once a process."""
        if self._pid == os.getpid():
            return
        with self._guard:
            if self._pid != os.getpid():
                self._pid = os.getpid()
                self._ended = threading.Event()
                self._thread = threading.Thread(target=self._run, args=(self._ended,), name="cache-listener", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End; another process takes over."""
        self._ended.set()
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join(5)

    def _run(self, ended: threading.Event) -> None:
        failing = False
        while not ended.is_set():
            try:
                with self._claims.held(CLAIM) as mine:
                    if mine:
                        self._listen(ended)
                failing = False
            except (redis.RedisError, OSError, ValueError) as error:
                if not failing:
                    log.warning("changes of other hosts are not heard: %s", type(error).__name__)
                failing = True
            ended.wait(PING_S)

    def _listen(self, ended: threading.Event) -> None:
        connection = client(self._url, TRUST_S)
        subscription: Any = connection.pubsub()  # type: ignore[no-untyped-call]
        try:
            subscription.subscribe(CHANNEL)
            self._first_answer(subscription)
            self._catch_up(connection)
            self._follow(subscription, ended)
        finally:
            subscription.close()
            connection.close()

    def _first_answer(self, subscription: Any) -> None:
        if subscription.get_message(timeout=TRUST_S) is None:
            raise redis.TimeoutError

    def _catch_up(self, connection: Any) -> None:
        """Outdate what may have changed while nobody listened. What is told from here on waits in the subscription."""
        told = int(connection.register_script(scripts.TOLD)(keys=[GENERATIONS]))
        if told != self._generations.message:
            self._generations.outdate_all()
            self._generations.heard_message(told)
        self._settled()
        log.warning("changes of other hosts are heard")

    def _follow(self, subscription: Any, ended: threading.Event) -> None:
        pinged_at = answered_at = 0.0
        awaited = False
        while not ended.is_set():
            now = time.monotonic()
            if not awaited and now - pinged_at >= PING_S:
                subscription.ping()
                pinged_at, awaited = now, True
                answered_at = answered_at or now
            if now - answered_at > TRUST_S:
                raise redis.TimeoutError
            message = subscription.get_message(timeout=PING_S / 2)
            if message is None:
                continue
            if message["type"] == "pong":
                awaited, answered_at = False, time.monotonic()
                self._generations.heard(max(0.0, TRUST_S - (answered_at - pinged_at)))
                self._settled()
            elif message["type"] == "message":
                self._hear(message["data"])

    def _hear(self, data: bytes) -> None:
        first, _, text = data.partition(b" ")
        told = orjson.loads(text)
        expected, number = self._generations.message + 1, int(first)
        if number < expected:  # it was told between the subscription and the look at the number
            return
        ours = told["from"] == self._generations.host
        if number > expected or (told["what"] == "all" and not ours):
            self._generations.outdate_all()
        elif told["what"] == "begin" and not ours:
            self._generations.begin(told["tags"])
        elif told["what"] == "end" and not ours:
            self._generations.end(told["tags"])
        self._generations.heard_message(number)
