"""A learner's avatar: a file in the storage, and its name in the learner's row.

The file is there before the row names it and goes after the row names another one. A crash in between leaves a file that no row
names, which `sweep_avatars` removes; a row never names a file that is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from codyverse.accounts import avatars
from codyverse.accounts.models import users
from codyverse.accounts.service.profiles import Profile, profile_of
from codyverse.accounts.storage import Storage
from codyverse.database import Database
from codyverse.errors import NotFound
from codyverse.operations.retry import repeatable

KEPT_UNNAMED = timedelta(days=1)  # far longer than an upload has between its file and its row

_NAME = sa.select(users.c.avatar_name).where(users.c.id == sa.bindparam("user_id"))
_LOCK = _NAME.with_for_update()
_SET = (
    users.update()
    .where(users.c.id == sa.bindparam("user_id"))
    .values(avatar_name=sa.bindparam("name"), updated_at=sa.bindparam("now"))
)
_NAMES = sa.select(users.c.avatar_name).where(users.c.avatar_name.is_not(None))


@dataclass(frozen=True)
class Swept:
    """What a sweep of the storage did."""

    removed: int
    kept: int


def replace_avatar(database: Database, storage: Storage, user_id: int, image: bytes) -> Profile:
    """Make the image the learner's avatar and return the profile.

    Raises InvalidInput for an image that cannot be used, Unavailable when it cannot be worked on or stored.
    """
    name = storage.put(avatars.render(image))
    # If this fails the new file stays: when the connection broke during the commit, the row may name it all the same.
    return _name_avatar(database, storage, user_id, name)


def remove_avatar(database: Database, storage: Storage, user_id: int) -> None:
    """Remove the learner's avatar, if there is one."""
    _name_avatar(database, storage, user_id, None)


def read_avatar(database: Database, storage: Storage, user_id: int) -> tuple[str, bytes]:
    """Return name and content of the learner's avatar. Raises NotFound without one."""
    for _ in range(2):  # between the two reads another request may have replaced the avatar
        with database.read() as reader:
            name = reader.execute(_NAME, {"user_id": user_id}).scalar_one()
        content = storage.read(name) if name else None
        if content is not None:
            return name, content
    raise NotFound("There is no avatar.")


def sweep_avatars(database: Database, storage: Storage) -> Swept:
    """Remove the files that no row names and that are older than a day."""
    with database.read() as reader:
        old = list(storage.names(before=reader.now - KEPT_UNNAMED))
        named = set(reader.execute(_NAMES).scalars())
    unnamed = [name for name in old if name not in named]
    for name in unnamed:
        storage.delete(name)
    return Swept(removed=len(unnamed), kept=len(named))


@repeatable
def _name_avatar(database: Database, storage: Storage, user_id: int, name: str | None) -> Profile:
    # The lock lets each of several changes see the name that it replaces, so that every file is removed by one of them.
    with database.transaction() as tx:
        old = tx.execute(_LOCK, {"user_id": user_id}).scalar_one()
        if old != name:
            tx.execute(_SET, {"user_id": user_id, "name": name, "now": tx.now})
        profile = profile_of(tx, user_id)
    if old is not None:
        storage.delete(old)
    return profile
