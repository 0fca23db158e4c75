"""What an account may do beyond learning."""

from __future__ import annotations

import sqlalchemy as sa

from codyverse.accounts.models import users
from codyverse.accounts.service.callers import account_tag
from codyverse.database import Database
from codyverse.errors import NotFound
from codyverse.operations import audit
from codyverse.operations.retry import repeatable

_LOCK = sa.select(users.c.id, users.c.role).where(users.c.email == sa.bindparam("address")).with_for_update()
_CHANGE = (
    users.update()
    .where(users.c.id == sa.bindparam("user_id"))
    .values(role=sa.bindparam("new_role"), updated_at=sa.bindparam("now"))
)


@repeatable
def change_role(database: Database, email: str, role: str, actor: str = audit.CLI) -> None:
    """Give an account one of ROLES, from its next request on; its sessions and tokens stay. Raises NotFound."""
    with database.transaction() as tx:
        account = tx.execute(_LOCK, {"address": email.lower()}).one_or_none()
        if account is None:
            raise NotFound("There is no account with this e-mail address.")
        tx.execute(_CHANGE, {"user_id": account.id, "new_role": role, "now": tx.now})
        tx.touch(account_tag(account.id))
        audit.record(tx, "role_changed", actor, audit.account(account.id), {"role": role, "was": account.role})
