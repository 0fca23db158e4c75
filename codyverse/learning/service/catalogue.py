"""Bringing the catalogue's files into the database.

An import is one transaction: learners see the old catalogue or the new one. Courses, modules and lessons are known by their
slugs, so rows and ids stay: what vanished from the files is retired, and what comes back is as if it had never been away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from codyverse.database import Database, Reader, Transaction
from codyverse.learning import markdown
from codyverse.learning.content import Catalogue, Course, Lesson, Question
from codyverse.learning.models import course_images, courses, lesson_versions, lessons, modules
from codyverse.learning.service.courses import CATALOGUE, course_tag
from codyverse.operations import audit
from codyverse.operations.retry import repeatable

IMPORT_CLAIM = 0x636F6479_696D7074  # any number will do that nothing else claims

# What lists of courses tell, search and count: when it changes, they change.
LISTED = ("slug", "title", "summary", "difficulty", "locale", "position", "search_text", "retired_at")
LISTED_OF_LESSONS = ("minutes", "xp")

_COURSES = sa.select(courses)
_MODULES = sa.select(modules)
_LESSONS = sa.select(
    lessons, *(lesson_versions.c[name] for name in ("source", "body_html", "questions", *LISTED_OF_LESSONS))
).join(lesson_versions, sa.and_(lesson_versions.c.lesson_id == lessons.c.id, lesson_versions.c.number == lessons.c.version))
_IMAGES = sa.select(course_images.c.course_id, course_images.c.name, course_images.c.digest, course_images.c.retired_at)
_this_version = sa.and_(
    lesson_versions.c.lesson_id == sa.bindparam("of_lesson"), lesson_versions.c.number == sa.bindparam("of_number")
)
_RENDER_ANEW = lesson_versions.update().where(_this_version)
_INSERT_COURSE = courses.insert().returning(courses.c.id)
_INSERT_MODULE = modules.insert().returning(modules.c.id)
_INSERT_LESSON = lessons.insert().returning(lessons.c.id)
_INSERT_VERSION = lesson_versions.insert()
_INSERT_IMAGE = course_images.insert()
_UPDATE = {table: table.update().where(table.c.id == sa.bindparam("row_id")) for table in (courses, modules, lessons)}
_RETIRE_IMAGE = (
    course_images.update()
    .where(
        course_images.c.course_id == sa.bindparam("of_course"),
        course_images.c.name == sa.bindparam("of_name"),
        course_images.c.digest == sa.bindparam("of_digest"),
    )
    .values(retired_at=sa.bindparam("at"))
)

Row = dict[str, Any]


@dataclass(slots=True)
class Report:
    """What an import did."""

    courses: int = 0
    lessons: int = 0
    new: int = 0  # lessons, as the next three
    changed: int = 0
    returned: int = 0
    retired: int = 0
    unchanged: int = 0
    rendered_anew: int = 0  # of the unchanged: the same source gives another page, since our renderer changed
    courses_changed: int = 0  # of which anything changed: new, retired and returned ones too

    @property
    def nothing_changed(self) -> bool:
        """Say whether the database is as it was."""
        return self.courses_changed == 0


@repeatable
def import_catalogue(database: Database, catalogue: Catalogue, actor: str = audit.CLI) -> Report:
    """Make the database's catalogue the one that was read from files, all of it or nothing; returns what changed."""
    report = Report(courses=len(catalogue.courses))
    # One transaction, so that a link never leads to a lesson that is still to come; two imports at once take turns.
    with database.transaction() as tx:
        database.take_time(tx)
        database.take_turns(tx, IMPORT_CLAIM)
        changed = _Import(tx, report).run(catalogue)
        if changed:
            counts = {name: getattr(report, name) for name in ("new", "changed", "returned", "retired", "rendered_anew")}
            audit.record(tx, "catalogue_imported", actor, "catalogue", {"courses": changed, "lessons": counts})
    return report


@dataclass(frozen=True, slots=True)
class _Written:
    """A lesson whose rows are up to date; `number` is that of its version, which is a new one when it `changed`."""

    course: Course
    course_id: int
    lesson: Lesson
    lesson_id: int
    number: int
    changed: bool
    rendered: Row  # what of the version is stored; nothing for a new lesson


