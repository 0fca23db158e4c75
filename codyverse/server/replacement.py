"""A worker that is to end is replaced first: it serves until the others are as many without it as there should be.

The workers of a master have a slot each in a page of memory that the master makes before it forks. A worker writes there that it
wants to leave, and wakes its master with a SIGCHLD, which may come once too often or be lost among others: what counts is what
stands in the slots. The master lets one worker at a time wait for its replacement, and does not count who leaves. So gunicorn's
`num_workers` never changes, whoever is killed, reloaded or stopped meanwhile, and has never to be set right.

    STARTING → SERVING → ASKING → NEXT → LEAVING → FREE

A worker writes that it serves, asks, and leaves; the master writes that one is the next to leave, as soon as the others are
enough, and that one has ended. Who was told to stop, or is in an emergency, leaves without having asked.
"""

from __future__ import annotations

import logging
import math
import mmap
import os
import signal
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from enum import IntEnum
from typing import Any

from gunicorn.errors import HaltServer

from codyverse.server.shares import SLOTS, shares

log = logging.getLogger("codyverse.performance")

_MASTER, _WANTED = SLOTS, SLOTS + 1  # words behind the slots: who lets workers leave, and how many there should be
_WORDS = SLOTS + 2
ASKS_AGAIN_S = 1.0
TRIES_AGAIN_S = 5.0  # with a worker after one that could not start
STOPPING = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)  # what tells a worker to end


class State(IntEnum):
    """What a worker does."""

    FREE = 0
    STARTING = 1
    SERVING = 2
    ASKING = 3
    NEXT = 4
    LEAVING = 5


ANSWERING = (State.SERVING, State.ASKING, State.NEXT)


class Roster:
    """The slots of a master's workers. A worker is known by its age, a number that gunicorn gives once."""

    def __init__(self, freed: Callable[[int], None]) -> None:
        """`freed` hears of every slot whose worker has ended: what it wrote elsewhere must not outlive it."""
        self._freed = freed
        self._words = memoryview(mmap.mmap(-1, 8 * _WORDS)).cast("q")
        self._slots: dict[int, int] = {}

    def take(self, age: int) -> int | None:
        """Give a worker a slot and return it, None when there is none; for the master, before it forks."""
        taken = set(self._slots.values())
        slot = next((number for number in range(SLOTS) if number not in taken), None)
        if slot is not None:
            self._slots[age] = slot
            self._words[slot] = State.STARTING
        return slot

    def keep(self, ages: Collection[int]) -> None:
        """Take the slots of all others back; for the master."""
        for age in [age for age in self._slots if age not in ages]:
            slot = self._slots.pop(age)
            self._words[slot] = State.FREE
            self._freed(slot)

    def state(self, age: int) -> State:
        """Return what a worker does; FREE for one that has no slot."""
        slot = self._slots.get(age)
        return State.FREE if slot is None else State(self._words[slot])

    def set(self, age: int, state: State) -> None:
        """Write what a worker does, if it has a slot."""
        slot = self._slots.get(age)
        if slot is not None:
            self._words[slot] = state

    def count(self, *states: State) -> int:
        """Return how many workers are in these states."""
        return sum(word in states for word in self._words[:SLOTS])

    def choose_next(self) -> None:
        """Let the oldest worker that asks leave next, if no other one is to; for the master."""
        if not self.count(State.NEXT):
            asking = [age for age in self._slots if self.state(age) == State.ASKING]
            if asking:
                self.set(min(asking), State.NEXT)

    @property
    def master(self) -> int:
        """Return the process id of the master that lets workers leave, 0 for none."""
        return self._words[_MASTER]

    @property
    def wanted(self) -> int:
        """Return how many workers there should be besides those that leave."""
        return self._words[_WANTED]

    def attended(self, master: int, wanted: int) -> None:
        """Write who attends to the workers, and how many there should be; for the master."""
        self._words[_MASTER], self._words[_WANTED] = master, wanted


roster = Roster(shares.clear)  # made in the master, which imports this before it forks


def attend(server: Any, roster: Roster = roster) -> None:
    """Have gunicorn's master keep up as many workers as it should besides those that leave. Called once, when it is ready.

    It looks after its workers at least once a second, and after every signal, always in its main loop.
    """
    attendant = _Attendant(server, roster)
    server.manage_workers, server.reap_workers = attendant.manage_workers, attendant.reap_workers
    server.spawn_worker = attendant.spawn_worker


