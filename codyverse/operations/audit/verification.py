"""The proof of the audit trail: every hash computed anew, from the first entry to the head.

A chain shows what was changed, removed, added or put in another place. It does not show that it was written anew as a whole by
somebody who may change the tables: for that `noted` takes a head that was written down elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa

from codyverse.database import Database, Reader
from codyverse.operations.audit.chain import BEGINNING, as_bytes, audit_entries, audit_head, entry_hash

AT_A_TIME = 1000  # entries, so that no statement takes long and no snapshot is held while the trail grows

_HEAD = sa.select(audit_head.c.last_id, audit_head.c.hash)
_NEXT = (
    sa.select(audit_entries).where(audit_entries.c.id > sa.bindparam("after_id")).order_by(audit_entries.c.id).limit(AT_A_TIME)
)
_BEFORE_THE_FIRST = sa.select(audit_entries.c.id).where(audit_entries.c.id < 1).order_by(audit_entries.c.id).limit(1)


class Place(NamedTuple):
    """An entry's number and its hash: what a chain up to there is known by."""

    id: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.id}:{self.hash.hex()}"


NOWHERE = Place(0, BEGINNING)


class Broken(NamedTuple):
    """The first entry that is not as it was written, and why."""

    id: int
    why: str


class Verification(NamedTuple):
    """How far the chain holds, and where it breaks."""

    entries: int
    last: Place
    broken: Broken | None


def verify(database: Database, noted: Place | None = None) -> Verification:
    """Walk along the chain; entries may be added meanwhile. `noted` is a place that has to be on the way."""
    with database.read() as reader:
        head, last = _head(reader), NOWHERE
        if (early := reader.execute(_BEFORE_THE_FIRST).scalar_one_or_none()) is not None:
            return Verification(0, last, Broken(early, "stands before the first"))
        try:
            for row in _rows(reader):
                why = _fault(row, last) or _fault_of_place(row, head, noted)
                if why is not None:
                    return Verification(last.id, last, Broken(last.id + 1, why))
                last = Place(row.id, as_bytes(row.hash))
        except (TypeError, ValueError, sa.exc.OperationalError):  # a column holds what its type cannot be
            return Verification(last.id, last, Broken(last.id + 1, "cannot be read"))
        return Verification(last.id, last, _fault_of_end(last, head, _head(reader), noted))


def _head(reader: Reader) -> Place:
    row = reader.execute(_HEAD).one_or_none()
    return Place(row.last_id, as_bytes(row.hash)) if row else NOWHERE


def _rows(reader: Reader) -> Iterator[sa.Row[Any]]:
    after_id, more = 0, True
    while more:
        more = False
        for row in reader.execute(_NEXT, {"after_id": after_id}):
            after_id, more = row.id, True
            yield row


def _fault(row: sa.Row[Any], last: Place) -> str | None:
    if row.id != last.id + 1:
        return "is missing"
    previous = as_bytes(row.previous_hash)
    if previous != last.hash:
        return "does not follow the one before it"
    known = entry_hash(row.id, row.recorded_at, row.action, row.actor, row.subject, row.details, previous)
    return None if known == as_bytes(row.hash) else "was changed"


def _fault_of_place(row: sa.Row[Any], head: Place, noted: Place | None) -> str | None:
    here = Place(row.id, as_bytes(row.hash))
    if here.id == head.id and here != head:
        return "is not the one that the head names"
    if noted is not None and here.id == noted.id and here != noted:
        return "is not the one that was noted"
    return None


def _fault_of_end(last: Place, head: Place, head_now: Place, noted: Place | None) -> Broken | None:
    """Compare where the chain ended with the head before the walk and after it, between which it may have grown."""
    if last.id < head.id:
        return Broken(last.id + 1, f"is missing, as all up to {head.id}")
    if last.id > head_now.id:
        return Broken(head_now.id + 1, "was added behind the head")
    if noted is not None and noted.id > last.id:
        return Broken(last.id + 1, f"is missing, as all up to {noted.id}, which was noted")
    return None
