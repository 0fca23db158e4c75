"""Who sends a request: the account behind a session's or a token's secret.

A process remembers whom it asked the database about. What ends a session or a token, or changes what its account may do, touches
the account's tag, so that nobody is remembered beyond the commit of that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from codyverse.accounts.credentials import fingerprint
from codyverse.accounts.models import api_tokens, sessions, users
from codyverse.database import Database
from codyverse.operations.cache.objects import Objects
from codyverse.operations.retry import repeatable

SEEN_EVERY = timedelta(minutes=10)  # the precision of last_seen_at and last_used_at, so that reading seldom writes


@dataclass(frozen=True, slots=True)
class Caller:
    """The account that a request acts for, by a session or by a token; `scopes` is None where nothing is withheld."""

    user_id: int
    role: str
    session_id: int | None
    token_id: int | None
    scopes: frozenset[str] | None
    timezone: str


_SESSION = (
    sa.select(sessions.c.id, sessions.c.user_id, sessions.c.last_seen_at, sessions.c.expires_at, users.c.role, users.c.timezone)
    .join_from(sessions, users)
    .where(
        sessions.c.token_hash == sa.bindparam("token_hash"),
        sessions.c.revoked_at.is_(None),
        sessions.c.expires_at > sa.bindparam("now"),
    )
)
_SEE_SESSION = sessions.update().where(sessions.c.id == sa.bindparam("session_id")).values(last_seen_at=sa.bindparam("now"))
_TOKEN = (
    sa.select(
        api_tokens.c.id,
        api_tokens.c.user_id,
        api_tokens.c.scopes,
        api_tokens.c.last_used_at,
        api_tokens.c.expires_at,
        users.c.role,
        users.c.timezone,
    )
    .join_from(api_tokens, users)
    .where(
        api_tokens.c.token_hash == sa.bindparam("token_hash"),
        api_tokens.c.revoked_at.is_(None),
        sa.or_(api_tokens.c.expires_at.is_(None), api_tokens.c.expires_at > sa.bindparam("now")),
    )
)
_USE_TOKEN = api_tokens.update().where(api_tokens.c.id == sa.bindparam("token_id")).values(last_used_at=sa.bindparam("now"))


@dataclass(frozen=True, slots=True)
class Known:
    """Who a secret belongs to, and when the database has to be asked again."""

    caller: Caller
    until: datetime


Callers = Objects[Known]


def account_tag(user_id: int) -> str:
    """Return the tag of what decides who acts for an account and what it may do: sessions, tokens, role."""
    return f"account:{user_id}"


def caller_of_session(database: Database, callers: Callers, secret: str) -> Caller | None:
    """Return who the cookie of a living session belongs to, and note that they were seen."""
    return _remembered(database, callers, secret, _ask_for_session)


def caller_of_token(database: Database, callers: Callers, secret: str) -> Caller | None:
    """Return who a living API token belongs to, and note that it was used."""
    return _remembered(database, callers, secret, _ask_for_token)


def _remembered(
    database: Database, callers: Callers, secret: str, ask: Callable[[Database, bytes], Known | None]
) -> Caller | None:
    token_hash, as_of = fingerprint(secret), callers.as_of()
    # A session's secret is no token and a token no session's secret, so what is known of the one is not known of the other.
    key = ask.__name__.encode() + token_hash
    known = callers.get(key)
    if known is None or database.clock() >= known.until:
        known = ask(database, token_hash)
        if known is None:
            return None
        callers.keep(key, known, as_of, [account_tag(known.caller.user_id)])
    return known.caller


@repeatable
def _ask_for_session(database: Database, token_hash: bytes) -> Known | None:
    with database.read() as reader:
        now = reader.now
        row = reader.execute(_SESSION, {"token_hash": token_hash, "now": now}).one_or_none()
    if row is None:
        return None
    seen_at = row.last_seen_at
    if seen_at <= now - SEEN_EVERY:
        seen_at = now
        with database.transaction() as tx:
            tx.execute(_SEE_SESSION, {"session_id": row.id, "now": now})
    caller = Caller(row.user_id, row.role, session_id=row.id, token_id=None, scopes=None, timezone=row.timezone)
    return Known(caller, min(row.expires_at, seen_at + SEEN_EVERY))


@repeatable
def _ask_for_token(database: Database, token_hash: bytes) -> Known | None:
    with database.read() as reader:
        now = reader.now
        row = reader.execute(_TOKEN, {"token_hash": token_hash, "now": now}).one_or_none()
    if row is None:
        return None
    used_at = row.last_used_at
    if used_at is None or used_at <= now - SEEN_EVERY:
        used_at = now
        with database.transaction() as tx:
            tx.execute(_USE_TOKEN, {"token_id": row.id, "now": now})
    scopes = frozenset(row.scopes.split())
    caller = Caller(row.user_id, row.role, session_id=None, token_id=row.id, scopes=scopes, timezone=row.timezone)
    again = used_at + SEEN_EVERY
    return Known(caller, min(row.expires_at or again, again))
