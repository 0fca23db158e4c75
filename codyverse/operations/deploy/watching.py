"""Watch a canary beside stable, and take its visitors away when it is worse."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from codyverse.operations.commands import CommandError
from codyverse.operations.deploy.canary import CANARY, STABLE, Canary, NotKept, Track
from codyverse.operations.deploy.judgement import LEAST, Answers, Tolerance, why_worse
from codyverse.operations.deploy.request_times import RequestTimes
from codyverse.operations.deploy.runtime import Unreachable

LOOK_S = 0.5
AWAY_S = 10.0  # a reload of HAProxy takes less than one


class Outcome(NamedTuple):
    """How a watch ended, in one line."""

    is_well: bool
    line: str
    was_rolled_back: bool = False


@dataclass(frozen=True, slots=True)
class _Look:
    at: float
    tracks: Mapping[str, Track]


class Watch:
    """Looks at a canary every LOOK_S; judges what was answered within the window."""

    def __init__(
        self,
        canary: Canary,
        times: RequestTimes,
        window_s: float,
        tolerance: Tolerance,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._canary = canary
        self._times = times
        self._window_s = window_s
        self._tolerance = tolerance
        self._clock = clock
        self._looks: deque[_Look] = deque()
        self._answered = 0

    def run(self, seconds: float) -> Outcome:
        """Watch for so long, or until the canary is worse and was rolled back. Raises CommandError for what cannot be watched."""
        ended = self._look()  # what is wrong from the beginning is the caller's to know
        until, seen = self._clock() + seconds, self._clock()
        while ended is None and self._clock() < until:
            self._times.receive(LOOK_S)
            try:
                ended = self._look()
                seen = self._clock()
            except Unreachable as error:
                if self._clock() - seen > AWAY_S:
                    return self._unseen(error)
        return ended or self._time_is_over()

    def _look(self) -> Outcome | None:
        if self._canary.percent() == 0:
            return Outcome(False, "The canary gets 0 %: there is nothing to watch.")
        tracks = self._canary.tracks()
        self._remember(tracks)
        if not tracks[CANARY].up:
            return self._roll_back("none of its servers is up", tracks)
        worse = why_worse(self._answers(CANARY), self._answers(STABLE), self._tolerance)
        return self._roll_back(worse, tracks) if worse else None

    def _remember(self, tracks: Mapping[str, Track]) -> None:
        now, last = self._clock(), self._looks[-1].tracks if self._looks else tracks
        if any(tracks[name].requests < last[name].requests for name in tracks):  # a reload: HAProxy counts from 0 again
            self._looks.clear()
            last = {name: Track(0, 0, 0, 0, 0) for name in tracks}
        self._answered += tracks[CANARY].requests - last[CANARY].requests
        self._looks.append(_Look(now, tracks))
        while len(self._looks) > 1 and self._looks[1].at <= now - self._window_s:
            self._looks.popleft()

    def _answers(self, track: str) -> Answers:
        first, last = self._looks[0].tracks[track], self._looks[-1].tracks[track]
        times = self._times.of(track, self._window_s)
        return Answers(last.requests - first.requests, last.errors - first.errors, times)

    def _roll_back(self, why: str, tracks: Mapping[str, Track]) -> Outcome:
        figures = f"{why}: {self._figures()}"
        if not tracks[STABLE].up:
            return Outcome(False, f"The canary was left its visitors, since no stable server is up, though {figures}.")
        line = f"The canary was rolled back, {figures}."
        try:
            self._canary.set_percent(0)
        except NotKept as error:
            line = f"{line} {error.message}"
        return Outcome(False, line, was_rolled_back=True)

    def _unseen(self, error: Unreachable) -> Outcome:
        try:
            self._canary.keep_off()
        except CommandError as kept:
            return Outcome(False, f"{error.message}; {kept.message}")
        return Outcome(False, f"{error.message}. Its next start sends nobody there.")

    def _time_is_over(self) -> Outcome:
        if self._answered < LEAST:
            raise CommandError(f"The canary had {self._answered} requests; nothing can be said of fewer than {LEAST}.")
        return Outcome(True, f"The canary is well: {self._figures()}.")

    def _figures(self) -> str:
        return f"canary {self._answers(CANARY)}; stable {self._answers(STABLE)}"
