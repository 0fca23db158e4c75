"""The chain of the audit trail: each entry's hash covers the entry and the hash of the one before it.

Who adds an entry holds the head's row until the commit, so entries stand in one line: without a gap, since their numbers come
from the head and not from a sequence, and without a fork, since no two can name the same predecessor. Triggers move the head and
refuse changes (migration 0004).
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import orjson
import sqlalchemy as sa

from codyverse.database import Id, Transaction, UtcDateTime, insert, metadata

BEGINNING = bytes(32)  # what the first entry names as the hash before it
HEAD = 1  # the number of the only row

audit_entries = sa.Table(
    "audit_entries",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=False),  # the place in the chain, from 1 on
    sa.Column("recorded_at", UtcDateTime, nullable=False),
    sa.Column("action", sa.String(40), nullable=False),
    sa.Column("actor", sa.String(80), nullable=False),  # kind and number: `account:17`; or `cli`, `nobody`
    sa.Column("subject", sa.String(80), nullable=False),
    sa.Column("details", sa.Text, nullable=False),  # JSON, the very text that was hashed
    sa.Column("previous_hash", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("hash", sa.LargeBinary(32), nullable=False),
    sa.Index("ix_audit_entries_action_id", "action", "id"),
    sa.Index("ix_audit_entries_actor_id", "actor", "id"),
    sa.Index("ix_audit_entries_subject_id", "subject", "id"),
)

# Besides the lock this is what a removed end of the chain is found by.
audit_head = sa.Table(
    "audit_head",
    metadata,
    sa.Column("id", Id, primary_key=True, autoincrement=False),
    sa.Column("last_id", Id, nullable=False),
    sa.Column("hash", sa.LargeBinary(32), nullable=False),
)

# Locks the row, makes it when it is the first time, and reads it as it is after the wait: one statement on both engines.
_LOCK_HEAD = (
    insert(audit_head)
    .values(id=HEAD, last_id=0, hash=BEGINNING)
    .on_conflict_do_update(index_elements=["id"], set_={"id": audit_head.c.id})
    .returning(audit_head.c.last_id, audit_head.c.hash)
)
_APPEND = audit_entries.insert()


def entry_hash(id: int, recorded_at: datetime, action: str, actor: str, subject: str, details: str, previous: bytes) -> bytes:
    """Return SHA-256 of the entry in its canonical form: a JSON array without spaces, of texts but for the number."""
    at = recorded_at.astimezone(UTC).isoformat(timespec="microseconds")
    return hashlib.sha256(orjson.dumps([id, at, action, actor, subject, details, previous.hex()])).digest()


def append(tx: Transaction, action: str, actor: str, subject: str, details: str) -> None:
    """Add an entry to the end of the chain, and keep others from it until the transaction ends."""
    head = tx.execute(_LOCK_HEAD).one()
    entry = {"id": head.last_id + 1, "recorded_at": tx.now}
    entry |= {"action": action, "actor": actor, "subject": subject, "details": details}
    previous = bytes(head.hash)
    tx.execute(_APPEND, entry | {"previous_hash": previous, "hash": entry_hash(**entry, previous=previous)})


def as_bytes(value: Any) -> bytes:
    """Return the bytes of a column, none for what is not bytes: of a number `bytes` would make as many zeros."""
    return bytes(value) if isinstance(value, bytes | memoryview) else b""
