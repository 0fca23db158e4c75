"""Reading the audit trail."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa

from codyverse.database import LARGEST_ID, Database
from codyverse.operations.audit.chain import as_bytes, audit_entries

_LIST = (
    sa.select(audit_entries)
    .where(audit_entries.c.id < sa.bindparam("before_id"))
    .order_by(audit_entries.c.id.desc())
    .limit(sa.bindparam("limit", type_=sa.Integer))
)


def list_entries(
    database: Database,
    *,
    action: str | None = None,
    actor: str | None = None,
    subject: str | None = None,
    since: datetime | None = None,
    before_id: int | None = None,
    limit: int,
) -> list[dict[str, Any]]:
    """Return up to limit + 1 entries, newest first, from below `before_id` on, of those that the rest chooses."""
    query, parameters = _LIST, {"before_id": before_id or LARGEST_ID, "limit": limit + 1}
    for column, value in ((audit_entries.c.action, action), (audit_entries.c.actor, actor), (audit_entries.c.subject, subject)):
        if value is not None:
            query = query.where(column == value)
    if since is not None:
        query = query.where(audit_entries.c.recorded_at >= since)
    with database.read() as reader:
        return [_entry(row) for row in reader.execute(query, parameters)]


def _entry(row: sa.Row[Any]) -> dict[str, Any]:
    as_is = {name: row._mapping[name] for name in ("id", "recorded_at", "action", "actor", "subject")}
    hashes = {name: as_bytes(row._mapping[name]).hex() for name in ("previous_hash", "hash")}
    try:
        details = orjson.loads(row.details)
    except ValueError:  # somebody has changed it, which `flask audit verify` says, and this is where to see what there is
        details = {"unreadable": str(row.details)}
    return as_is | {"details": details} | hashes
