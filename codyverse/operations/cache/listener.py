"""Hearing of the changes of other hosts, by Redis' publish/subscribe: one process of a host listens for all of them.

Messages are numbered. One that listens anew, or finds a number left out, has everything of this host outdated, unless nothing was
told in the meantime. One that listens anew has everything in Redis outdated as well: a Redis that is back from a snapshot, or a
replica that came after the others, has forgotten what it was told.

A ping every PING_S shows that the subscription lives: from its answer on the host trusts what it keeps for TRUST_S, counted from
when the ping was sent, since a message may be on its way behind it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson
import redis

from codyverse.claims import FileClaims
from codyverse.operations.cache import scripts
from codyverse.operations.cache.cluster import Names, client
from codyverse.operations.cache.generations import Generations

log = logging.getLogger("codyverse.cache")

PING_S = 0.5
TRUST_S = 1.5
LARGEST_NUMBER = 2**53  # that Redis' scripts can count to; microseconds reach it in the year 2255
CLAIM = 1  # in a file of its own


class NullListener:
    """Nobody listens where there is nobody to hear."""

    def start(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Listener:
    """A thread that listens while no other process of the host does."""

    def __init__(self, url: str, names: Names, claims: FileClaims, generations: Generations, settled: Callable[[], bool]) -> None:
        """Start nothing yet: the process that reads may be a child of this one."""
        self._url = url
        self._names = names
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
            except Exception as error:  # whatever it is, this thread has to go on
                if not failing:
                    log.warning("changes of other hosts are not heard: %s", type(error).__name__)
                failing = True
            ended.wait(PING_S)

    def _listen(self, ended: threading.Event) -> None:
        connection = client(self._url, TRUST_S)
        subscription: Any = connection.pubsub()  # type: ignore[no-untyped-call]
        try:
            subscription.subscribe(self._names.channel)
            self._first_answer(subscription)
            self._catch_up(connection)
            self._follow(subscription, ended)
        except Exception:
            # Redis may be back, with what it knew some time ago, before the trust of the last ping ends.
            self._generations.unheard()
            raise
        finally:
            subscription.close()
            connection.close()

    def _first_answer(self, subscription: Any) -> None:
        if subscription.get_message(timeout=TRUST_S) is None:
            raise redis.TimeoutError

    def _catch_up(self, connection: Any) -> None:
        """Outdate what may have changed while nobody listened. What is told from here on waits in the subscription."""
        told = int(connection.register_script(scripts.TOLD)(keys=[self._names.generations]))
        if told != self._generations.message:
            self._generations.owe()  # so that what Redis keeps is outdated before anybody uses it
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
        try:
            told = _read(data)
        except (ValueError, TypeError, KeyError) as error:
            # It may stand for a change. Its number is not believed: a high one would have all later ones pass for known.
            log.warning("what another host said is not understood: %s", type(error).__name__)
            self._generations.outdate_all()
            return
        expected = self._generations.message + 1
        if told.number < expected:  # it was told between the subscription and the look at the number
            return
        ours = told.host == self._generations.host
        if told.number > expected or (told.what == "all" and not ours):
            self._generations.outdate_all()
        elif told.what == "begin" and not ours:
            self._generations.begin(told.tags)
        elif told.what == "end" and not ours:
            self._generations.end(told.tags)
        self._generations.heard_message(told.number)


class _Told(NamedTuple):
    """A message."""

    number: int
    host: int
    what: str
    tags: list[str]


def _read(data: bytes) -> _Told:
    """Return what a message says. Raises ValueError, TypeError and KeyError for one that is not ours."""
    first, _, text = data.partition(b" ")
    message = orjson.loads(text)
    told = _Told(int(first), message["from"], message["what"], message["tags"])
    known = told.what in ("begin", "end", "all") and 0 < told.number < LARGEST_NUMBER
    if not known or not isinstance(told.tags, list) or not all(isinstance(tag, str) for tag in told.tags):
        raise ValueError
    return told
