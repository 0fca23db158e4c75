"""What `flask doctor` looks at in the accounts."""

from __future__ import annotations

import sqlalchemy as sa

from codyverse.accounts.models import OPERATOR_ROLE, users
from codyverse.operations.doctor.check import Finding, Group, ok, warning
from codyverse.operations.doctor.database import CURRENT
from codyverse.operations.doctor.deployment import Deployment

group = Group("accounts")


@group.check(
    "operator",
    "There is an operator",
    why="Nobody may look at figures, alerts and the dashboard.",
    mend="flask accounts role ada@example.org admin",
    needs=CURRENT,
)
def operator(it: Deployment) -> Finding:
    """Look for an account with the role."""
    with it.database.read() as reader:
        has_one = reader.execute(sa.select(users.c.id).where(users.c.role == OPERATOR_ROLE).limit(1)).scalar()
    return ok() if has_one else warning("No account has the role admin.")
