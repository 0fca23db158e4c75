"""Registering and signing in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from codyverse.accounts import passwords
from codyverse.accounts.credentials import derive, new_nonce
from codyverse.accounts.models import users
from codyverse.accounts.service.profiles import Profile, create_user, profile_of
from codyverse.accounts.service.sessions import open_session
from codyverse.database import Database, Transaction
from codyverse.errors import WrongCredentials
from codyverse.operations import audit
from codyverse.operations.idempotency import Answer, Key, once

# Failed ones that the audit trail takes in a minute: enough to see an attack by, too few to fill the disk with one.
FAILURES_RECORDED = 60

_FIND = sa.select(users.c.id, users.c.password_hash).where(users.c.email == sa.bindparam("address"))
_REHASH = (
    users.update()
    .where(users.c.id == sa.bindparam("user_id"), users.c.password_hash == sa.bindparam("old_hash"))
    .values(password_hash=sa.bindparam("new_hash"))
)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session has begun: whose, and the secret for its cookie."""

    profile: Profile
    secret: str


def register(
    database: Database, key: Key | None, secret_key: str, session_days: int, user_agent: str, details: dict[str, Any]
) -> SignedIn:
    """Create an account and a session for it.

    `details` has the arguments of `create_user`, with `password` in place of the hash. Raises WeakPassword, EmailTaken and
    InvalidInput.
    """
    details = dict(details)
    password = details.pop("password")
    passwords.check_strength(password, (details["email"], details["display_name"]))
    password_hash = passwords.hash_password(password)

    def work(tx: Transaction) -> Answer:
        user_id = create_user(tx, password_hash=password_hash, **details)
        return _open(tx, secret_key, user_id, user_agent, session_days, "registration")

    return _signed_in(secret_key, once(database, key, work))


def log_in(
    database: Database, key: Key | None, secret_key: str, session_days: int, user_agent: str, email: str, password: str
) -> SignedIn:
    """Begin a session. Raises WrongCredentials, for an unknown address after the same time as for a wrong password."""
    with database.read() as reader:
        account = reader.execute(_FIND, {"address": email.lower()}).one_or_none()
    if not passwords.matches(password, account.password_hash if account else None) or account is None:
        tried = audit.account(account.id) if account else audit.email(secret_key, email)
        audit.note_sparingly(database, FAILURES_RECORDED, "sign_in_failed", audit.NOBODY, tried)
        raise WrongCredentials("The e-mail address or the password is wrong.")
    stronger = passwords.hash_password(password) if passwords.is_outdated(account.password_hash) else None

    def work(tx: Transaction) -> Answer:
        if stronger:
            tx.execute(_REHASH, {"user_id": account.id, "old_hash": account.password_hash, "new_hash": stronger})
        return _open(tx, secret_key, account.id, user_agent, session_days, "sign_in")

    return _signed_in(secret_key, once(database, key, work))


def _open(tx: Transaction, secret_key: str, user_id: int, user_agent: str, session_days: int, action: str) -> Answer:
    nonce = new_nonce()
    session_id = open_session(tx, secret_key, user_id, nonce, user_agent, session_days)
    answer = {"profile": profile_of(tx, user_id), "nonce": nonce}
    who = audit.account(user_id)
    audit.record(tx, action, who, who, {"session": session_id})
    tx.note(action)
    return answer


def _signed_in(secret_key: str, answer: Answer) -> SignedIn:
    return SignedIn(answer["profile"], derive(secret_key, "session", answer["nonce"]))
