"""Joining and leaving a course."""

from __future__ import annotations

import sqlalchemy as sa

from codyverse.database import Database, Transaction, insert
from codyverse.errors import NotFound
from codyverse.learning.models import courses, enrolments
from codyverse.operations.idempotency import Answer, Key, once
from codyverse.operations.retry import repeatable

_COURSE = sa.select(courses.c.id).where(courses.c.slug == sa.bindparam("slug"), courses.c.retired_at.is_(None))
_ENROL = insert(enrolments).on_conflict_do_nothing()
_REJOIN = insert(enrolments).on_conflict_do_update(
    index_elements=[enrolments.c.user_id, enrolments.c.course_id],
    set_={"left_at": None},
    where=enrolments.c.left_at.is_not(None),
)
_COME_BACK = (
    enrolments.update()
    .where(
        enrolments.c.user_id == sa.bindparam("of_user"),
        enrolments.c.course_id == sa.bindparam("of_course"),
        enrolments.c.left_at.is_not(None),
    )
    .values(left_at=None)
)
_LEAVE = (
    enrolments.update()
    .where(
        enrolments.c.user_id == sa.bindparam("of_user"),
        enrolments.c.course_id == sa.bindparam("of_course"),
        enrolments.c.left_at.is_(None),
    )
    .values(left_at=sa.bindparam("now"))
)
_ENROLLED_AT = sa.select(enrolments.c.enrolled_at).where(
    enrolments.c.user_id == sa.bindparam("user_id"), enrolments.c.course_id == sa.bindparam("course_id")
)


def enrol(database: Database, user_id: int, course_slug: str, key: Key | None = None) -> Answer:
    """Have the learner join a course; again is the same. `created` says whether it was the first time. Raises NotFound."""

    def work(tx: Transaction) -> Answer:
        course_id = _course_id(tx, course_slug)
        created = join(tx, user_id, course_id)
        enrolled_at = tx.execute(_ENROLLED_AT, {"user_id": user_id, "course_id": course_id}).scalar_one()
        return {"course_slug": course_slug, "enrolled_at": enrolled_at, "created": created}

    return once(database, key, work)


@repeatable
def leave(database: Database, user_id: int, course_slug: str) -> None:
    """Have the learner leave a course, if they are in it; their progress stays. Raises NotFound for an unknown course."""
    with database.transaction() as tx:
        course_id = _course_id(tx, course_slug)
        tx.execute(_LEAVE, {"of_user": user_id, "of_course": course_id, "now": tx.now})


def join(tx: Transaction, user_id: int, course_id: int) -> bool:
    """Make sure that the learner is in the course, as part of a transaction; returns whether they never were before."""
    joined = tx.execute(_ENROL, {"user_id": user_id, "course_id": course_id, "enrolled_at": tx.now}).rowcount == 1
    if not joined:
        tx.execute(_COME_BACK, {"of_user": user_id, "of_course": course_id})
    return joined


def rejoin(tx: Transaction, user_id: int, course_id: int) -> None:
    """Make sure that the learner is in the course, as part of a transaction, in one statement."""
    tx.execute(_REJOIN, {"user_id": user_id, "course_id": course_id, "enrolled_at": tx.now})


def _course_id(tx: Transaction, slug: str) -> int:
    course_id: int | None = tx.execute(_COURSE, {"slug": slug}).scalar_one_or_none()
    if course_id is None:
        raise NotFound("There is no such course.")
    return course_id
