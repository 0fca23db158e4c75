"""Sessions: the browsers in which somebody is signed in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from codyverse.accounts.credentials import derive, fingerprint
from codyverse.accounts.models import sessions
from codyverse.accounts.service.callers import account_tag
from codyverse.database import LARGEST_ID, Database, Transaction
from codyverse.errors import NotFound
from codyverse.operations import audit
from codyverse.operations.retry import repeatable

_OPEN = sessions.insert().returning(sessions.c.id)
_FORGET_EXPIRED = sessions.delete().where(
    sessions.c.user_id == sa.bindparam("owner_id"), sessions.c.expires_at <= sa.bindparam("now")
)
_living = (
    sessions.c.user_id == sa.bindparam("owner_id"),
    sessions.c.revoked_at.is_(None),
    sessions.c.expires_at > sa.bindparam("now"),
)
_LIST = (
    sa.select(sessions.c.id, sessions.c.user_agent, sessions.c.created_at, sessions.c.last_seen_at, sessions.c.expires_at)
    .where(*_living, sessions.c.id < sa.bindparam("before_id"))
    .order_by(sessions.c.id.desc())
    .limit(sa.bindparam("limit", type_=sa.Integer))
)
_REVOKE = sessions.update().where(*_living, sessions.c.id == sa.bindparam("session_id")).values(revoked_at=sa.bindparam("now"))


def open_session(tx: Transaction, secret_key: str, user_id: int, nonce: str, user_agent: str, days: int) -> int:
    """Begin a session and return its id.

    It is always under a secret of its own, so that nobody can sign somebody in under a secret they know. The account's expired
    sessions go, since they say where and when somebody was.
    """
    tx.execute(_FORGET_EXPIRED, {"owner_id": user_id, "now": tx.now})
    session_id: int = tx.execute(
        _OPEN,
        {
            "user_id": user_id,
            "token_hash": fingerprint(derive(secret_key, "session", nonce)),
            "user_agent": user_agent,
            "created_at": tx.now,
            "last_seen_at": tx.now,
            "expires_at": tx.now + timedelta(days=days),
        },
    ).scalar_one()
    return session_id


def list_sessions(
    database: Database, user_id: int, current_id: int | None, before_id: int | None, limit: int
) -> list[dict[str, Any]]:
    """Return up to limit + 1 living sessions, newest first, from below `before_id` on; `current` marks that of `current_id`."""
    with database.read() as reader:
        parameters = {"owner_id": user_id, "now": reader.now, "before_id": before_id or LARGEST_ID, "limit": limit + 1}
        return [{**row._mapping, "current": row.id == current_id} for row in reader.execute(_LIST, parameters)]


def sign_out(database: Database, user_id: int, session_id: int) -> None:
    """End the session in which its account says so. Raises NotFound."""
    _end(database, user_id, session_id, "sign_out")


def revoke_session(database: Database, user_id: int, session_id: int) -> None:
    """End a living session of the account. Raises NotFound."""
    _end(database, user_id, session_id, "session_revoked")


@repeatable
def _end(database: Database, user_id: int, session_id: int, action: str) -> None:
    with database.transaction() as tx:
        if not tx.execute(_REVOKE, {"owner_id": user_id, "session_id": session_id, "now": tx.now}).rowcount:
            raise NotFound("You have no such session.")
        tx.touch(account_tag(user_id))
        audit.record(tx, action, audit.account(user_id), f"session:{session_id}")
