"""avatars of learners."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Not in Alembic's batch mode: on SQLite that would make the table anew and drop the old one, which other tables refer to.


def upgrade() -> None:
    """Go to this revision."""
    op.add_column("users", sa.Column("avatar_name", sa.String(length=32), nullable=True))


def downgrade() -> None:
    """Go back to the one before."""
    op.drop_column("users", "avatar_name")
