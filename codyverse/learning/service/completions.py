"""Completing a lesson, once, and being rewarded for it, once."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from codyverse.database import Database, Transaction, insert
from codyverse.errors import NotFound, QuizNotPassed
from codyverse.learning.models import attempts, completions, courses, lesson_versions, lessons
from codyverse.learning.service import enrolments
from codyverse.learning.service.courses import course_tag
from codyverse.operations.cache import Cache
from codyverse.operations.idempotency import Answer, Key, once
from codyverse.rewards import rules
from codyverse.rewards import service as rewards

_LESSON = (
    sa.select(
        lessons.c.course_id,
        courses.c.slug.label("course_slug"),
        lessons.c.version,
        lessons.c.retired_at.is_not(None).label("retired"),
        lesson_versions.c.kind,
        lesson_versions.c.xp,
    )
    .join(courses, courses.c.id == lessons.c.course_id)
    .join(
        lesson_versions,
        sa.and_(lesson_versions.c.lesson_id == lessons.c.id, lesson_versions.c.number == lessons.c.version),
    )
    .where(lessons.c.id == sa.bindparam("lesson_id"))
)
# Of several passed attempts, perhaps at different versions, the one with the largest share of its points.
_BEST_PASSED = (
    sa.select(attempts.c.id, attempts.c.version, attempts.c.points, attempts.c.points_possible, lesson_versions.c.xp)
    .join(
        lesson_versions,
        sa.and_(lesson_versions.c.lesson_id == attempts.c.lesson_id, lesson_versions.c.number == attempts.c.version),
    )
    .where(
        attempts.c.user_id == sa.bindparam("user_id"),
        attempts.c.lesson_id == sa.bindparam("lesson_id"),
        attempts.c.passed.is_(True),
    )
    .order_by((sa.cast(attempts.c.points, sa.Float) / attempts.c.points_possible).desc(), attempts.c.id)
    .limit(1)
)
_COMPLETE = insert(completions).on_conflict_do_nothing().returning(completions.c.id)
_COMPLETED = sa.select(
    completions.c.id,
    completions.c.lesson_id,
    completions.c.completed_at,
    completions.c.time_spent_s,
    completions.c.xp_awarded,
    completions.c.coins_awarded,
).where(completions.c.user_id == sa.bindparam("user_id"), completions.c.lesson_id == sa.bindparam("lesson_id"))


def complete(
    database: Database, cache: Cache, user_id: int, lesson_id: int, time_spent_s: int | None = None, key: Key | None = None
) -> Answer:
    """Complete the lesson and reward the learner; again changes nothing and returns the same.

    A quiz counts by the version that was passed, also when the lesson was changed or retired since. `created` says whether this
    was the first time. Raises NotFound, and QuizNotPassed for a quiz without a passed attempt.
    """

    lesson = _lesson(database, cache, lesson_id)

    def work(tx: Transaction) -> Answer:
        if lesson is None:
            raise NotFound("There is no such lesson.")
        course = {"course_slug": lesson["course_slug"]}
        if lesson["kind"] == "quiz":
            best = tx.execute(_BEST_PASSED, {"user_id": user_id, "lesson_id": lesson_id}).one_or_none()
            if best is None:
                if lesson["retired"]:
                    raise NotFound("There is no such lesson.")
                raise QuizNotPassed("A quiz is completed by passing it. Start an attempt, and submit it.")
            version, attempt_id = best.version, best.id
            reward = rules.reward_for_quiz(best.xp, best.points, best.points_possible)
        elif lesson["retired"]:
            before = _completed(tx, user_id, lesson_id)
            if before is None:
                raise NotFound("There is no such lesson.")
            return {**course, **before, "created": False}
        else:
            version, attempt_id, reward = lesson["version"], None, rules.reward_for_lesson(lesson["xp"])
        # The unique learner and lesson decide who was first; the reward, in the same transaction, only follows.
        done = {
            "lesson_id": lesson_id,
            "completed_at": tx.now,
            "time_spent_s": time_spent_s,
            "xp_awarded": reward.xp,
            "coins_awarded": reward.coins,
        }
        completion_id = tx.execute(
            _COMPLETE, {**done, "user_id": user_id, "version": version, "attempt_id": attempt_id}
        ).scalar_one_or_none()
        if completion_id is None:
            return {**course, **(_completed(tx, user_id, lesson_id) or {}), "created": False}
        balance = rewards.award(tx, user_id, _source(completion_id), reward)
        enrolments.rejoin(tx, user_id, lesson["course_id"])
        tx.note("completion")
        return {**course, **_answer(done, balance), "created": True}

    return once(database, key, work)


def _lesson(database: Database, cache: Cache, lesson_id: int) -> dict[str, Any] | None:
    """Return what completing a lesson needs to know of it; read before the transaction, of which it needs no part."""

    def load() -> dict[str, Any] | None:
        with database.read() as reader:
            row = reader.execute(_LESSON, {"lesson_id": lesson_id}).one_or_none()
        return None if row is None else row._asdict()

    found: dict[str, Any] | None = cache.cached(
        f"completion of lesson:{lesson_id}",
        load,
        lambda lesson: [course_tag(lesson["course_slug"])] if lesson else [],
        worth_keeping=lambda lesson: lesson is not None,
        may_be_outdated=False,  # it decides about a reward
    )
    return found


def _source(completion_id: int) -> str:
    return f"completion:{completion_id}"


def _completed(tx: Transaction, user_id: int, lesson_id: int) -> Answer | None:
    """Return what the first completion answered, whatever the learner has earned since, and None when there is none."""
    row = tx.execute(_COMPLETED, {"user_id": user_id, "lesson_id": lesson_id}).one_or_none()
    return None if row is None else _answer(row._asdict(), rewards.balance_after(tx, user_id, _source(row.id)))


def _answer(completion: dict[str, Any], after: rewards.Balance) -> Answer:
    level = rules.level_for(after.xp)
    return {
        "lesson_id": completion["lesson_id"],
        "completed_at": completion["completed_at"],
        "time_spent_seconds": completion["time_spent_s"],
        "xp_awarded": completion["xp_awarded"],
        "coins_awarded": completion["coins_awarded"],
        "xp": after.xp,
        "coins": after.coins,
        "level": level,
        "level_up": level > rules.level_for(after.xp - completion["xp_awarded"]),
        "next_level_at_xp": rules.xp_for_level(level + 1),
    }
