"""Reading the catalogue: what is public, so never a question and never an answer."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from codyverse.database import Database, Reader
from codyverse.errors import NotFound
from codyverse.learning.models import course_images, courses, lesson_versions, lessons, modules
from codyverse.operations.cache import Cache
from codyverse.operations.cache.reading import depends_on

Row = dict[str, Any]

# Tags of what is read here; a course's own tag covers its lists of lessons and its lessons.
CATALOGUE = "catalogue"  # which courses there are, and what lists tell of them
MEDIA = "media"  # images never change under their address

_LIKE_ESCAPE = "/"

_shown_version = sa.and_(lesson_versions.c.lesson_id == lessons.c.id, lesson_versions.c.number == lessons.c.version)
_lesson_is_live = lessons.c.retired_at.is_(None)
_course_is_live = courses.c.retired_at.is_(None)

_difficulty = sa.bindparam("difficulty", type_=sa.String)
_locale = sa.bindparam("locale", type_=sa.String)
_pattern = sa.bindparam("pattern", type_=sa.String)
_position = sa.bindparam("position", type_=sa.Integer)
_after_id = sa.bindparam("after_id", type_=sa.BigInteger)
_slug = sa.bindparam("slug", type_=sa.String)
_limit = sa.bindparam("limit", type_=sa.Integer)

_listed = (
    courses.c.id,
    courses.c.position,
    courses.c.slug,
    courses.c.title,
    courses.c.summary,
    courses.c.difficulty,
    courses.c.locale,
)
# The page is cut out first, so that only its courses' lessons are counted.
_page = (
    sa.select(*_listed)
    .where(
        _course_is_live,
        sa.or_(_difficulty.is_(None), courses.c.difficulty == _difficulty),
        sa.or_(_locale.is_(None), courses.c.locale == _locale),
        sa.or_(_pattern.is_(None), courses.c.search_text.like(_pattern, escape=_LIKE_ESCAPE)),
        sa.or_(_position.is_(None), sa.tuple_(courses.c.position, courses.c.id) > sa.tuple_(_position, _after_id)),
    )
    .order_by(courses.c.position, courses.c.id)
    .limit(_limit)
    .cte("page")
)
_LIST_COURSES = (
    sa.select(
        *_page.c,
        sa.func.count(lesson_versions.c.lesson_id).label("lesson_count"),
        sa.func.coalesce(sa.func.sum(lesson_versions.c.minutes), 0).label("minutes"),
        sa.func.coalesce(sa.func.sum(lesson_versions.c.xp), 0).label("xp"),
    )
    .select_from(
        _page.outerjoin(lessons, sa.and_(lessons.c.course_id == _page.c.id, _lesson_is_live)).outerjoin(
            lesson_versions, _shown_version
        )
    )
    .group_by(*_page.c)
    .order_by(_page.c.position, _page.c.id)
)

_FIND_COURSE = sa.select(*_listed, courses.c.description_html).where(courses.c.slug == _slug, _course_is_live)

_course_id = sa.bindparam("course_id", type_=sa.BigInteger)
_lesson_fields = (
    lessons.c.id,
    lessons.c.slug,
    lessons.c.position,
    lesson_versions.c.title,
    lesson_versions.c.kind,
    lesson_versions.c.summary,
    lesson_versions.c.minutes,
    lesson_versions.c.xp,
)
_LIST_OUTLINE = (
    sa.select(modules.c.slug.label("module_slug"), modules.c.title.label("module_title"), *_lesson_fields)
    .select_from(modules.join(lessons, lessons.c.module_id == modules.c.id).join(lesson_versions, _shown_version))
    .where(modules.c.course_id == _course_id, modules.c.retired_at.is_(None), _lesson_is_live)
    .order_by(modules.c.position, modules.c.id, lessons.c.position, lessons.c.id)
)
_LIST_LESSONS = (
    sa.select(*_lesson_fields)
    .select_from(lessons.join(lesson_versions, _shown_version))
    .where(
        lessons.c.course_id == _course_id,
        _lesson_is_live,
        sa.or_(_position.is_(None), sa.tuple_(lessons.c.position, lessons.c.id) > sa.tuple_(_position, _after_id)),
    )
    .order_by(lessons.c.position, lessons.c.id)
    .limit(_limit)
)
_FIND_LESSON = (
    sa.select(
        *_lesson_fields,
        lessons.c.course_id,
        lessons.c.version,
        courses.c.slug.label("course_slug"),
        courses.c.title.label("course_title"),
        courses.c.locale,
        modules.c.title.label("module_title"),
        lesson_versions.c.body_html,
        lesson_versions.c.key_concepts,
        lesson_versions.c.questions,
        lesson_versions.c.pass_score,
        lesson_versions.c.max_attempts,
        lesson_versions.c.time_limit_s,
    )
    .select_from(
        lessons.join(lesson_versions, _shown_version)
        .join(courses, courses.c.id == lessons.c.course_id)
        .join(modules, modules.c.id == lessons.c.module_id)
    )
    .where(lessons.c.id == sa.bindparam("lesson_id", type_=sa.BigInteger), _lesson_is_live, _course_is_live)
)
_LIST_SIBLINGS = (
    sa.select(lessons.c.id, lesson_versions.c.title, lesson_versions.c.kind)
    .select_from(lessons.join(lesson_versions, _shown_version))
    .where(lessons.c.course_id == _course_id, _lesson_is_live)
    .order_by(lessons.c.position, lessons.c.id)
)
# Retired images stay as well: an attempt that began before shows those of its version.
_FIND_IMAGE = (
    sa.select(course_images.c.media_type, course_images.c.content)
    .select_from(course_images.join(courses, courses.c.id == course_images.c.course_id))
    .where(
        courses.c.slug == _slug,
        course_images.c.digest == sa.bindparam("digest", type_=sa.String),
        course_images.c.name == sa.bindparam("name", type_=sa.String),
    )
)


def course_tag(slug: str) -> str:
    """Return the tag of a course."""
    return f"course:{slug}"


def sort_values(row: Row) -> list[Any]:
    """Return what lists of courses and of lessons are ordered by: the `after` of the next page."""
    return [row["position"], row["id"]]


def list_courses(
    database: Database,
    cache: Cache,
    *,
    limit: int,
    after: list[Any] | None = None,
    difficulty: str | None = None,
    locale: str | None = None,
    query: str | None = None,
) -> list[Row]:
    """Return up to limit + 1 courses in order, with `lesson_count`, `minutes` and `xp`.

    `after` are the sort values of the last one seen. `query` is looked for in titles and summaries without regard to case.
    """
    parameters = {
        "difficulty": difficulty,
        "locale": locale,
        "pattern": None if query is None else _contains(query),
        **_keyset(after),
        "limit": limit + 1,
    }

    def load() -> list[Row]:
        with database.read() as reader:
            return _rows(reader, _LIST_COURSES, parameters)

    if query is not None or after is not None:  # there are more texts and places than room
        depends_on([CATALOGUE])
        return load()
    key = f"courses:{difficulty}:{locale}:{limit}"
    found: list[Row] = cache.cached(key, load, [CATALOGUE], worth_keeping=bool)  # nothing is found for any text as locale
    return found


def course(database: Database, cache: Cache, slug: str) -> Row:
    """Return a course with `description_html`, its totals, and `modules`, each with its `lessons`. Raises NotFound."""
    found: Row = cache.cached(f"course:{slug}", lambda: _load_course(database, slug), [course_tag(slug)])
    return found


def _load_course(database: Database, slug: str) -> Row:
    with database.read() as reader:
        found = _course(reader, slug)
        outline = _rows(reader, _LIST_OUTLINE, {"course_id": found["id"]})
    parts: dict[str, Row] = {}
    for lesson_row in outline:
        module_slug, module_title = lesson_row.pop("module_slug"), lesson_row.pop("module_title")
        part = parts.setdefault(module_slug, {"slug": module_slug, "title": module_title, "lessons": []})
        part["lessons"].append(lesson_row)
    return found | {
        "lesson_count": len(outline),
        "minutes": sum(row["minutes"] for row in outline),
        "xp": sum(row["xp"] for row in outline),
        "modules": list(parts.values()),
    }


def list_lessons(database: Database, cache: Cache, slug: str, *, limit: int, after: list[Any] | None = None) -> list[Row]:
    """Return up to limit + 1 lessons of a course in order; `after` are the last one's sort values. Raises NotFound."""

    def load() -> list[Row]:
        with database.read() as reader:
            found = _course(reader, slug)
            return _rows(reader, _LIST_LESSONS, {"course_id": found["id"], **_keyset(after), "limit": limit + 1})

    if after is not None:
        depends_on([course_tag(slug)])
        return load()
    found: list[Row] = cache.cached(f"lessons:{slug}:{limit}", load, [course_tag(slug)])
    return found


