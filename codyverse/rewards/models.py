"""What a learner earned: a ledger that only grows, and the balances that its entries add up to."""

from __future__ import annotations

import sqlalchemy as sa

from codyverse.database import Id, UtcDateTime, metadata, primary_key

CURRENCIES = ("xp", "coins")

ledger_entries = sa.Table(
    "ledger_entries",
    metadata,
    primary_key(),
    sa.Column("user_id", Id, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("currency", sa.String(10), nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("balance_after", sa.BigInteger, nullable=False),
    sa.Column("source", sa.String(80), nullable=False),  # what it was earned by, `completion:17`: earned once
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("user_id", "currency", "source"),
    sa.Index("ix_ledger_entries_user_id_id", "user_id", "id"),
    sa.CheckConstraint(sa.column("currency").in_(CURRENCIES), name="currency"),
    sa.CheckConstraint("amount <> 0", name="amount"),
)

wallets = sa.Table(
    "wallets",
    metadata,
    sa.Column("user_id", Id, sa.ForeignKey("users.id"), primary_key=True, autoincrement=False),
    sa.Column("xp", sa.BigInteger, nullable=False),
    sa.Column("coins", sa.BigInteger, nullable=False),
    sa.CheckConstraint("xp >= 0", name="xp"),
    sa.CheckConstraint("coins >= 0", name="coins"),
)
