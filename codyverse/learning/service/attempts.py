"""Attempts at a quiz: started, answered, submitted, scored, all on the server.

An answer is acknowledged after its commit and counts from then on, whatever becomes of the browser. When the time is over no
answer is taken any more, and what was answered in time can still be submitted.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from codyverse.database import Database, Reader, Transaction, insert
from codyverse.errors import AttemptClosed, AttemptExpired, AttemptsExhausted, NotAQuiz, NotFound
from codyverse.learning import questions as q
from codyverse.learning.models import answers, attempts, lesson_versions, lessons
from codyverse.learning.service import enrolments
from codyverse.operations.idempotency import Answer, Key, once
from codyverse.operations.retry import repeatable

_chance = random.SystemRandom()

_LESSON = (
    sa.select(
        lessons.c.course_id,
        lessons.c.version,
        lesson_versions.c.kind,
        lesson_versions.c.questions,
        lesson_versions.c.max_attempts,
        lesson_versions.c.time_limit_s,
    )
    .join(
        lesson_versions,
        sa.and_(lesson_versions.c.lesson_id == lessons.c.id, lesson_versions.c.number == lessons.c.version),
    )
    .where(lessons.c.id == sa.bindparam("lesson_id"), lessons.c.retired_at.is_(None))
)

# The number is found and taken in one statement. Of two at once that find the same one the unique constraint lets one pass,
# and the other finds nothing inserted and looks again.
_SET = ("version", "layout", "started_at", "expires_at")
_NEW = {name: sa.bindparam(f"new_{name}", type_=attempts.c[name].type) for name in _SET}
_START = (
    insert(attempts)
    .from_select(
        ["user_id", "lesson_id", "number", *_NEW],
        sa.select(
            sa.bindparam("new_user_id", type_=attempts.c.user_id.type),
            sa.bindparam("new_lesson_id", type_=attempts.c.lesson_id.type),
            sa.func.coalesce(sa.func.max(attempts.c.number), 0) + 1,
            *_NEW.values(),
        )
        .where(attempts.c.user_id == sa.bindparam("new_user_id"), attempts.c.lesson_id == sa.bindparam("new_lesson_id"))
        .having(sa.func.count() < sa.bindparam("most", type_=sa.BigInteger())),
    )
    .on_conflict_do_nothing()
    .returning(attempts.c.id, attempts.c.number)
)
_MANY = 2**31 - 1  # attempts of a quiz without a maximum
_COUNT = (
    sa.select(sa.func.count())
    .select_from(attempts)
    .where(attempts.c.user_id == sa.bindparam("user_id"), attempts.c.lesson_id == sa.bindparam("lesson_id"))
)
_present = lesson_versions.alias("present")  # the attempt keeps its version; how many may be started is the present one's
_ATTEMPT = (
    sa.select(attempts, lesson_versions.c.questions, lesson_versions.c.pass_score, _present.c.max_attempts)
    .join(lessons, lessons.c.id == attempts.c.lesson_id)
    .join(_present, sa.and_(_present.c.lesson_id == lessons.c.id, _present.c.number == lessons.c.version))
    .join(
        lesson_versions,
        sa.and_(lesson_versions.c.lesson_id == attempts.c.lesson_id, lesson_versions.c.number == attempts.c.version),
    )
    .where(attempts.c.id == sa.bindparam("attempt_id"), attempts.c.user_id == sa.bindparam("user_id"))
)
_ATTEMPT_LOCKED = _ATTEMPT.with_for_update(of=attempts)  # SQLite has one writer at a time and needs no lock
_ANSWERS = sa.select(answers.c.question_id, answers.c.answer).where(answers.c.attempt_id == sa.bindparam("attempt_id"))
_first = insert(answers)
_ANSWER = _first.on_conflict_do_update(
    index_elements=[answers.c.attempt_id, answers.c.question_id],
    set_={"answer": _first.excluded.answer, "answered_at": _first.excluded.answered_at},
)
_SUBMIT = (
    attempts.update()
    .where(attempts.c.id == sa.bindparam("attempt_id"))
    .values({name: sa.bindparam(name) for name in ("submitted_at", "points", "points_possible", "passed")})
)


def start(database: Database, user_id: int, lesson_id: int, key: Key | None = None) -> Answer:
    """Begin an attempt at the lesson's present version and return its questions, shuffled.

    Raises NotFound, NotAQuiz, and AttemptsExhausted when the maximum is reached.
    """

    def work(tx: Transaction) -> Answer:
        lesson = tx.execute(_LESSON, {"lesson_id": lesson_id}).one_or_none()
        if lesson is None:
            raise NotFound("There is no such lesson.")
        if lesson.kind != "quiz":
            raise NotAQuiz("This lesson has no questions. It is completed without an attempt.")
        enrolments.join(tx, user_id, lesson.course_id)
        layout = {question["id"]: q.layout(question, _chance) for question in lesson.questions}
        new = {
            "new_user_id": user_id,
            "new_lesson_id": lesson_id,
            "new_version": lesson.version,
            "new_layout": layout,
            "new_started_at": tx.now,
            "new_expires_at": tx.now + timedelta(seconds=lesson.time_limit_s) if lesson.time_limit_s else None,
            "most": lesson.max_attempts or _MANY,
        }
        mine = {"user_id": user_id, "lesson_id": lesson_id}
        while (begun := tx.execute(_START, new).one_or_none()) is None:
            used = tx.execute(_COUNT, mine).scalar_one()
            if lesson.max_attempts and used >= lesson.max_attempts:
                raise AttemptsExhausted(f"All {lesson.max_attempts} attempts at this quiz were started.")
        tx.note("attempt")
        return _read(tx, user_id, begun.id)

    return once(database, key, work)


def read(database: Database, user_id: int, attempt_id: int) -> Answer:
    """Return the learner's attempt: the questions and answers, and after submission what was right. Raises NotFound."""
    with database.read() as reader:
        return _read(reader, user_id, attempt_id)


