"""Events of learning over HTTP."""

from __future__ import annotations

import re
from datetime import datetime
from functools import partial
from typing import Any, cast

import marshmallow as ma
from flask import Flask, current_app

from codyverse import extensions
from codyverse.database import LARGEST_ID
from codyverse.extensions import database
from codyverse.http.api import PREFIX, Blueprint, problems
from codyverse.http.auth import caller, signed_in
from codyverse.http.schemas import Schema, WholeNumber
from codyverse.learning.models import EVENT_KINDS
from codyverse.learning.service import events
from codyverse.operations import components, tallies
from codyverse.operations.events import PER_STATEMENT, Events, Queued, Unqueued

_EXTENSION = "codyverse.events"
_RFC_3339 = re.compile(r"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})")

blueprint = Blueprint("events", __name__, description="What learners look at, and for how long.")


class Moment(ma.fields.Field[Any]):
    """A moment that a client tells, as RFC 3339 has it; Python would read many other forms."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("metadata", {}).update({"type": "string", "format": "date-time"})
        super().__init__(**kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        try:
            if isinstance(value, str) and _RFC_3339.fullmatch(value.upper()):
                return datetime.fromisoformat(value.upper())
        except ValueError:
            pass
        raise ma.ValidationError("Must be a time such as 2026-11-24T10:41:48Z.")


class EventSchema(Schema):
    """An event."""

    kind = ma.fields.String(required=True, validate=ma.validate.OneOf(EVENT_KINDS))
    lesson_id = WholeNumber(required=True, validate=ma.validate.Range(min=1, max=LARGEST_ID))
    seconds = WholeNumber(
        validate=ma.validate.Range(min=0, max=3600), metadata={"description": "How long; needed for `time_spent`."}
    )
    occurred_at = Moment(
        metadata={"description": "Now, where it is missing. Not more than 5 minutes ahead, nor 7 days ago."},
    )

    @ma.validates_schema
    def _needs_seconds(self, data: dict[str, Any], **kwargs: Any) -> None:
        if data["kind"] == "time_spent" and "seconds" not in data:
            raise ma.ValidationError("Needed for time_spent.", "seconds")


class EventsSchema(Schema):
    """What happened, in order."""

    events = ma.fields.List(ma.fields.Nested(EventSchema), required=True, validate=ma.validate.Length(min=1, max=PER_STATEMENT))


class AcceptedSchema(Schema):
    """What became of the events."""

    accepted = ma.fields.Integer(
        required=True, metadata={"description": "To be written soon; those of lessons that never were are left out then."}
    )
    dropped = ma.fields.Integer(required=True, metadata={"description": "Not taken, since too many wait: the last ones."})


@blueprint.post("/events")
@signed_in("learning:write")
@problems(400, 413, 415, 422)
@blueprint.arguments(EventsSchema)
@blueprint.response(202, AcceptedSchema)
def tell_events(told: dict[str, Any]) -> Any:
    """Tell what one looked at. Nothing is rewarded for it, and what is sent twice counts twice."""
    queue = cast(Events, current_app.extensions[_EXTENSION])
    return events.accept(database, queue, caller().user_id, told["events"])


def init_app(app: Flask) -> None:
    """Register the blueprint, and have events written. Comes after the database."""
    settings = app.config["CODYVERSE"]
    write, count = partial(events.write, app.extensions["codyverse.database"]), tallies.of(app).count
    queue: Events = Queued(write, settings.events_queue, count) if settings.feature_optimization else Unqueued(write, count)
    app.extensions[_EXTENSION] = queue
    components.of(app).add("events", queue.close)
    extensions.api.register_blueprint(blueprint, url_prefix=PREFIX)
