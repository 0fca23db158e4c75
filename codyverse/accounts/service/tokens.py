"""API tokens: what programs act for somebody with."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from codyverse.accounts.credentials import PREFIX, derive, fingerprint, new_nonce
from codyverse.accounts.models import SCOPES, api_tokens
from codyverse.accounts.service.callers import account_tag
from codyverse.database import LARGEST_ID, Database, Transaction
from codyverse.errors import NotFound
from codyverse.operations import audit
from codyverse.operations.idempotency import Answer, Key, once
from codyverse.operations.retry import repeatable

_CREATE = api_tokens.insert().returning(api_tokens.c.id)
_living = (
    api_tokens.c.user_id == sa.bindparam("owner_id"),
    api_tokens.c.revoked_at.is_(None),
    sa.or_(api_tokens.c.expires_at.is_(None), api_tokens.c.expires_at > sa.bindparam("now")),
)
_SHOWN = sa.select(
    api_tokens.c.id,
    api_tokens.c.name,
    api_tokens.c.scopes,
    api_tokens.c.created_at,
    api_tokens.c.last_used_at,
    api_tokens.c.expires_at,
).where(*_living)
_READ = _SHOWN.where(api_tokens.c.id == sa.bindparam("token_id"))
_LIST = (
    _SHOWN.where(api_tokens.c.id < sa.bindparam("before_id"))
    .order_by(api_tokens.c.id.desc())
    .limit(sa.bindparam("limit", type_=sa.Integer))
)
_REVOKE = api_tokens.update().where(*_living, api_tokens.c.id == sa.bindparam("token_id")).values(revoked_at=sa.bindparam("now"))


def create_token(
    database: Database,
    key: Key | None,
    secret_key: str,
    user_id: int,
    name: str,
    scopes: Collection[str],
    expires_in_days: int | None,
) -> dict[str, Any]:
    """Create a token and return it with `token`, its secret, which can never be read again. Without days it does not expire."""
    granted = [scope for scope in SCOPES if scope in scopes]

    def work(tx: Transaction) -> Answer:
        nonce = new_nonce()
        row = {
            "name": name,
            "created_at": tx.now,
            "expires_at": tx.now + timedelta(days=expires_in_days) if expires_in_days else None,
        }
        token_hash = fingerprint(_secret(secret_key, nonce))
        stored = {**row, "user_id": user_id, "token_hash": token_hash, "scopes": " ".join(granted)}
        token_id = tx.execute(_CREATE, stored).scalar_one()
        audit.record(tx, "token_created", audit.account(user_id), f"token:{token_id}", {"scopes": granted})
        return {**row, "id": token_id, "scopes": granted, "last_used_at": None, "nonce": nonce}

    answer = once(database, key, work)
    answer["token"] = _secret(secret_key, answer.pop("nonce"))
    return answer


def list_tokens(database: Database, user_id: int, before_id: int | None, limit: int) -> list[dict[str, Any]]:
    """Return up to limit + 1 living tokens without their secrets, newest first, from below `before_id` on."""
    with database.read() as reader:
        parameters = {"owner_id": user_id, "now": reader.now, "before_id": before_id or LARGEST_ID, "limit": limit + 1}
        return [{**row._mapping, "scopes": row.scopes.split()} for row in reader.execute(_LIST, parameters)]


def read_token(database: Database, user_id: int, token_id: int) -> dict[str, Any]:
    """Return a living token of the account without its secret. Raises NotFound."""
    with database.read() as reader:
        row = reader.execute(_READ, {"owner_id": user_id, "now": reader.now, "token_id": token_id}).one_or_none()
    if row is None:
        raise NotFound("You have no such token.")
    return {**row._mapping, "scopes": row.scopes.split()}


@repeatable
def revoke_token(database: Database, user_id: int, token_id: int) -> None:
    """End a living token of the account. Raises NotFound."""
    with database.transaction() as tx:
        if not tx.execute(_REVOKE, {"owner_id": user_id, "token_id": token_id, "now": tx.now}).rowcount:
            raise NotFound("You have no such token.")
        tx.touch(account_tag(user_id))
        audit.record(tx, "token_revoked", audit.account(user_id), f"token:{token_id}")


def _secret(secret_key: str, nonce: str) -> str:
    return PREFIX + derive(secret_key, "token", nonce)
