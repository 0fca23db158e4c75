"""audit trail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Like the ledger it only grows, and the head goes with it. SQLite's REPLACE removes rows, and no trigger of DELETE hears of it.
_ON_SQLITE = (
    """
CREATE TRIGGER audit_entries_no_update BEFORE UPDATE ON audit_entries
BEGIN SELECT RAISE(ABORT, 'audit entries are never changed or removed'); END
""",
    """
CREATE TRIGGER audit_entries_no_delete BEFORE DELETE ON audit_entries
BEGIN SELECT RAISE(ABORT, 'audit entries are never changed or removed'); END
""",
    """
CREATE TRIGGER audit_entries_no_replace BEFORE INSERT ON audit_entries
WHEN EXISTS (SELECT 1 FROM audit_entries WHERE id = NEW.id OR previous_hash = NEW.previous_hash)
BEGIN SELECT RAISE(ABORT, 'audit entries are never changed or removed'); END
""",
    """
CREATE TRIGGER audit_entries_move_head AFTER INSERT ON audit_entries
BEGIN UPDATE audit_head SET last_id = NEW.id, hash = NEW.hash WHERE last_id = NEW.id - 1; END
""",
)
_ON_POSTGRESQL = (
    """
CREATE FUNCTION refuse_change_of_audit() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'audit entries are never changed or removed'; END $$
""",
    """
CREATE TRIGGER audit_entries_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entries
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit()
""",
    """
CREATE FUNCTION move_audit_head() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN UPDATE audit_head SET last_id = NEW.id, hash = NEW.hash WHERE last_id = NEW.id - 1; RETURN NULL; END $$
""",
    """
CREATE TRIGGER audit_entries_move_head AFTER INSERT ON audit_entries
FOR EACH ROW EXECUTE FUNCTION move_audit_head()
""",
)


def upgrade() -> None:
    """Go to this revision."""
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries")),
        sa.UniqueConstraint("previous_hash", name=op.f("uq_audit_entries_previous_hash")),
    )
    for column in ("action", "actor", "subject"):
        op.create_index(f"ix_audit_entries_{column}_id", "audit_entries", [column, "id"])
    op.create_table(
        "audit_head",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("last_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    for statement in _ON_SQLITE if op.get_bind().dialect.name == "sqlite" else _ON_POSTGRESQL:
        op.execute(statement)


def downgrade() -> None:
    """Go back to the one before."""
    op.drop_table("audit_entries")  # its triggers go with it
    op.drop_table("audit_head")
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP FUNCTION refuse_change_of_audit()")
        op.execute("DROP FUNCTION move_audit_head()")
