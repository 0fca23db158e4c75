"""Whether this process is to be sent requests, and if not, why.

Not while it is told to stop; not while the database is away or its schema is older than this code; and not while most of its own
answers are errors, since a process that is broken may find everything else in order. That ends by itself when the window has
passed, in which a balancer has sent it nothing.

Balancers of several kinds ask several times a second, and nothing limits them. So the database is looked at once in a while,
however many ask, and nobody waits for it who can be told what was found a moment ago.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from codyverse import migrations
from codyverse.database import UNUSABLE, Database
from codyverse.operations.components import OK, UNAVAILABLE, Components
from config import Settings

OUTDATED_S = 5.0  # what was found may be so old when it is told while somebody else looks anew
SLICES = 10  # of a window, which is right to a tenth therefore

DRAINING = "draining"
FAILING = "most answers are errors"

_REVISION: sa.Select[tuple[str]] = sa.select(sa.column("version_num")).select_from(sa.table("alembic_version"))

log = logging.getLogger("codyverse.startup")

State = dict[str, Any]
Clock = Callable[[], float]


class Look:
    """What a look at something found, shared by all who ask within `kept_s`. One looks at a time."""

    def __init__(self, look: Callable[[], State], kept_s: float, clock: Clock = time.monotonic) -> None:
        self._look = look
        self._kept_s = kept_s
        self._clock = clock
        self._turn = threading.Lock()
        self._found: tuple[float, State] | None = None

    def __call__(self) -> State:
        """Return what was found. Raises what the look raises."""
        known = self._younger_than(self._kept_s)
        if known is not None:
            return known
        if not self._turn.acquire(blocking=False):
            known = self._younger_than(OUTDATED_S)
            if known is not None:
                return known
            self._turn.acquire()
        try:
            known = self._younger_than(self._kept_s)  # somebody else has looked meanwhile
            if known is None:
                known = self._look()
                self._found = (self._clock(), known)
            return known
        finally:
            self._turn.release()

    def _younger_than(self, seconds: float) -> State | None:
        found = self._found
        return found[1] if found is not None and self._clock() - found[0] < seconds else None


class Answers:
    """How many answers there were in the last seconds, and how many of them were errors."""

    def __init__(self, window_s: float, clock: Clock = time.monotonic) -> None:
        self._slice_s = window_s / SLICES
        self._clock = clock
        self._guard = threading.Lock()
        self._slices: deque[list[int]] = deque(maxlen=SLICES)  # number, answers, errors

    def count(self, is_error: bool) -> None:
        """Count an answer."""
        number = int(self._clock() / self._slice_s)
        with self._guard:
            if not self._slices or self._slices[-1][0] != number:
                self._slices.append([number, 0, 0])
            current = self._slices[-1]
            current[1] += 1
            current[2] += is_error

    def figures(self) -> tuple[int, int]:
        """Return the number of answers, and of errors among them."""
        ended = int(self._clock() / self._slice_s) - SLICES
        with self._guard:
            counted = [each for each in self._slices if each[0] > ended]
        return sum(each[1] for each in counted), sum(each[2] for each in counted)


class Schema:
    """The state of the database and its schema, with the fewest statements: one, after a first time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._has_revisions = False

    def __call__(self) -> State:
        """Look. The reason is a word of ours, never an exception's text."""
        began, engine = time.monotonic(), self._database.dialect
        try:
            with self._database.read() as reader:
                # Alembic asks first whether there is such a table, which needs to be asked but once.
                has = self._has_revisions
                revision = reader.execute(_REVISION).scalar() if has else migrations.current(reader.connection)
        except UNUSABLE:
            return {"status": UNAVAILABLE, "engine": engine, "reason": "unreachable"}
        self._has_revisions = revision is not None
        found = {"engine": engine, "revision": revision, "latency_ms": round((time.monotonic() - began) * 1000, 2)}
        # A revision that this code does not know is of a newer version, which made it so that this one can go on.
        if revision is None or (revision in migrations.known() and revision != migrations.head()):
            return {"status": UNAVAILABLE, "reason": "schema is not current", "revision_expected": migrations.head(), **found}
        return {"status": OK, **found}


@dataclass(slots=True)
class Readiness:
    """What decides."""

    settings: Settings
    components: Components
    database: Look
    answers: Answers
    told: str = ""

    def reason(self) -> str:
        """Return why no requests are to be sent here, an empty text when they are."""
        found = self._reason()
        if found != self.told:
            self.told = found
            if found:
                log.warning("not ready: %s", found)
            else:
                log.warning("ready again")
        return found

    def state_of_answers(self) -> State:
        """Return the figures of the window."""
        answered, failed = self.answers.figures()
        enough = answered >= self.settings.readyz_errors_least
        fails = enough and failed > answered * self.settings.readyz_errors_share
        return {"status": UNAVAILABLE if fails else OK, "answers": answered, "errors": failed}

    def _reason(self) -> str:
        if self.components.draining:
            return DRAINING
        if self.state_of_answers()["status"] != OK:
            return FAILING
        reason: str = self.database().get("reason", "")
        return reason


def make(settings: Settings, components: Components, database: Database) -> Readiness:
    """Return what decides for one process."""
    return Readiness(settings, components, Look(Schema(database), settings.readyz_database_s), Answers(settings.readyz_errors_s))
