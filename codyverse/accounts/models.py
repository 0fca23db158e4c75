"""Who learns: accounts, the browsers they are signed in with, and the tokens of their programs."""

from __future__ import annotations

import sqlalchemy as sa

from codyverse.database import Id, UtcDateTime, metadata, primary_key

ROLES = ("learner", "teacher", "admin")
OPERATOR_ROLE = "admin"
OPERATIONS_READ = "operations:read"  # allows a token nothing unless its account is an operator's
SCOPES = ("profile:read", "profile:write", "learning:read", "learning:write", "rewards:read", OPERATIONS_READ)  # of tokens

users = sa.Table(
    "users",
    metadata,
    primary_key(),
    sa.Column("email", sa.String(254), nullable=False, unique=True),  # lower case
    sa.Column("password_hash", sa.String(255), nullable=False),
    sa.Column("display_name", sa.String(40), nullable=False),
    sa.Column("birth_date", sa.Date, nullable=False),
    sa.Column("locale", sa.String(35), nullable=False),
    sa.Column("timezone", sa.String(64), nullable=False),
    sa.Column("role", sa.String(10), nullable=False),
    sa.Column("avatar_name", sa.String(32)),  # of a file in the storage
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.CheckConstraint(sa.column("role").in_(ROLES), name="role"),
)

sessions = sa.Table(
    "sessions",
    metadata,
    primary_key(),
    sa.Column("user_id", Id, sa.ForeignKey("users.id"), nullable=False, index=True),
    sa.Column("token_hash", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("user_agent", sa.String(200), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("last_seen_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Column("revoked_at", UtcDateTime),
)

api_tokens = sa.Table(
    "api_tokens",
    metadata,
    primary_key(),
    sa.Column("user_id", Id, sa.ForeignKey("users.id"), nullable=False, index=True),
    sa.Column("name", sa.String(80), nullable=False),
    sa.Column("token_hash", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("scopes", sa.String(255), nullable=False),  # names with a space between
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("last_used_at", UtcDateTime),
    sa.Column("expires_at", UtcDateTime),
    sa.Column("revoked_at", UtcDateTime),
)
