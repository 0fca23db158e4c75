"""The proof of the ledger: every balance recomputed from its entries."""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from codyverse.database import Database, Reader
from codyverse.rewards.models import CURRENCIES, ledger_entries, wallets


class Difference(NamedTuple):
    """A balance that is not the sum of its entries."""

    user_id: int
    currency: str
    stored: int
    entries_sum: int


class Verification(NamedTuple):
    """What was compared and where it differs."""

    entries: int
    wallets: int
    differences: list[Difference]
    sums: dict[str, int]  # of all entries, by currency

    @property
    def total(self) -> int:
        """Return the sum of all differences without regard to their sign; zero proves the ledger."""
        return sum(abs(one.stored - one.entries_sum) for one in self.differences)


def _in_entries() -> sa.Select[Any]:
    return sa.select(
        ledger_entries.c.user_id,
        ledger_entries.c.currency,
        sa.literal(0).label("stored"),
        ledger_entries.c.amount.label("entries_sum"),
    )


def _in_wallets(currency: str) -> sa.Select[Any]:
    return sa.select(
        wallets.c.user_id, sa.literal(currency).label("currency"), wallets.c[currency].label("stored"), sa.literal(0)
    )


# Adding up both sides finds a wallet without entries and entries without a wallet as well.
_both = sa.union_all(_in_entries(), *(_in_wallets(currency) for currency in CURRENCIES)).subquery()
_DIFFERENCES = (
    sa.select(
        _both.c.user_id,
        _both.c.currency,
        sa.func.sum(_both.c.stored).label("stored"),
        sa.func.sum(_both.c.entries_sum).label("entries_sum"),
    )
    .group_by(_both.c.user_id, _both.c.currency)
    .having(sa.func.sum(_both.c.stored) != sa.func.sum(_both.c.entries_sum))
    .order_by(_both.c.user_id, _both.c.currency)
)
_COUNTS = sa.select(
    sa.select(sa.func.count()).select_from(ledger_entries).scalar_subquery().label("entries"),
    sa.select(sa.func.count()).select_from(wallets).scalar_subquery().label("wallets"),
)
_SUMS = sa.select(ledger_entries.c.currency, sa.func.sum(ledger_entries.c.amount).label("sum")).group_by(
    ledger_entries.c.currency
)


def verify(database: Database) -> Verification:
    """Compare every balance with the sum of its entries, in one statement, so that awards may go on meanwhile."""
    with database.long_read() as reader:
        return compare(reader)


def compare(reader: Reader | sa.Connection) -> Verification:
    """Do the same with what a connection sees."""
    differences = [
        Difference(row.user_id, row.currency, int(row.stored), int(row.entries_sum)) for row in reader.execute(_DIFFERENCES)
    ]
    counts = reader.execute(_COUNTS).one()
    sums = dict.fromkeys(CURRENCIES, 0) | {row.currency: int(row.sum) for row in reader.execute(_SUMS)}
    return Verification(counts.entries, counts.wallets, differences, sums)