def lesson(database: Database, cache: Cache, lesson_id: int) -> Row:
    """Return a lesson as it is shown, with `course_lessons`: all of its course's, in order. Raises NotFound.

    `previous` and `next` are of those lessons or None. `quiz` says what one asks for, without its questions, or is None.
    """
    found: Row = cache.cached(
        f"lesson:{lesson_id}", lambda: _load_lesson(database, lesson_id), lambda lesson: [course_tag(lesson["course_slug"])]
    )
    return found


def _load_lesson(database: Database, lesson_id: int) -> Row:
    with database.read() as reader:
        row = reader.execute(_FIND_LESSON, {"lesson_id": lesson_id}).one_or_none()
        if row is None:
            raise NotFound("There is no lesson with this id.")
        found: Row = dict(row._mapping)
        siblings = _rows(reader, _LIST_SIBLINGS, {"course_id": found["course_id"]})
    number = next((i for i, sibling in enumerate(siblings) if sibling["id"] == lesson_id), None)
    if number is None:  # retired between the two statements
        raise NotFound("There is no lesson with this id.")
    previous = siblings[number - 1] if number else None
    following = siblings[number + 1] if number + 1 < len(siblings) else None
    return found | {
        "number": number + 1,
        "course_lessons": siblings,
        "previous": previous,
        "previous_lesson_id": previous and previous["id"],
        "next": following,
        "next_lesson_id": following and following["id"],
        "quiz": _quiz(found, found.pop("questions")),
    }