@repeatable
def answer(database: Database, user_id: int, attempt_id: int, question_id: str, given: Any) -> Answer:
    """Keep an answer, instead of an earlier one to the same question.

    Raises NotFound, InvalidInput for what cannot be an answer, AttemptClosed after submission, AttemptExpired after the time.
    """
    with database.transaction() as tx:
        attempt = _lock(tx, user_id, attempt_id)
        question = next((one for one in attempt.questions if one["id"] == question_id), None)
        if question is None:
            raise NotFound("This attempt has no such question.")
        if attempt.submitted_at is not None:
            raise AttemptClosed("This attempt was submitted; its answers stay as they are.")
        if _is_over(attempt.expires_at, tx.now):
            raise AttemptExpired("The time of this attempt is over. What was answered in time can be submitted.")
        kept = q.read_answer(question, attempt.layout[question_id], given)
        tx.execute(_ANSWER, {"attempt_id": attempt_id, "question_id": question_id, "answer": kept, "answered_at": tx.now})
        return {"question_id": question_id, "answer": kept, "answered_at": tx.now}


def submit(database: Database, user_id: int, attempt_id: int, key: Key | None = None) -> Answer:
    """Close the attempt and score it; again returns the same. `created` says whether this was the first time. Raises NotFound."""

    def work(tx: Transaction) -> Answer:
        attempt = _lock(tx, user_id, attempt_id)  # an answer comes before this, and counts, or after it, and is refused
        created = attempt.submitted_at is None
        if created:
            given = _answers(tx, attempt_id)
            possible = sum(question["points"] for question in attempt.questions)
            points = sum(
                question["points"]
                for question in attempt.questions
                if q.is_right(question, attempt.layout[question["id"]], given.get(question["id"]))
            )
            tx.execute(
                _SUBMIT,
                {
                    "attempt_id": attempt_id,
                    "submitted_at": tx.now,
                    "points": points,
                    "points_possible": possible,
                    "passed": points * 100 >= attempt.pass_score * possible,
                },
            )
        return _read(tx, user_id, attempt_id) | {"created": created}

    return once(database, key, work)


def score_percent(share: float) -> float:
    """Return a share of the points as people read it, 0 to 100 with two decimals. Rewards are computed from the points."""
    return round(share * 100, 2)


def _lock(tx: Transaction, user_id: int, attempt_id: int) -> sa.Row[Any]:
    attempt = tx.execute(_ATTEMPT_LOCKED, {"attempt_id": attempt_id, "user_id": user_id}).one_or_none()
    if attempt is None:
        raise NotFound("There is no such attempt.")
    return attempt


def _answers(reader: Reader, attempt_id: int) -> dict[str, Any]:
    return {row.question_id: row.answer for row in reader.execute(_ANSWERS, {"attempt_id": attempt_id})}


def _is_over(expires_at: datetime | None, now: datetime) -> bool:
    return expires_at is not None and now > expires_at


def _read(reader: Reader, user_id: int, attempt_id: int) -> Answer:
    attempt = reader.execute(_ATTEMPT, {"attempt_id": attempt_id, "user_id": user_id}).one_or_none()
    if attempt is None:
        raise NotFound("There is no such attempt.")
    given = _answers(reader, attempt_id)
    submitted = attempt.submitted_at is not None
    status = "submitted" if submitted else "expired" if _is_over(attempt.expires_at, reader.now) else "open"
    attempts_left = None
    if attempt.max_attempts:
        used = reader.execute(_COUNT, {"user_id": user_id, "lesson_id": attempt.lesson_id}).scalar_one()
        attempts_left = max(0, attempt.max_attempts - used)
    view = {
        "id": attempt.id,
        "lesson_id": attempt.lesson_id,
        "lesson_version": attempt.version,
        "number": attempt.number,
        "attempts_left": attempts_left,
        "status": status,
        "started_at": attempt.started_at,
        "expires_at": attempt.expires_at,
        "submitted_at": attempt.submitted_at,
        "pass_score": attempt.pass_score,
        "questions": [_question(one, attempt.layout[one["id"]], given.get(one["id"]), submitted) for one in attempt.questions],
    }
    if submitted:
        view |= {
            "points": attempt.points,
            "points_possible": attempt.points_possible,
            "score": score_percent(attempt.points / attempt.points_possible),
            "passed": attempt.passed,
        }
    return view


def _question(question: q.Question, order: q.Layout, given: Any, submitted: bool) -> dict[str, Any]:
    view = q.shown(question, order) | {"answer": given}
    if submitted:
        right = q.is_right(question, order, given)
        view |= {
            "correct": right,
            "points_awarded": question["points"] if right else 0,
            "right_answer": q.right_answer(question, order),
            "explanation_html": question["explanation_html"],
        }
    return view
