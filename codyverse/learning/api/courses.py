"""The catalogue as JSON, open to everybody. No question and no answer is in it: they belong to attempts."""

from __future__ import annotations

from typing import Any

import marshmallow as ma

from codyverse.extensions import cache, database
from codyverse.http import pagination
from codyverse.http.api import Blueprint, problems
from codyverse.http.auth import public
from codyverse.http.schemas import PageQuery, Schema
from codyverse.learning.models import DIFFICULTIES, LESSON_KINDS
from codyverse.learning.service import courses

Row = dict[str, Any]

blueprint = Blueprint("courses", __name__, description="Courses and lessons: public, without questions and answers.")

_without_nul = ma.validate.Regexp(r"^[^\u0000]*$", error="Contains U+0000.")


class CourseQuery(PageQuery):
    """What the list of courses can be narrowed by."""

    difficulty = ma.fields.String(load_default=None, validate=ma.validate.OneOf(DIFFICULTIES))
    locale = ma.fields.String(load_default=None, validate=[ma.validate.Length(min=1, max=35), _without_nul])
    q = ma.fields.String(
        load_default=None,
        validate=[ma.validate.Length(max=100), _without_nul],
        metadata={"description": "Text in the title, the summary or the title of a lesson, in any case."},
    )


class CourseSummarySchema(Schema):
    """A course in a list."""

    slug = ma.fields.String(required=True)
    title = ma.fields.String(required=True)
    summary = ma.fields.String(required=True)
    difficulty = ma.fields.String(required=True, validate=ma.validate.OneOf(DIFFICULTIES))
    locale = ma.fields.String(required=True, metadata={"description": "BCP 47 tag of the language the course is in."})
    lesson_count = ma.fields.Integer(required=True)
    minutes = ma.fields.Integer(required=True, metadata={"description": "Of all lessons together."})
    xp = ma.fields.Integer(required=True, metadata={"description": "Of all lessons together."})


class LessonSummarySchema(Schema):
    """A lesson in a list."""

    id = ma.fields.Integer(required=True)
    slug = ma.fields.String(required=True)
    title = ma.fields.String(required=True)
    kind = ma.fields.String(required=True, validate=ma.validate.OneOf(LESSON_KINDS))
    summary = ma.fields.String(required=True)
    minutes = ma.fields.Integer(required=True)
    xp = ma.fields.Integer(required=True)


class ModuleSchema(Schema):
    """A part of a course."""

    slug = ma.fields.String(required=True)
    title = ma.fields.String(required=True)
    lessons = ma.fields.List(ma.fields.Nested(LessonSummarySchema), required=True)


class CourseSchema(CourseSummarySchema):
    """A course with its parts."""

    description_html = ma.fields.String(required=True)
    modules = ma.fields.List(ma.fields.Nested(ModuleSchema), required=True)


class KeyConceptSchema(Schema):
    """A term and what it means."""

    term = ma.fields.String(required=True)
    meaning = ma.fields.String(required=True)


class QuizSchema(Schema):
    """What a quiz asks for."""

    question_count = ma.fields.Integer(required=True)
    points_possible = ma.fields.Integer(required=True)
    pass_score = ma.fields.Integer(required=True, metadata={"description": "Per cent of the points."})
    max_attempts = ma.fields.Integer(required=True, allow_none=True, metadata={"description": "null: as many as one likes."})
    time_limit_seconds = ma.fields.Integer(required=True, allow_none=True, metadata={"description": "null: no limit."})


class LessonSchema(LessonSummarySchema):
    """A lesson as it is shown."""

    course_slug = ma.fields.String(required=True)
    version = ma.fields.Integer(required=True, metadata={"description": "Grows by one with every change of the lesson."})
    body_html = ma.fields.String(required=True, metadata={"description": "Sanitised HTML without script."})
    key_concepts = ma.fields.List(ma.fields.Nested(KeyConceptSchema), required=True)
    previous_lesson_id = ma.fields.Integer(required=True, allow_none=True)
    next_lesson_id = ma.fields.Integer(required=True, allow_none=True)
    quiz = ma.fields.Nested(QuizSchema, required=True, allow_none=True)


class CoursePageSchema(Schema):
    """A page of the list of courses."""

    items = ma.fields.List(ma.fields.Nested(CourseSummarySchema), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


class LessonPageSchema(Schema):
    """A page of a course's list of lessons."""

    items = ma.fields.List(ma.fields.Nested(LessonSummarySchema), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


@blueprint.get("/courses")
@public
@problems(422)
@blueprint.arguments(CourseQuery, location="query")
@blueprint.response(200, CoursePageSchema)
def list_courses(query: Row) -> Row:
    """List the courses."""
    limit = query["limit"]
    found = courses.list_courses(
        database,
        cache,
        limit=limit,
        after=pagination.after("courses", query["cursor"]),
        difficulty=query["difficulty"],
        locale=query["locale"],
        query=query["q"],
    )
    return pagination.page("courses", found, limit, courses.sort_values)


@blueprint.get("/courses/<slug:slug>")
@public
@problems(404)
@blueprint.response(200, CourseSchema)
def show_course(slug: str) -> Row:
    """Show a course with its modules and lessons."""
    return courses.course(database, cache, slug)


@blueprint.get("/courses/<slug:slug>/lessons")
@public
@problems(404, 422)
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, LessonPageSchema)
def list_lessons(query: Row, slug: str) -> Row:
    """List the lessons of a course in order."""
    limit = query["limit"]
    list_name = f"lessons of {slug}"
    found = courses.list_lessons(database, cache, slug, limit=limit, after=pagination.after(list_name, query["cursor"]))
    return pagination.page(list_name, found, limit, courses.sort_values)


@blueprint.get("/lessons/<id:lesson_id>")
@public
@problems(404)
@blueprint.response(200, LessonSchema)
def show_lesson(lesson_id: int) -> Row:
    """Show a lesson."""
    return courses.lesson(database, cache, lesson_id)
