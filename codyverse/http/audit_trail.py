"""The audit trail over HTTP, for operators."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import marshmallow as ma
from flask import Flask

from codyverse.extensions import api, database
from codyverse.http import pagination
from codyverse.http.api import PREFIX, Blueprint, problems
from codyverse.http.auth import operator
from codyverse.http.operators import NOT_KEPT
from codyverse.http.schemas import Instant, PageQuery, Schema
from codyverse.operations import audit
from codyverse.operations.audit import reading

LIST_NAME = "audit"

blueprint = Blueprint("audit", __name__, description="What was done that somebody may have to account for.")


def _party(description: str) -> ma.fields.String:
    return ma.fields.String(
        load_default=None,
        validate=[ma.validate.Regexp(rf"^{audit.PARTY.pattern}$"), ma.validate.Length(max=audit.LONGEST_PARTY)],
        metadata={"description": description},
    )


def _in_range(moment: datetime) -> None:
    try:
        moment.astimezone(UTC)
    except OverflowError:
        raise ma.ValidationError("Not a time of this calendar in UTC.") from None


class AuditQuery(PageQuery):
    """Which entries."""

    action = ma.fields.String(load_default=None, validate=ma.validate.Regexp(rf"^{audit.ACTION.pattern}$"))
    actor = _party("`account:17`, `cli` or `nobody`.")
    subject = _party("`account:17`, `session:4`, `catalogue` and the like.")
    since = ma.fields.AwareDateTime(
        load_default=None, format="iso", validate=_in_range, metadata={"description": "With its offset from UTC."}
    )


class AuditEntrySchema(Schema):
    """One entry; its hash covers the others of its fields."""

    id = ma.fields.Integer(required=True, metadata={"description": "Its place in the chain, from 1 on."})
    recorded_at = Instant(required=True)
    action = ma.fields.String(required=True)
    actor = ma.fields.String(required=True)
    subject = ma.fields.String(required=True)
    details = ma.fields.Dict(required=True)
    previous_hash = ma.fields.String(required=True, metadata={"description": "That of the entry before it, zeros for the first."})
    hash = ma.fields.String(required=True, metadata={"description": "SHA-256 as hexadecimal text."})


class AuditPageSchema(Schema):
    """A page of entries."""

    items = ma.fields.List(ma.fields.Nested(AuditEntrySchema), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


@blueprint.get("/audit")
@operator
@problems(422)
@blueprint.arguments(AuditQuery, location="query")
@blueprint.response(200, AuditPageSchema)
def list_entries(query: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """List the audit trail, newest first."""
    after = pagination.after(LIST_NAME, query.pop("cursor"))
    entries = reading.list_entries(database, before_id=after[0] if after else None, **query)
    return pagination.page(LIST_NAME, entries, query["limit"], lambda entry: [entry["id"]]), NOT_KEPT


def init_app(app: Flask) -> None:
    """Register the blueprint."""
    api.register_blueprint(blueprint, url_prefix=f"{PREFIX}/operations")
