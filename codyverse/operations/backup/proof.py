"""What is in a database, told without knowing the domains: rows by table, and what whoever keeps the ledger proves of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import sqlalchemy as sa

from codyverse import migrations
from codyverse.operations.backup.faults import Refused
from codyverse.operations.backup.manifest import Facts


class Proven(Protocol):
    """What the ledger's keeper found."""

    @property
    def sums(self) -> Mapping[str, int]:
        """Return what all entries add up to, by currency."""

    @property
    def total(self) -> int:
        """Return the difference between balances and entries; zero proves the ledger."""


Proof = Callable[[sa.Connection], Proven]


def rows(connection: sa.Connection) -> dict[str, int]:
    """Return the number of rows of every table but Alembic's."""
    tables = sorted(set(sa.inspect(connection).get_table_names()) - {"alembic_version"})
    count = sa.func.count()
    return {name: connection.execute(sa.select(count).select_from(sa.table(name))).scalar_one() for name in tables}


def facts(connection: sa.Connection, proof: Proof) -> Facts:
    """Return what is in a database. Raises Refused where it has no schema, or one that this code does not know."""
    revision = migrations.current(connection)
    if revision is None:
        raise Refused("The database has no schema, so there is nothing to back up.")
    if revision not in migrations.known():
        raise Refused(f"The database is at revision {revision}, of a newer version: this one knows up to {migrations.head()}.")
    proven = proof(connection)
    return Facts(revision, rows(connection), dict(proven.sums), proven.total)
