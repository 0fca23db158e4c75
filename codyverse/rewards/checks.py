"""What `flask doctor` looks at in what learners earned."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from codyverse.operations.doctor.check import Finding, Group, fault, ok
from codyverse.operations.doctor.database import CURRENT
from codyverse.operations.doctor.deployment import Deployment
from codyverse.rewards.models import CURRENCIES, ledger_entries, wallets

SAMPLE = 1000  # learners

group = Group("ledger")

_latest = sa.select(ledger_entries.c.user_id).order_by(ledger_entries.c.id.desc()).limit(SAMPLE).subquery()
_sampled = sa.select(_latest.c.user_id).distinct().subquery()


def _sum(currency: str) -> sa.ColumnElement[int]:
    entries = sa.select(sa.func.coalesce(sa.func.sum(ledger_entries.c.amount), 0)).where(
        ledger_entries.c.user_id == _sampled.c.user_id, ledger_entries.c.currency == currency
    )
    return entries.scalar_subquery()


_WRONG: sa.Select[Any] = (
    sa.select(_sampled.c.user_id)
    .select_from(_sampled.outerjoin(wallets, wallets.c.user_id == _sampled.c.user_id))
    .where(sa.or_(*(sa.func.coalesce(wallets.c[currency], 0) != _sum(currency) for currency in CURRENCIES)))
    .order_by(_sampled.c.user_id)
)


@group.check(
    "balances",
    "Balances are the sums of their entries",
    why="Learners have more or less than they earned, and nobody can say since when.",
    mend="`flask ledger verify` tells all of them; the entries are right, and a balance is corrected to their sum.",
    needs=CURRENT,
    within_s=15.0,
)
def balances(it: Deployment) -> Finding:
    """Add up the entries of the learners who earned something last."""
    with it.database.read() as reader:
        wrong = list(reader.execute(_WRONG).scalars())
    return fault(f"{len(wrong)} are not, that of account {wrong[0]} among them.") if wrong else ok()
