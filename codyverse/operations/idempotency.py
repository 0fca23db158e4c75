"""Doing a thing once, however often its request arrives.

A client that hears no answer sends the request again with the same `Idempotency-Key`. `once` keeps the answer in the
transaction of the effect, so after a crash either both are there or neither. A key belongs to one account (0: nobody is signed
in) and is kept for 24 hours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
import sqlalchemy as sa

from codyverse.database import Database, Id, Transaction, UtcDateTime, insert, metadata
from codyverse.errors import IdempotencyMismatch, RequestInFlight
from codyverse.operations.retry import repeatable

KEPT = timedelta(hours=24)
# Expired records are removed with one in so many that are written, and more of them than those, so that they cannot pile up.
SWEEP_ONE_IN, SWEEP_ROWS = 16, 64

Answer = dict[str, Any]

idempotency_records = sa.Table(
    "idempotency_records",
    metadata,
    sa.Column("owner_id", Id, primary_key=True, autoincrement=False),
    sa.Column("key_hash", sa.LargeBinary(32), primary_key=True),
    sa.Column("request_hash", sa.LargeBinary(32), nullable=False),
    sa.Column("answer", sa.LargeBinary, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False, index=True),
)

_FIND = sa.select(idempotency_records.c.request_hash, idempotency_records.c.answer, idempotency_records.c.created_at).where(
    idempotency_records.c.owner_id == sa.bindparam("owner_id"),
    idempotency_records.c.key_hash == sa.bindparam("key_hash"),
)
_FORGET = idempotency_records.delete().where(
    idempotency_records.c.owner_id == sa.bindparam("owner_id"),
    idempotency_records.c.key_hash == sa.bindparam("key_hash"),
)
_KEEP = insert(idempotency_records)
_expired = (
    sa.select(idempotency_records.c.owner_id, idempotency_records.c.key_hash)
    .where(idempotency_records.c.created_at <= sa.bindparam("horizon"))
    .order_by(idempotency_records.c.created_at)
    .limit(SWEEP_ROWS)
)
_SWEEP = idempotency_records.delete().where(
    sa.tuple_(idempotency_records.c.owner_id, idempotency_records.c.key_hash).in_(_expired)
)


@dataclass(frozen=True, slots=True)
class Key:
    """An `Idempotency-Key` and what it was sent with; both as keyed hashes, since a body may hold a password."""

    owner_id: int
    key_hash: bytes
    request_hash: bytes

    @property
    def claim(self) -> int:
        """Return 63 bits that stand for the owner and the key."""
        return (int.from_bytes(self.key_hash[:8]) ^ self.owner_id) >> 1


@repeatable
def once(database: Database, key: Key | None, work: Callable[[Transaction], Answer]) -> Answer:
    """Run `work` in a transaction, or return what it answered when it ran under this key before.

    The answer is returned as it would be read back, so that the first and the later ones are the same. Without a key it is just
    run. Raises RequestInFlight while another request holds the key, IdempotencyMismatch when the key was sent with another one.
    """
    if key is None:
        with database.transaction() as tx:
            return _loads(_dumps(work(tx)))
    with database.claimed_transaction(key.claim) as claimed:
        if claimed is None:
            raise RequestInFlight("A request with this Idempotency-Key is being worked on. Ask again in a moment.")
        owner = {"owner_id": key.owner_id, "key_hash": key.key_hash}
        found = claimed.execute(_FIND, owner).one_or_none()
        if found is not None and found.created_at > claimed.now - KEPT:
            if found.request_hash != key.request_hash:
                raise IdempotencyMismatch("This Idempotency-Key was sent with another request.")
            return _loads(found.answer)
        answer = _dumps(work(claimed))
        if found is not None:
            claimed.execute(_FORGET, owner)
        if key.key_hash[-1] % SWEEP_ONE_IN == 0:
            claimed.execute(_SWEEP, {"horizon": claimed.now - KEPT})
        claimed.execute(_KEEP, owner | {"request_hash": key.request_hash, "answer": answer, "created_at": claimed.now})
        return _loads(answer)


def _dumps(answer: Answer) -> bytes:
    return orjson.dumps(answer, option=orjson.OPT_UTC_Z)


def _loads(answer: bytes) -> Answer:
    loaded: Answer = orjson.loads(answer)
    return loaded
