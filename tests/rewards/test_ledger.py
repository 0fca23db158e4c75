from datetime import date

import pytest
import sqlalchemy as sa

from codyverse.accounts import service as accounts
from codyverse.rewards import service, verification
from codyverse.rewards.models import ledger_entries, wallets
from codyverse.rewards.rules import Reward


@pytest.fixture
def award(database):
    def award(user_id, source, xp=10, coins=2):
        with database.transaction() as tx:
            return service.award(tx, user_id, source, Reward(xp, coins))

    return award


@pytest.fixture
def verify(app):
    return lambda: app.test_cli_runner().invoke(args=["ledger", "verify"])


def test_it_works(learner, award):
    award(learner.id, "test:1")
    award(learner.id, "test:2", 5, 1)
    assert learner.client.get("/api/v1/me/wallet").json == {
        "xp": 15,
        "coins": 3,
        "level": 1,
        "level_began_at_xp": 0,
        "next_level_at_xp": 100,
    }
    entries = learner.client.get("/api/v1/me/ledger").json["items"]
    shown = [(entry["currency"], entry["amount"], entry["balance_after"], entry["source"]) for entry in entries]
    assert shown == [("coins", 1, 3, "test:2"), ("xp", 5, 15, "test:2"), ("coins", 2, 2, "test:1"), ("xp", 10, 10, "test:1")]


def test_before_the_first_award_the_wallet_is_empty(learner):
    wallet = learner.client.get("/api/v1/me/wallet").json
    assert (wallet["xp"], wallet["coins"], wallet["level"]) == (0, 0, 1)
    assert learner.client.get("/api/v1/me/ledger").json == {"items": [], "next_cursor": None}


def test_a_source_is_rewarded_once_whatever_the_caller_does(learner, award, rows):
    award(learner.id, "test:1")
    with pytest.raises(sa.exc.IntegrityError):
        award(learner.id, "test:1")
    assert [(row["xp"], row["coins"]) for row in rows(wallets)] == [(10, 2)]
    assert len(rows(ledger_entries)) == 2


def test_pages_hold_each_entry_once_while_new_ones_come(learner, award):
    for i in range(5):
        award(learner.id, f"test:{i}")
    seen, cursor = [], ""
    for i in range(4):
        page = learner.client.get(f"/api/v1/me/ledger?limit=3{cursor}").json
        seen += [(entry["source"], entry["currency"]) for entry in page["items"]]
        award(learner.id, f"later:{i}")
        cursor = f"&cursor={page['next_cursor']}"
    assert page["next_cursor"] is None
    assert len(seen) == len(set(seen)) == 10


def test_it_is_one_s_own(learner, make_learner, award):
    award(learner.id, "test:1")
    other = make_learner()
    assert other.client.get("/api/v1/me/wallet").json["xp"] == 0
    assert other.client.get("/api/v1/me/ledger").json["items"] == []


def test_verify_says_0(learner, make_learner, award, verify):
    award(learner.id, "test:1")
    award(make_learner().id, "test:1")
    result = verify()
    assert (result.exit_code, result.output) == (0, "difference 0 (4 entries, 2 wallets)\n")


def test_verify_of_nothing_says_0(verify):
    assert verify().output == "difference 0 (0 entries, 0 wallets)\n"


@pytest.mark.parametrize(
    ("tamper", "difference"),
    [
        (wallets.update().values(xp=wallets.c.xp + 7), 7),
        (wallets.update().values(coins=0), 2),
        (wallets.delete(), 12),
    ],
    ids=["xp from nowhere", "coins gone", "wallet gone"],
)
def test_verify_finds_a_balance_that_is_not_its_entries(learner, award, database, verify, tamper, difference):
    award(learner.id, "test:1")
    with database.transaction() as tx:
        tx.execute(tamper)
    result = verify()
    assert result.exit_code == 1
    assert f"user {learner.id}: " in result.output
    assert f"difference {difference} " in result.output


def test_verify_finds_a_wallet_without_entries(learner, database, verify):
    with database.transaction() as tx:
        tx.execute(wallets.insert(), {"user_id": learner.id, "xp": 3, "coins": 0})
    assert verify().exit_code == 1
    assert verification.verify(database).differences == [(learner.id, "xp", 3, 0)]


def test_verify_lists_no_more_than_20(make_learner, award, database, verify):
    with database.transaction() as tx:
        for i in range(25):
            user_id = make_user(tx, i)
            tx.execute(wallets.insert(), {"user_id": user_id, "xp": 1, "coins": 0})
    lines = verify().output.splitlines()
    assert len(lines) == 22
    assert lines[-2:] == ["… and 5 more", "difference 25 (0 entries, 25 wallets)"]


def make_user(tx, i):
    return accounts.create_user(tx, email=f"v{i}@example.org", password_hash="-", display_name="V", birth_date=date(1990, 1, 1))
