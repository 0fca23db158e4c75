"""What operators ask over HTTP: the state of the service, never what belongs to a learner."""

from __future__ import annotations

import dataclasses
from typing import Any

import marshmallow as ma
from flask import Flask, current_app

from codyverse.extensions import api
from codyverse.http.api import PREFIX, Blueprint, problems
from codyverse.http.auth import operator
from codyverse.http.schemas import QueryNumber, Schema
from codyverse.operations import statements, tallies

NOT_KEPT = {"Cache-Control": "no-store"}
MOST = statements.MOST_FINGERPRINTS

blueprint = Blueprint("operations", __name__, description="For operators: accounts with the role admin.")


class StatementsQuery(Schema):
    """Which fingerprints, and in what order."""

    by = ma.fields.String(load_default="total", validate=ma.validate.OneOf(list(statements.ORDERS)))
    limit = QueryNumber(load_default=100, validate=ma.validate.Range(min=1, max=MOST))


class StatementSchema(Schema):
    """What the statements of one fingerprint took, those of all processes of the host that answers."""

    fingerprint = ma.fields.String(required=True)
    statement = ma.fields.String(required=True, metadata={"description": "Its text, with `?` in place of every value."})
    calls = ma.fields.Integer(required=True)
    total_ms = ma.fields.Float(required=True)
    p95_ms = ma.fields.Float(required=True, metadata={"description": "Off by 19 % at the most."})
    max_ms = ma.fields.Float(required=True)
    rows = ma.fields.Integer(required=True, metadata={"description": "Changed or returned, where the driver tells."})
    errors = ma.fields.Integer(required=True)
    slow = ma.fields.Integer(required=True, metadata={"description": "Above CODYVERSE_SLOW_STATEMENT_MS."})


class StatementsSchema(Schema):
    """The statements that the database has run."""

    items = ma.fields.List(ma.fields.Nested(StatementSchema), required=True)


@blueprint.get("/statements")
@operator
@problems(422)
@blueprint.arguments(StatementsQuery, location="query")
@blueprint.response(200, StatementsSchema)
def list_statements(query: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """List what the database's statements took, by fingerprint, the slowest first."""
    found = statements.figures(tallies.of(current_app), query["by"])
    return {"items": [dataclasses.asdict(one) for one in found[: query["limit"]]]}, NOT_KEPT


def init_app(app: Flask) -> None:
    """Register the blueprint."""
    api.register_blueprint(blueprint, url_prefix=f"{PREFIX}/operations")