def image(database: Database, course_slug: str, digest: str, name: str) -> tuple[str, bytes]:
    """Return an image's media type and bytes. Raises NotFound."""
    depends_on([MEDIA])
    with database.read() as reader:
        row = reader.execute(_FIND_IMAGE, {"slug": course_slug, "digest": digest, "name": name}).one_or_none()
    if row is None:
        raise NotFound("There is no such image.")
    return row.media_type, bytes(row.content)


def _course(reader: Reader, slug: str) -> Row:
    row = reader.execute(_FIND_COURSE, {"slug": slug}).one_or_none()
    if row is None:
        raise NotFound("There is no course with this name.")
    return dict(row._mapping)


def _quiz(row: Row, questions: list[Row]) -> Row | None:
    if row["kind"] != "quiz":
        return None
    return {
        "question_count": len(questions),
        "points_possible": sum(question["points"] for question in questions),
        "pass_score": row["pass_score"],
        "max_attempts": row["max_attempts"],
        "time_limit_seconds": row["time_limit_s"],
    }


def _rows(reader: Reader, statement: sa.Select[Any], parameters: dict[str, Any]) -> list[Row]:
    return [dict(row._mapping) for row in reader.execute(statement, parameters)]


def _keyset(after: list[Any] | None) -> dict[str, int | None]:
    position, row_id = after or (None, None)
    return {"position": position, "after_id": row_id}


def _contains(text: str) -> str:
    """Return the LIKE pattern for what contains the text, in which `%` and `_` mean themselves."""
    folded = text.casefold()
    for special in (_LIKE_ESCAPE, "%", "_"):
        folded = folded.replace(special, _LIKE_ESCAPE + special)
    return f"%{folded}%"
