"""The cases of `make bench`, the learners they need, and whom the service meets in each, with the floors at 16 connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from benchmarks import history, scripts
from benchmarks.load import Lessons
from benchmarks.place import application, database_of, prepare
from codyverse.database import Database
from codyverse.learning.models import courses, lesson_versions, lessons
from tests.server import Server

FIRST = 1_000_001  # ids that no other number of a request can be taken for
KEPT_BACK = 2  # learners whose requests are recorded

# Servers: the service on our worker and on gunicorn's own, the bare twin on the latter, and bare ones of other kinds.
WORKER, GTHREAD, TWIN, NODE, GRANIAN = "worker", "gthread", "twin", "node", "granian"


class Duel(NamedTuple):
    """Two servers, and how many requests one must answer for each of the other's; 0 for no floor."""

    ours: str
    other: str
    floor: float = 0.0


CACHED = (Duel(WORKER, TWIN, 4.0), Duel(GTHREAD, TWIN, 0.70), Duel(WORKER, NODE, 0.7), Duel(WORKER, GRANIAN, 0.7))
THROUGH_THREADS = Duel(WORKER, GTHREAD, 0.9)


@dataclass(frozen=True)
class Case:
    """An address that is loaded; `kind` is of requests.lua, empty for the same request for ever."""

    name: str
    path: str
    kind: str
    duels: tuple[Duel, ...]
    cached: bool = False


@dataclass
class Ground:
    """A filled database and the requests that it is there for."""

    url: str
    learners: int
    lesson_ids: list[int]
    quiz: int
    course_slug: str
    used: int = 0

    @property
    def first(self) -> int:
        """Return the first learner whom wrk may use."""
        return FIRST + KEPT_BACK

    def cases(self) -> list[Case]:
        """Return the cases."""
        return [
            Case("course list", "/api/v1/courses", "", CACHED, cached=True),
            Case("lesson", f"/api/v1/lessons/{self.lesson_ids[0]}", "", CACHED, cached=True),
            Case("livez", "/livez", "", (THROUGH_THREADS,)),
            Case("progress, 100 learners", scripts.PROGRESS, "read", (Duel(WORKER, TWIN, 0.40), THROUGH_THREADS)),
            Case("progress, always another learner", scripts.PROGRESS, "crowd", (Duel(WORKER, TWIN),)),
            Case("completion, 100 learners", "/", "finish", (Duel(WORKER, TWIN, 0.50),)),
        ]

    def arguments(self, case: Case) -> list[Any]:
        """Return the arguments of requests.lua behind the number of threads."""
        if not case.kind:
            return []
        base = self.used if case.kind == "finish" else 0
        return [case.kind, base, self.first, self.learners, *(self.lesson_ids if case.kind == "finish" else ())]

    def people(self) -> Lessons:
        """Return what learners do at their screens."""
        return Lessons(self.course_slug, tuple(self.lesson_ids[:6]), self.quiz)


@contextmanager
def ground(path: Path, url: str, learners: int) -> Iterator[Ground]:
    """Fill the database: everybody has joined every course and completed 10 lessons and a quiz, so progress reads the same."""
    with application(path, url, feature_caching=False, feature_optimization=False) as app:
        prepare(app)
        database = database_of(app)
        each = history.paths(database, lessons_each=2, joined=99)
        steps = tuple(step for path in each for step in path.steps if not step.questions or path is each[0])
        history.fill(database, FIRST, FIRST + learners + KEPT_BACK - 1, [history.Path(each[0].course_ids, steps)])
        history.analyze(database)
        done = {step.lesson_id for step in steps}
        yield Ground(url, learners, *_left_to_do(database, done))


def _left_to_do(database: Database, done: set[int]) -> tuple[list[int], int, str]:
    query = (
        sa.select(lessons.c.id, lesson_versions.c.kind, courses.c.slug)
        .join(
            lesson_versions, sa.and_(lesson_versions.c.lesson_id == lessons.c.id, lesson_versions.c.number == lessons.c.version)
        )
        .join(courses, courses.c.id == lessons.c.course_id)
        .where(lessons.c.id.not_in(done))
        .order_by(lessons.c.id.desc())
    )
    with database.read() as reader:
        rows = list(reader.execute(query))
    quiz = next(row for row in rows if row.kind == "quiz")
    return [row.id for row in rows if row.kind != "quiz"], quiz.id, quiz.slug


def write_script(path: Path, place: Ground, service: Server) -> tuple[Path, Path]:
    """Record what the twin has to send and answer, and what a server of another kind answers to cached reads."""
    answers: dict[str, tuple[scripts.Answer, list[dict[str, Any]]]] = {
        f"GET {case.path}": (scripts.settled(service, case.path), []) for case in place.cases() if case.cached
    }
    lesson_id = place.lesson_ids[0]
    with application(path, place.url, feature_caching=False, feature_optimization=False) as app:
        answer = scripts.ask(service, "GET", scripts.PROGRESS, scripts.signed_in(FIRST))
        answers[f"GET {scripts.PROGRESS}"] = (answer, scripts.progress_statements(app, FIRST))
        statements = scripts.completion_statements(app, FIRST, lesson_id)
    address = f"/api/v1/lessons/{lesson_id}/completions"
    answer = scripts.ask(service, "POST", address, scripts.signed_in(FIRST + 1, "a-key-of-the-server"), "{}")
    answers["POST completion"] = (answer, statements)
    cached = {case.path: answers[f"GET {case.path}"][0] for case in place.cases() if case.cached}
    return scripts.write(path / "twin.txt", place.url, answers), scripts.write_bare(path / "bare.json", cached)
