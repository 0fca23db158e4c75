"""Attempts at a quiz over HTTP."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from flask import url_for

from codyverse.extensions import database
from codyverse.http import idempotency
from codyverse.http.api import Blueprint, problems
from codyverse.http.auth import caller, signed_in
from codyverse.http.schemas import LOCATION, Instant, NothingSchema, Schema
from codyverse.learning import questions
from codyverse.learning.service import attempts

blueprint = Blueprint("attempts", __name__, description="Quizzes: attempts, answers, scores.")


class AnswerField(ma.fields.Field[Any]):
    """An answer; what it has to be depends on the question's kind."""

    def __init__(self, **kwargs: Any) -> None:
        text = {"type": "string", "maxLength": 1000}
        number = {"type": "number", "minimum": -questions.LARGEST_NUMBER, "maximum": questions.LARGEST_NUMBER}
        listed = {"type": "array", "items": {"type": "string"}, "maxItems": 8}
        kwargs["metadata"] = {
            "oneOf": [text, number, {"type": "boolean"}, listed, *([{"type": "null"}] if kwargs.get("allow_none") else [])],
            "description": "single: an option's id. multiple: ids. ordering: all ids in order. "
            "true_false: a boolean. short_text: a text. numeric: a number.",
        }
        super().__init__(**kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, dict):
            raise ma.ValidationError("Must be a text, a number, true or false, or a list of texts.")
        return value


class AnswerSchema(Schema):
    """An answer as it is sent."""

    answer = AnswerField(required=True)


class KeptAnswerSchema(Schema):
    """An answer as it is kept."""

    question_id = ma.fields.String(required=True)
    answer = AnswerField(required=True)
    answered_at = Instant(required=True)


class OptionSchema(Schema):
    """An option, or an item to be ordered, as this attempt shows it."""

    id = ma.fields.String(required=True)
    html = ma.fields.String(required=True)


class QuestionSchema(Schema):
    """A question of the attempt. What is right, and why, is there only after submission."""

    id = ma.fields.String(required=True)
    kind = ma.fields.String(required=True, validate=ma.validate.OneOf(questions.KINDS))
    points = ma.fields.Integer(required=True)
    text_html = ma.fields.String(required=True)
    options = ma.fields.List(ma.fields.Nested(OptionSchema))
    unit = ma.fields.String(allow_none=True)
    answer = AnswerField(required=True, allow_none=True)
    correct = ma.fields.Boolean()
    points_awarded = ma.fields.Integer()
    right_answer = AnswerField()
    explanation_html = ma.fields.String()


class AttemptSchema(Schema):
    """An attempt. The score is there only after submission."""

    id = ma.fields.Integer(required=True)
    lesson_id = ma.fields.Integer(required=True)
    lesson_version = ma.fields.Integer(required=True)
    number = ma.fields.Integer(required=True, metadata={"description": "1 for the learner's first attempt at this quiz."})
    attempts_left = ma.fields.Integer(required=True, allow_none=True, metadata={"description": "null where there is no maximum."})
    status = ma.fields.String(required=True, validate=ma.validate.OneOf(["open", "expired", "submitted"]))
    started_at = Instant(required=True)
    expires_at = Instant(required=True, allow_none=True)
    submitted_at = Instant(required=True, allow_none=True)
    pass_score = ma.fields.Integer(required=True, metadata={"description": "Per cent of the points."})
    questions = ma.fields.List(ma.fields.Nested(QuestionSchema), required=True)
    points = ma.fields.Integer()
    points_possible = ma.fields.Integer()
    score = ma.fields.Float(metadata={"description": "Per cent, two decimals."})
    passed = ma.fields.Boolean()


@blueprint.post("/lessons/<id:lesson_id>/attempts")
@signed_in("learning:write")
@problems(400, 401, 403, 404, 409, 413, 415, 422)
@blueprint.doc(parameters=[idempotency.PARAMETER])
@blueprint.arguments(NothingSchema, required=False)
@blueprint.response(201, AttemptSchema, headers=LOCATION)
def start_attempt(body: dict[str, Any], lesson_id: int) -> Any:
    """Begin an attempt at a quiz."""
    learner = caller()
    begun = attempts.start(database, learner.user_id, lesson_id, idempotency.key(learner.user_id))
    return begun, 201, {"Location": url_for("attempts.get_attempt", attempt_id=begun["id"])}


@blueprint.get("/attempts/<id:attempt_id>")
@signed_in("learning:read")
@problems(401, 403, 404)
@blueprint.response(200, AttemptSchema)
def get_attempt(attempt_id: int) -> Any:
    """Read an attempt; after submission with score and explanations."""
    return attempts.read(database, caller().user_id, attempt_id)


@blueprint.put("/attempts/<id:attempt_id>/answers/<slug:question_id>")
@signed_in("learning:write")
@problems(400, 401, 403, 404, 409, 413, 415, 422)
@blueprint.arguments(AnswerSchema)
@blueprint.response(200, KeptAnswerSchema)
def put_answer(body: dict[str, Any], attempt_id: int, question_id: str) -> Any:
    """Answer a question; the last answer counts."""
    return attempts.answer(database, caller().user_id, attempt_id, question_id, body["answer"])


@blueprint.post("/attempts/<id:attempt_id>/submission")
@signed_in("learning:write")
@problems(400, 401, 403, 404, 409, 413, 415, 422)
@blueprint.doc(parameters=[idempotency.PARAMETER])
@blueprint.arguments(NothingSchema, required=False)
@blueprint.response(201, AttemptSchema, headers=LOCATION)
@blueprint.alt_response(200, schema=AttemptSchema, description="It was submitted before.")
def submit_attempt(body: dict[str, Any], attempt_id: int) -> Any:
    """Submit an attempt and read its score; once more answers the same."""
    learner = caller()
    submitted = attempts.submit(database, learner.user_id, attempt_id, idempotency.key(learner.user_id))
    where = url_for("attempts.get_attempt", attempt_id=attempt_id)
    return submitted, 201 if submitted["created"] else 200, {"Location": where}
