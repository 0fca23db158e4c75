"""What an account may do beyond learning."""

from __future__ import annotations

import sqlalchemy as sa

from codyverse.accounts.models import users
from codyverse.accounts.service.callers import account_tag
from codyverse.database import Database
from codyverse.errors import NotFound
from codyverse.operations.retry import repeatable

_CHANGE = (
    users.update()
    .where(users.c.email == sa.bindparam("address"))
    .values(role=sa.bindparam("new_role"), updated_at=sa.bindparam("now"))
    .returning(users.c.id)
)


@repeatable
def change_role(database: Database, email: str, role: str) -> None:
    """Give an account one of ROLES, from its next request on; its sessions and tokens stay. Raises NotFound."""
    with database.transaction() as tx:
        changed = tx.execute(_CHANGE, {"address": email.lower(), "new_role": role, "now": tx.now}).scalar_one_or_none()
        if changed is None:
            raise NotFound("There is no account with this e-mail address.")
        tx.touch(account_tag(changed))