class _Attendant:
    """What gunicorn's master does differently."""

    def __init__(self, server: Any, roster: Roster) -> None:
        self._server = server
        self._roster = roster
        self._manage, self._reap, self._spawn = server.manage_workers, server.reap_workers, server.spawn_worker
        self._waits_until = -math.inf

    def manage_workers(self) -> None:
        """Keep up as many workers as there should be, and one more for each that leaves."""
        server, roster = self._server, self._roster
        self._forget_the_ended()
        roster.choose_next()
        wanted, leaving = server.num_workers, roster.count(State.NEXT, State.LEAVING)
        roster.attended(os.getpid(), wanted)
        if time.monotonic() < self._waits_until:
            return
        server.num_workers = wanted + leaving
        try:
            self._manage()
        finally:
            server.num_workers = wanted

    def reap_workers(self) -> None:
        """Hear which workers have ended. While any serves, one that cannot start does not stop them all: it is tried again."""
        try:
            self._reap()
        except HaltServer as halt:
            self._forget_the_ended()
            if not self._roster.count(*ANSWERING, State.LEAVING):
                raise
            self._waits_until = time.monotonic() + TRIES_AGAIN_S
            log.error("a new worker did not start, the others go on: %s", halt.reason)
        self._forget_the_ended()  # gunicorn hears of some in a loop of its own, while it reloads

    def spawn_worker(self) -> Any:
        """Begin a worker; what tells it to stop is held back until it hears (see `lifecycle.forked`).

        A new process has its master's handlers, which only put signals into a queue, and nobody reads that of a worker.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        try:
            return self._spawn()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _forget_the_ended(self) -> None:
        self._roster.keep({worker.age for worker in self._server.WORKERS.values()})


def wake_master() -> None:
    """Have the master look after its workers now."""
    with suppress(ProcessLookupError):
        os.kill(os.getppid(), signal.SIGCHLD)


class Replacement:
    """One worker's wish to be replaced. Made in the worker."""

    def __init__(
        self,
        age: int,
        count: Callable[[str], None],
        emergency_s: float,
        clock: Callable[[], float] = time.monotonic,
        roster: Roster = roster,
        wake: Callable[[], None] = wake_master,
    ) -> None:
        self._age = age
        self._count = count
        self._emergency_s = emergency_s
        self._clock = clock
        self._roster = roster
        self._wake = wake
        self._reason = ""
        self._asks_again_at = math.inf
        self._goes_at = math.inf
        self._gone = False

    def serving(self) -> None:
        """Tell the others that this worker answers requests."""
        self._roster.set(self._age, State.SERVING)

    def ask(self, reason: str, emergency: bool = False) -> None:
        """Ask for a replacement; the first reason counts. In an emergency it is not waited for longer than `emergency_s`."""
        if emergency:
            self._goes_at = min(self._goes_at, self._clock() + self._emergency_s)
        if self._reason or self._gone:
            return
        self._reason = reason
        self._count("worker:asked")
        log.warning("worker %d asks to be replaced: %s", os.getpid(), reason)
        if self._roster.state(self._age) != State.FREE:
            self._roster.set(self._age, State.ASKING)
        self._wake_master()

    def leave(self) -> None:
        """Hear that the worker ends, for whatever reason: the others do not count on it, and the master may replace it now."""
        self._gone = True
        if self._roster.state(self._age) not in (State.FREE, State.LEAVING):
            self._roster.set(self._age, State.LEAVING)
            self._wake_master()

    def check(self) -> str | None:
        """Return once why the worker ends now; None while it is to go on."""
        if not self._reason or self._gone:
            return None
        now = self._clock()
        if self._may_go():
            self._count("worker:replaced")
        elif now >= self._goes_at:
            self._count("worker:unreplaced")
        else:
            if now >= self._asks_again_at:
                self._wake_master()
            return None
        self.leave()
        return self._reason

    def _wake_master(self) -> None:
        self._asks_again_at = self._clock() + ASKS_AGAIN_S
        self._wake()

    def _may_go(self) -> bool:
        """Say whether the others are enough, or nobody would send a replacement before this worker has ended."""
        roster = self._roster
        state = roster.state(self._age)
        if roster.master != os.getppid() or state == State.FREE:
            return True
        return state == State.NEXT and roster.count(State.SERVING, State.ASKING) >= roster.wanted
