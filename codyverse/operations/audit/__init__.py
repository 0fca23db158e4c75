"""The audit trail: who did what that somebody may have to account for.

    audit.record(tx, "role_changed", audit.CLI, audit.account(17), {"role": "admin"})

An entry is written in the transaction of what it tells, so after a crash either both are there or neither. It is the last thing
that a transaction does: from here to the commit no other entry can be written (see chain.py).

Nothing personal stands in it, since it is never changed: accounts by their number, unknown e-mail addresses by a keyed hash.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from datetime import timedelta
from typing import Any

import orjson
import sqlalchemy as sa

from codyverse.database import UNUSABLE, Database, Transaction
from codyverse.operations.audit.chain import append, audit_entries
from codyverse.operations.retry import repeatable

NOBODY = "nobody"  # is signed in
CLI = "cli"  # whoever may run `flask` on a host
A_MINUTE = timedelta(minutes=1)

ACTION = re.compile(r"[a-z_]{1,40}")
PARTY = re.compile(r"[a-z]+(:[a-z0-9-]+)?")
LONGEST_PARTY = 80

log = logging.getLogger("codyverse.audit")

_newest = (
    sa.select(audit_entries.c.recorded_at)
    .where(audit_entries.c.action == sa.bindparam("of_action"))
    .order_by(audit_entries.c.id.desc())
    .limit(sa.bindparam("most", type_=sa.Integer))
    .subquery()
)
_LATELY = sa.select(sa.func.count()).select_from(_newest).where(_newest.c.recorded_at > sa.bindparam("since"))

Details = dict[str, Any]


def account(user_id: int) -> str:
    """Return what stands for an account, as the actor or the subject of an entry."""
    return f"account:{user_id}"


def email(secret_key: str, address: str) -> str:
    """Return what stands for an e-mail address that may be nobody's: the same every time, and to be read by nobody."""
    digest = hmac.digest(secret_key.encode(), b"audit:" + address.lower().encode("utf-8", "surrogatepass"), hashlib.sha256)
    return f"email:{digest.hex()[:32]}"


def record(tx: Transaction, action: str, actor: str, subject: str, details: Details | None = None) -> None:
    """Add an entry: `actor` (an account, CLI or NOBODY) did `action` to `subject`. `details` is what JSON can hold.

    Raises ValueError for names that no filter would find.
    """
    if not ACTION.fullmatch(action):
        raise ValueError(f"{action!r} is no name of an action")
    for party in (actor, subject):
        if not PARTY.fullmatch(party) or len(party) > LONGEST_PARTY:
            raise ValueError(f"{party!r} names nobody and nothing")
    append(tx, action, actor, subject, orjson.dumps(details or {}, option=orjson.OPT_SORT_KEYS).decode())


def note(database: Database, action: str, actor: str, subject: str, details: Details | None = None) -> None:
    """Add an entry about what was done elsewhere than in the database. It has been done, so a failure is only logged."""
    try:
        _record_alone(database, action, actor, subject, details)
    except UNUSABLE as error:
        log.error("not recorded in the audit trail: %s of %s by %s (%s)", action, subject, actor, type(error).__name__)


def note_sparingly(database: Database, most_a_minute: int, action: str, actor: str, subject: str) -> None:
    """The same for what anybody can bring about: of an action so many entries a minute, the last of which says that it is one.

    The limit is that of all hosts together; requests that come at the very same time may exceed it by as many as they are.
    """
    try:
        with database.read() as reader:
            since = reader.now - A_MINUTE
            lately = reader.execute(_LATELY, {"of_action": action, "most": most_a_minute, "since": since}).scalar_one()
    except UNUSABLE:
        lately = 0  # what is wrong is said when the entry cannot be written either
    if lately < most_a_minute:
        note(database, action, actor, subject, {"last_of_a_minute": True} if lately == most_a_minute - 1 else None)


@repeatable
def _record_alone(database: Database, action: str, actor: str, subject: str, details: Details | None) -> None:
    with database.transaction() as tx:
        record(tx, action, actor, subject, details)
