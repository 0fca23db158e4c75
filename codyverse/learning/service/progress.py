"""How far a learner is."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from codyverse.database import Database
from codyverse.errors import NotFound
from codyverse.learning.models import attempts, completions, courses, enrolments, lesson_versions, lessons, modules
from codyverse.learning.service.attempts import score_percent

_user: sa.BindParameter[int] = sa.bindparam("user_id")
_total = (
    sa.select(sa.func.count())
    .where(lessons.c.course_id == courses.c.id, lessons.c.retired_at.is_(None))
    .correlate(courses)
    .scalar_subquery()
)
_done = (
    sa.select(
        lessons.c.course_id,
        sa.func.count().label("lessons_completed"),
        sa.func.max(completions.c.completed_at).label("last_completed_at"),
    )
    .join(lessons, lessons.c.id == completions.c.lesson_id)
    .where(completions.c.user_id == _user, lessons.c.retired_at.is_(None))
    .group_by(lessons.c.course_id)
    .subquery()
)
_COURSES = (
    sa.select(
        courses.c.id.label("course_id"),
        courses.c.slug.label("course_slug"),
        courses.c.title,
        courses.c.position,
        enrolments.c.enrolled_at,
        _total.label("lessons_total"),
        sa.func.coalesce(_done.c.lessons_completed, 0).label("lessons_completed"),
        _done.c.last_completed_at,
    )
    .join(enrolments, enrolments.c.course_id == courses.c.id)
    .outerjoin(_done, _done.c.course_id == courses.c.id)
    .where(enrolments.c.user_id == _user, enrolments.c.left_at.is_(None), courses.c.retired_at.is_(None))
)
_PAGE = (
    _COURSES.where(
        sa.tuple_(courses.c.position, courses.c.id) > sa.tuple_(sa.bindparam("after_position"), sa.bindparam("after_id"))
    )
    .order_by(courses.c.position, courses.c.id)
    .limit(sa.bindparam("rows"))
)
_COURSE = sa.select(courses.c.id, courses.c.slug, courses.c.title).where(
    courses.c.slug == sa.bindparam("slug"), courses.c.retired_at.is_(None)
)
_ENROLLED_AT = sa.select(enrolments.c.enrolled_at).where(
    enrolments.c.user_id == _user, enrolments.c.course_id == sa.bindparam("course_id"), enrolments.c.left_at.is_(None)
)
_tried = (
    sa.select(
        attempts.c.lesson_id,
        sa.func.count().label("attempts_used"),
        sa.func.max(sa.cast(attempts.c.points, sa.Float) / attempts.c.points_possible).label("best"),
    )
    .where(attempts.c.user_id == _user)
    .group_by(attempts.c.lesson_id)
    .subquery()
)
_LESSONS = (
    sa.select(
        lessons.c.id.label("lesson_id"),
        lessons.c.slug,
        modules.c.slug.label("module"),
        lesson_versions.c.title,
        lesson_versions.c.kind,
        lesson_versions.c.max_attempts,
        completions.c.completed_at,
        completions.c.xp_awarded,
        sa.func.coalesce(_tried.c.attempts_used, 0).label("attempts_used"),
        _tried.c.best,
    )
    .join(modules, modules.c.id == lessons.c.module_id)
    .join(
        lesson_versions,
        sa.and_(lesson_versions.c.lesson_id == lessons.c.id, lesson_versions.c.number == lessons.c.version),
    )
    .outerjoin(completions, sa.and_(completions.c.lesson_id == lessons.c.id, completions.c.user_id == _user))
    .outerjoin(_tried, _tried.c.lesson_id == lessons.c.id)
    .where(lessons.c.course_id == sa.bindparam("course_id"), lessons.c.retired_at.is_(None))
    .order_by(lessons.c.position)
)


def of_courses(database: Database, user_id: int, after: tuple[int, int], rows: int) -> list[dict[str, Any]]:
    """Return the courses that the learner is in, behind a position and id, each with its progress."""
    with database.read() as reader:
        found = reader.execute(_PAGE, {"user_id": user_id, "after_position": after[0], "after_id": after[1], "rows": rows})
        return [dict(row._mapping) | _percent(row.lessons_completed, row.lessons_total) for row in found]


def of_lessons(database: Database, user_id: int, course_slug: str) -> dict[str, Any]:
    """Return the learner's progress in a course, lesson by lesson. Raises NotFound."""
    with database.read() as reader:
        course = reader.execute(_COURSE, {"slug": course_slug}).one_or_none()
        if course is None:
            raise NotFound("There is no such course.")
        mine = {"user_id": user_id, "course_id": course.id}
        enrolled_at = reader.execute(_ENROLLED_AT, mine).scalar_one_or_none()
        found = [_lesson(dict(row._mapping)) for row in reader.execute(_LESSONS, mine)]
    completed = [lesson["completed_at"] for lesson in found if lesson["completed_at"] is not None]
    return {
        "course_slug": course.slug,
        "title": course.title,
        "enrolled_at": enrolled_at,
        "lessons_total": len(found),
        "lessons_completed": len(completed),
        "last_completed_at": max(completed, default=None),
        "lessons": found,
    } | _percent(len(completed), len(found))


def _percent(completed: int, total: int) -> dict[str, int]:
    """Round down: 100 means that nothing is left."""
    return {"percent": completed * 100 // total if total else 0}


def _lesson(row: dict[str, Any]) -> dict[str, Any]:
    best = row.pop("best")
    status = "completed" if row["completed_at"] else "in_progress" if row["attempts_used"] else "not_started"
    return row | {"status": status, "best_score": None if best is None else score_percent(best)}
