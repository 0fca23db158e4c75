"""Accounts and their profiles."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import sqlalchemy as sa

from codyverse.accounts.models import users
from codyverse.accounts.service.callers import account_tag
from codyverse.database import Database, Reader, Transaction, insert
from codyverse.errors import EmailTaken, InvalidInput, PreconditionFailed
from codyverse.operations.retry import repeatable

EARLIEST_BIRTH = date(1900, 1, 1)
CHANGEABLE = ("display_name", "birth_date", "locale", "timezone")

Profile = dict[str, Any]

_CREATE = insert(users).on_conflict_do_nothing(index_elements=["email"]).returning(users.c.id)
_READ = sa.select(users).where(users.c.id == sa.bindparam("user_id"))
_LOCK = _READ.with_for_update()
_UPDATE = (
    users.update()
    .where(users.c.id == sa.bindparam("user_id"))
    .values({name: sa.bindparam(f"new_{name}") for name in (*CHANGEABLE, "updated_at")})
)


def create_user(
    tx: Transaction,
    *,
    email: str,
    password_hash: str,
    display_name: str,
    birth_date: date,
    locale: str = "en",
    timezone: str = "UTC",
    role: str = "learner",
) -> int:
    """Create an account and return its id. Raises EmailTaken, and InvalidInput for an impossible date of birth.

    The password comes hashed (`passwords.hash_password`): hashing takes longer than a transaction should, and many accounts made
    at once may share one hash.
    """
    _check_birth_date(birth_date, timezone, tx.now)
    user_id = tx.execute(
        _CREATE,
        {
            "email": email.lower(),
            "password_hash": password_hash,
            "display_name": display_name,
            "birth_date": birth_date,
            "locale": locale,
            "timezone": timezone,
            "role": role,
            "created_at": tx.now,
            "updated_at": tx.now,
        },
    ).scalar_one_or_none()
    if user_id is None:
        raise EmailTaken("There is an account with this e-mail address.", {"email": ["Has an account already."]})
    return int(user_id)


def profile_of(reader: Reader, user_id: int) -> Profile:
    """Return the profile as plain data; its age band is that of today, where the learner is."""
    return _profile(reader.execute(_READ, {"user_id": user_id}).one(), reader.now)


def read_profile(database: Database, user_id: int) -> Profile:
    """Return the profile."""
    with database.read() as reader:
        return profile_of(reader, user_id)


@repeatable
def update_profile(database: Database, user_id: int, changes: dict[str, Any], may_change: Callable[[str], bool]) -> Profile:
    """Change what `changes` names (any of CHANGEABLE) and return the profile.

    `may_change` is asked with the present `version`. Raises PreconditionFailed when it says no, InvalidInput for an impossible
    date of birth.
    """
    # The lock spans the question and the answer: of two changes that saw the same version only one can go ahead.
    with database.transaction() as tx:
        row = tx.execute(_LOCK, {"user_id": user_id}).one()
        profile = _profile(row, tx.now)
        if not may_change(version(profile)):
            raise PreconditionFailed("The profile was changed in the meantime. Read it again and repeat the change.")
        if not changes:
            return profile
        values = {name: getattr(row, name) for name in CHANGEABLE} | changes
        if "birth_date" in changes:
            _check_birth_date(values["birth_date"], values["timezone"], tx.now)
        parameters = {f"new_{name}": value for name, value in values.items()}
        tx.execute(_UPDATE, parameters | {"user_id": user_id, "new_updated_at": tx.now})
        tx.touch(account_tag(user_id))
        return profile_of(tx, user_id)


def version(profile: Profile) -> str:
    """Return a text that changes with anything in the profile."""
    return hashlib.sha256(orjson.dumps(profile, option=orjson.OPT_UTC_Z)).hexdigest()[:32]


def age_band(birth_date: date, today: date) -> str:
    """Return `child` (under 13), `teen` (under 18) or `adult`."""
    age = today.year - birth_date.year - ((today.month, today.day) < (birth_date.month, birth_date.day))
    return "child" if age < 13 else "teen" if age < 18 else "adult"


def _profile(row: sa.Row[Any], now: datetime) -> Profile:
    return {
        "id": row.id,
        "email": row.email,
        "display_name": row.display_name,
        "birth_date": row.birth_date.isoformat(),
        "age_band": age_band(row.birth_date, _today(row.timezone, now)),
        "locale": row.locale,
        "timezone": row.timezone,
        "role": row.role,
        "avatar_name": row.avatar_name,
        "created_at": row.created_at,
    }


def _today(timezone: str, now: datetime) -> date:
    return now.astimezone(ZoneInfo(timezone)).date()


def _check_birth_date(birth_date: date, timezone: str, now: datetime) -> None:
    if not EARLIEST_BIRTH <= birth_date < _today(timezone, now):
        raise InvalidInput(
            "This cannot be a date of birth.", {"birth_date": [f"Must be in the past and not before {EARLIEST_BIRTH:%Y}."]}
        )
