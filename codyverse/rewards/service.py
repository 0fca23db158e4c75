"""Awards, wallets and the ledger that proves them."""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from codyverse.database import Database, Reader, Transaction, insert
from codyverse.rewards.models import ledger_entries, wallets
from codyverse.rewards.rules import Reward, level_for, xp_for_level


class Balance(NamedTuple):
    """What a wallet holds."""

    xp: int
    coins: int


_first = insert(wallets)
_ADD = _first.on_conflict_do_update(
    index_elements=[wallets.c.user_id],
    set_={"xp": wallets.c.xp + _first.excluded.xp, "coins": wallets.c.coins + _first.excluded.coins},
).returning(wallets.c.xp, wallets.c.coins)
# One statement for both, compiled once; a list of rows would be written anew, and compiled, for every award.
_shared = {name: sa.bindparam(name, type_=ledger_entries.c[name].type) for name in ("user_id", "source", "created_at")}
_WRITE_ENTRIES = insert(ledger_entries).values(
    [
        _shared
        | {
            "currency": currency,
            "amount": sa.bindparam(f"{currency}_amount", type_=sa.BigInteger()),
            "balance_after": sa.bindparam(f"{currency}_after", type_=sa.BigInteger()),
        }
        for currency in ("xp", "coins")
    ]
)
_WALLET = sa.select(wallets.c.xp, wallets.c.coins).where(wallets.c.user_id == sa.bindparam("user_id"))
_AWARDED = sa.select(ledger_entries.c.currency, ledger_entries.c.balance_after).where(
    ledger_entries.c.user_id == sa.bindparam("user_id"), ledger_entries.c.source == sa.bindparam("source")
)
_ENTRIES = (
    sa.select(
        ledger_entries.c.id,
        ledger_entries.c.currency,
        ledger_entries.c.amount,
        ledger_entries.c.balance_after,
        ledger_entries.c.source,
        ledger_entries.c.created_at,
    )
    .where(ledger_entries.c.user_id == sa.bindparam("user_id"), ledger_entries.c.id < sa.bindparam("before_id"))
    .order_by(ledger_entries.c.id.desc())
    .limit(sa.bindparam("rows"))
)


def award(tx: Transaction, user_id: int, source: str, reward: Reward) -> Balance:
    """Give a reward for a source, such as `completion:17`, and return what the learner has now.

    The caller makes sure that the source is new; should it not be, the unique ledger entry has the whole transaction fail.
    """
    added = tx.execute(_ADD, {"user_id": user_id, "xp": reward.xp, "coins": reward.coins}).one()
    balance = Balance(added.xp, added.coins)
    tx.execute(
        _WRITE_ENTRIES,
        {
            "user_id": user_id,
            "source": source,
            "created_at": tx.now,
            "xp_amount": reward.xp,
            "xp_after": balance.xp,
            "coins_amount": reward.coins,
            "coins_after": balance.coins,
        },
    )
    tx.note("ledger_entry", 2)
    return balance


def balance_after(reader: Reader, user_id: int, source: str) -> Balance:
    """Return what the learner had right after the award for a source. Raises LookupError when there was none."""
    after = {row.currency: row.balance_after for row in reader.execute(_AWARDED, {"user_id": user_id, "source": source})}
    return Balance(after["xp"], after["coins"])


def wallet(database: Database, user_id: int) -> dict[str, Any]:
    """Return the learner's balances, level and the XP at which it and the next level begin."""
    with database.read() as reader:
        row = reader.execute(_WALLET, {"user_id": user_id}).one_or_none()
    xp, coins = (row.xp, row.coins) if row is not None else (0, 0)
    level = level_for(xp)
    return {
        "xp": xp,
        "coins": coins,
        "level": level,
        "level_began_at_xp": xp_for_level(level),
        "next_level_at_xp": xp_for_level(level + 1),
    }


def ledger(database: Database, user_id: int, before_id: int, rows: int) -> list[dict[str, Any]]:
    """Return the learner's entries below an id, newest first."""
    with database.read() as reader:
        found = reader.execute(_ENTRIES, {"user_id": user_id, "before_id": before_id, "rows": rows})
        return [dict(row._mapping) for row in found]
