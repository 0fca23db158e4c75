"""A learner's wallet and ledger over HTTP."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from flask import Flask

from codyverse.database import LARGEST_ID
from codyverse.extensions import api, database
from codyverse.http import pagination
from codyverse.http.api import PREFIX, Blueprint, problems
from codyverse.http.auth import caller, signed_in
from codyverse.http.schemas import Instant, PageQuery, Schema
from codyverse.rewards import service
from codyverse.rewards.models import CURRENCIES

LEDGER = "ledger"

blueprint = Blueprint("rewards", __name__, description="What a learner earned.")


class WalletSchema(Schema):
    """Balances and level."""

    xp = ma.fields.Integer(required=True)
    coins = ma.fields.Integer(required=True)
    level = ma.fields.Integer(required=True)
    level_began_at_xp = ma.fields.Integer(required=True)
    next_level_at_xp = ma.fields.Integer(required=True)


class LedgerEntrySchema(Schema):
    """One entry of the ledger."""

    id = ma.fields.Integer(required=True)
    currency = ma.fields.String(required=True, validate=ma.validate.OneOf(CURRENCIES))
    amount = ma.fields.Integer(required=True)
    balance_after = ma.fields.Integer(required=True)
    source = ma.fields.String(required=True, metadata={"description": "What it was earned by."})
    created_at = Instant(required=True)


class LedgerSchema(Schema):
    """A page of the ledger, newest first."""

    items = ma.fields.List(ma.fields.Nested(LedgerEntrySchema), required=True)
    next_cursor = ma.fields.String(required=True, allow_none=True)


@blueprint.get("/wallet")
@signed_in("rewards:read")
@problems(401, 403)
@blueprint.response(200, WalletSchema)
def get_wallet() -> dict[str, Any]:
    """Read one's XP, coins and level."""
    return service.wallet(database, caller().user_id)


@blueprint.get("/ledger")
@signed_in("rewards:read")
@problems(401, 403, 422)
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, LedgerSchema)
def get_ledger(query: dict[str, Any]) -> dict[str, Any]:
    """List what one earned, newest first."""
    (before_id,) = pagination.after(LEDGER, query["cursor"]) or [LARGEST_ID]
    rows = service.ledger(database, caller().user_id, before_id, query["limit"] + 1)
    return pagination.page(LEDGER, rows, query["limit"], lambda row: [row["id"]])


def init_app(app: Flask) -> None:
    """Register the blueprint."""
    api.register_blueprint(blueprint, url_prefix=f"{PREFIX}/me")