class _Import:
    """The steps of one import, with the rows that were there before it."""

    def __init__(self, tx: Transaction, report: Report) -> None:
        self._tx = tx
        self._report = report
        self._courses = {row["slug"]: row for row in _rows(tx, _COURSES)}
        self._modules = {(row["course_id"], row["slug"]): row for row in _rows(tx, _MODULES)}
        self._lessons = {(row["course_id"], row["slug"]): row for row in _rows(tx, _LESSONS)}
        self._images = {(row["course_id"], row["name"], row["digest"]): row["retired_at"] for row in _rows(tx, _IMAGES)}
        self._touched: set[int] = set()  # ids of courses in which anything changed
        self._lesson_ids: dict[tuple[str, str], int] = {}
        self._slugs = {row["id"]: slug for slug, row in self._courses.items()}
        self._lists_changed = False

    def run(self, catalogue: Catalogue) -> list[str]:
        """Do it: rows first, so that every lesson has its id, then the texts, which link to them.

        Returns the slugs of the courses in which anything changed.
        """
        written: list[_Written] = []
        for course in catalogue.courses:
            course_id = self._courses[course.slug]["id"] if course.slug in self._courses else self._insert_course(course)
            written += self._lesson_rows(course, course_id)
            self._image_rows(course, course_id)
        for lesson in written:
            self._version(lesson)
        living = {course.slug: self._courses.pop(course.slug) for course in catalogue.courses}
        self._retire_the_rest()
        for course in catalogue.courses:
            self._settle_course(course, living[course.slug])
        self._report.courses_changed = len(self._touched)
        slugs = sorted(self._slugs[course_id] for course_id in self._touched)
        self._tx.touch(*(course_tag(slug) for slug in slugs))
        if self._lists_changed:
            self._tx.touch(CATALOGUE)
        return slugs

    def _insert_course(self, course: Course) -> int:
        # The description follows when the lessons that it links to have their ids.
        values = _course_values(course) | {"description_html": "", "retired_at": None, "updated_at": self._tx.now}
        course_id: int = self._tx.execute(_INSERT_COURSE, values).scalar_one()
        self._courses[course.slug] = values | {"id": course_id}
        self._slugs[course_id] = course.slug
        self._touched.add(course_id)
        self._lists_changed = True
        return course_id

    def _lesson_rows(self, course: Course, course_id: int) -> list[_Written]:
        """Bring the rows of modules and lessons up to date; their versions are still to be written."""
        written = []
        module_ids = {}
        for position, module in enumerate(course.modules):
            values = {"course_id": course_id, "slug": module.id, "title": module.title, "position": position, "retired_at": None}
            old_module = self._modules.pop((course_id, module.id), None)
            module_ids[module.id] = self._put(modules, _INSERT_MODULE, old_module, values)
        for position, (module, lesson) in enumerate(course.ordered()):
            old = self._lessons.pop((course_id, lesson.slug), None)
            changed = old is None or old["source"] != lesson.source or self._shows_a_new_image(course, course_id, lesson)
            number = (old["version"] if old else 0) + (1 if changed else 0)
            values = {
                "course_id": course_id,
                "module_id": module_ids[module.id],
                "slug": lesson.slug,
                "position": position,
                "version": number,
                "retired_at": None,
            }
            lesson_id = self._put(lessons, _INSERT_LESSON, old, values)
            self._lesson_ids[course.slug, lesson.slug] = lesson_id
            stored = {name: old[name] for name in ("body_html", "questions")} if old else {}
            written.append(_Written(course, course_id, lesson, lesson_id, number, changed, stored))
            self._count(old, changed)
            listed = {"retired_at": None} | {name: getattr(lesson, name) for name in LISTED_OF_LESSONS}
            if old is None or any(old[name] != value for name, value in listed.items()):
                self._lists_changed = True
        return written

    def _shows_a_new_image(self, course: Course, course_id: int, lesson: Lesson) -> bool:
        return any(
            f"images/{image.name}" in lesson.source and (course_id, image.name, image.digest) not in self._images
            for image in course.images.values()
        )

    def _version(self, written: _Written) -> None:
        """Write a changed lesson's version; render an unchanged one anew, so that a mended renderer reaches what is stored."""
        version = _version(written.lesson, self._resolver(written.course))
        if written.changed:
            key = {"lesson_id": written.lesson_id, "number": written.number}
            self._tx.execute(_INSERT_VERSION, version | key | {"created_at": self._tx.now})
            return
        rendered = {name: version[name] for name in written.rendered}
        if rendered != written.rendered:
            key = {"of_lesson": written.lesson_id, "of_number": written.number}
            self._tx.execute(_RENDER_ANEW, rendered | key)
            self._report.rendered_anew += 1
            self._touched.add(written.course_id)

    def _count(self, old: Row | None, changed: bool) -> None:
        report = self._report
        report.lessons += 1
        report.new += old is None
        report.changed += old is not None and changed
        report.returned += old is not None and not changed and old["retired_at"] is not None
        report.unchanged += old is not None and not changed and old["retired_at"] is None

    def _put(self, table: sa.Table, insert: sa.Executable, old: Row | None, values: Row) -> int:
        """Insert a row of a course, or change what differs; returns its id."""
        if old is None:
            row_id: int = self._tx.execute(insert, values).scalar_one()
        else:
            row_id = old["id"]
            differing = {name: value for name, value in values.items() if old[name] != value}
            if not differing:
                return row_id
            self._tx.execute(_UPDATE[table], differing | {"row_id": row_id})
        self._touched.add(values["course_id"])
        return row_id

    def _image_rows(self, course: Course, course_id: int) -> None:
        """Add new images, and retire those that no file has any more: a version that shows them keeps them."""
        wanted = {(course_id, image.name, image.digest): image for image in course.images.values()}
        for key, image in wanted.items():
            if key not in self._images:
                values = dict(zip(("course_id", "name", "digest"), key, strict=True))
                self._tx.execute(_INSERT_IMAGE, values | {"media_type": image.media_type, "content": image.content})
                self._touched.add(course_id)
        for key, retired_at in self._images.items():
            if key[0] == course_id and (retired_at is None) != (key in wanted):
                at = None if key in wanted else self._tx.now
                self._tx.execute(_RETIRE_IMAGE, {"of_course": course_id, "of_name": key[1], "of_digest": key[2], "at": at})
                self._touched.add(course_id)

    def _resolver(self, course: Course) -> markdown.Resolver:
        digests = {image.name: image.digest for image in course.images.values()}
        return markdown.Resolver(course.slug, self._lesson_ids, digests)

    def _retire_the_rest(self) -> None:
        """Retire what no file claimed."""
        for row in self._lessons.values():
            self._report.retired += row["retired_at"] is None
            self._retire(lessons, row, row["course_id"])
        for row in self._modules.values():
            self._retire(modules, row, row["course_id"])
        for row in self._courses.values():
            self._retire(courses, row, row["id"])

    def _retire(self, table: sa.Table, row: Row, course_id: int) -> None:
        if row["retired_at"] is None:
            self._tx.execute(_UPDATE[table], {"row_id": row["id"], "retired_at": self._tx.now})
            self._touched.add(course_id)
            self._lists_changed = True

    def _settle_course(self, course: Course, row: Row) -> None:
        """Write what changed of a course's own row, and when anything in it did."""
        resolver = self._resolver(course)
        values = _course_values(course) | {"description_html": markdown.render(course.description, resolver), "retired_at": None}
        differing = {name: value for name, value in values.items() if row[name] != value}
        if differing or row["id"] in self._touched:
            self._touched.add(row["id"])
            self._lists_changed = self._lists_changed or not differing.keys().isdisjoint(LISTED)
            self._tx.execute(_UPDATE[courses], differing | {"row_id": row["id"], "updated_at": self._tx.now})


