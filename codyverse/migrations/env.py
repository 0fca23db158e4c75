"""What Alembic runs for each of its commands."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

import codyverse.accounts.models
import codyverse.learning.models
import codyverse.operations.audit
import codyverse.operations.idempotency
import codyverse.rewards.models  # noqa: F401  (imported for their tables)
from codyverse.database import Json, UtcDateTime, metadata


def render_plain_types(kind: str, item: Any, autogen_context: Any) -> str | Literal[False]:
    """Write our column types as SQLAlchemy's own, so that a migration never depends on what the code has become."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return "sa.Text()" if kind == "type" and isinstance(item, Json) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a table by copying it
    render_item=render_plain_types,
)
with context.begin_transaction():
    context.run_migrations()
