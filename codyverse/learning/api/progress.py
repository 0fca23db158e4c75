"""Joining courses, completing lessons, and how far one is, over HTTP."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from flask import url_for

from codyverse.extensions import cache, database
from codyverse.http import idempotency, pagination
from codyverse.http.api import Blueprint, problems
from codyverse.http.auth import caller, signed_in
from codyverse.http.schemas import LOCATION, Instant, NothingSchema, PageQuery, Schema, WholeNumber
from codyverse.learning.models import LESSON_KINDS
from codyverse.learning.service import completions, enrolments, progress

LIST = "progress"
A_DAY_S = 24 * 60 * 60

blueprint = Blueprint("progress", __name__, description="Enrolments, completions, progress.")


class EnrolmentSchema(Schema):
    """A learner in a course."""

    course_slug = ma.fields.String(required=True)
    enrolled_at = Instant(required=True)


class CompletionRequestSchema(Schema):
    """What a client may tell about a completion."""

    time_spent_seconds = WholeNumber(load_default=None, allow_none=True, validate=ma.validate.Range(min=0, max=A_DAY_S))


class CompletionSchema(Schema):
    """A completion and what it earned; totals are those right after it."""

    course_slug = ma.fields.String(required=True)
    lesson_id = ma.fields.Integer(required=True)
    completed_at = Instant(required=True)
    time_spent_seconds = ma.fields.Integer(required=True, allow_none=True)
    xp_awarded = ma.fields.Integer(required=True)
    coins_awarded = ma.fields.Integer(required=True)
    xp = ma.fields.Integer(required=True)
    coins = ma.fields.Integer(required=True)
    level = ma.fields.Integer(required=True)
    level_up = ma.fields.Boolean(required=True)
    next_level_at_xp = ma.fields.Integer(required=True)


class CourseProgressSchema(Schema):
    """Progress in a course."""

    course_slug = ma.fields.String(required=True)
    title = ma.fields.String(required=True)
    enrolled_at = Instant(required=True, allow_none=True)
    lessons_total = ma.fields.Integer(required=True)
    lessons_completed = ma.fields.Integer(required=True)
    percent = ma.fields.Integer(required=True, metadata={"description": "Rounded down; 100 means that nothing is left."})
    last_completed_at = Instant(required=True, allow_none=True)


class LessonProgressSchema(Schema):
    """Progress in a lesson."""

    lesson_id = ma.fields.Integer(required=True)
    slug = ma.fields.String(required=True)
    module = ma.fields.String(required=True)
    title = ma.fields.String(required=True)
    kind = ma.fields.String(required=True, validate=ma.validate.OneOf(LESSON_KINDS))
    status = ma.fields.String(required=True, validate=ma.validate.OneOf(["not_started", "in_progress", "completed"]))
    completed_at = Instant(required=True, allow_none=True)
    xp_awarded = ma.fields.Integer(required=True, allow_none=True)
    attempts_used = ma.fields.Integer(required=True)
    max_attempts = ma.fields.Integer(required=True, allow_none=True)
    best_score = ma.fields.Float(required=True, allow_none=True)


class CourseProgressDetailSchema(CourseProgressSchema):
    """Progress in a course, lesson by lesson."""

    lessons = ma.fields.List(ma.fields.Nested(LessonProgressSchema), required=True)


class ProgressPageSchema(Schema):
    """A page of the courses that the learner is in."""

    items = ma.fields.List(ma.fields.Nested(CourseProgressSchema), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


@blueprint.post("/courses/<slug:course_slug>/enrolment")
@signed_in("learning:write")
@problems(400, 401, 403, 404, 409, 413, 415, 422)
@blueprint.doc(parameters=[idempotency.PARAMETER])
@blueprint.arguments(NothingSchema, required=False)
@blueprint.response(201, EnrolmentSchema, headers=LOCATION)
@blueprint.alt_response(200, schema=EnrolmentSchema, description="The learner joined before.")
def enrol(body: dict[str, Any], course_slug: str) -> Any:
    """Join a course."""
    learner = caller()
    joined = enrolments.enrol(database, learner.user_id, course_slug, idempotency.key(learner.user_id))
    where = url_for("progress.get_course_progress", course_slug=course_slug)
    return joined, 201 if joined["created"] else 200, {"Location": where}


@blueprint.delete("/courses/<slug:course_slug>/enrolment")
@signed_in("learning:write")
@problems(401, 403, 404)
@blueprint.response(204)
def leave(course_slug: str) -> None:
    """Leave a course; progress stays."""
    enrolments.leave(database, caller().user_id, course_slug)


@blueprint.post("/lessons/<id:lesson_id>/completions")
@signed_in("learning:write")
@problems(400, 401, 403, 404, 409, 413, 415, 422)
@blueprint.doc(parameters=[idempotency.PARAMETER])
@blueprint.arguments(CompletionRequestSchema, required=False)
@blueprint.response(201, CompletionSchema, headers=LOCATION)
@blueprint.alt_response(200, schema=CompletionSchema, description="It was completed before; the answer is the first one's.")
def complete_lesson(body: dict[str, Any], lesson_id: int) -> Any:
    """Complete a lesson and be rewarded, once."""
    learner = caller()
    completed = completions.complete(
        database, cache, learner.user_id, lesson_id, body["time_spent_seconds"], idempotency.key(learner.user_id)
    )
    where = url_for("progress.get_course_progress", course_slug=completed["course_slug"])
    return completed, 201 if completed["created"] else 200, {"Location": where}


@blueprint.get("/me/progress")
@signed_in("learning:read")
@problems(401, 403, 422)
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, ProgressPageSchema)
def list_progress(query: dict[str, Any]) -> Any:
    """List the courses one is in, with progress."""
    position, course_id = pagination.after(LIST, query["cursor"]) or (-1, 0)
    rows = progress.of_courses(database, caller().user_id, (position, course_id), query["limit"] + 1)
    return pagination.page(LIST, rows, query["limit"], lambda row: [row["position"], row["course_id"]])


@blueprint.get("/me/progress/<slug:course_slug>")
@signed_in("learning:read")
@problems(401, 403, 404)
@blueprint.response(200, CourseProgressDetailSchema)
def get_course_progress(course_slug: str) -> Any:
    """Read one's progress in a course, lesson by lesson."""
    return progress.of_lessons(database, caller().user_id, course_slug)