def _rows(reader: Reader, statement: sa.Select[Any]) -> list[Row]:
    return [dict(row._mapping) for row in reader.execute(statement)]


def _course_values(course: Course) -> Row:
    titles = [lesson.title for _, lesson in course.ordered()]
    return {
        "slug": course.slug,
        "title": course.title,
        "summary": course.summary,
        "difficulty": course.difficulty,
        "locale": course.locale,
        "position": course.position,
        "search_text": "\n".join([course.title, course.summary, *titles]).casefold(),
        "source": course.source,
    }


def _version(lesson: Lesson, resolver: markdown.Resolver) -> Row:
    return {
        "kind": lesson.kind,
        "title": lesson.title,
        "summary": lesson.summary,
        "minutes": lesson.minutes,
        "xp": lesson.xp,
        "body_html": markdown.render(lesson.body, resolver),
        "key_concepts": [{"term": concept.term, "meaning": concept.meaning} for concept in lesson.key_concepts],
        "questions": [_question(question, resolver) for question in lesson.questions],
        "pass_score": lesson.pass_score,
        "max_attempts": lesson.max_attempts,
        "time_limit_s": lesson.time_limit_minutes * 60 if lesson.time_limit_minutes else None,
        "source": lesson.source,
    }


def _question(question: Question, resolver: markdown.Resolver) -> Row:
    """Return a question in the form in which versions keep it, with its answer."""
    made: Row = {
        "id": question.id,
        "kind": question.kind,
        "points": question.points,
        "text_html": markdown.inline(question.text, resolver),
        "explanation_html": markdown.inline(question.explanation, resolver),
    }
    if question.kind in ("single", "multiple"):
        made["options"] = [
            {"html": markdown.inline(option.text, resolver), "correct": option.correct} for option in question.options
        ]
    elif question.kind == "ordering":
        made["items"] = [markdown.inline(item, resolver) for item in question.items]
    elif question.kind == "true_false":
        made["answer"] = question.truth
    elif question.kind == "short_text":
        made["accepted"] = list(question.accepted)
    else:
        made |= {"answer": question.number, "tolerance": question.tolerance, "unit": question.unit}
    return made
