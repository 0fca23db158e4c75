import pytest
import sqlalchemy as sa

from benchmarks import history, scripts
from codyverse.learning import content
from codyverse.learning.models import answers, attempts, completions
from codyverse.learning.service.catalogue import import_catalogue
from codyverse.rewards import verification
from codyverse.rewards.models import ledger_entries, wallets
from tests.server import ROOT

LEARNERS = 200
FIRST = 1001


@pytest.fixture
def paths(database):
    import_catalogue(database, content.read(ROOT / "content"))
    paths = history.paths(database, lessons_each=3, joined=2)
    history.fill(database, FIRST, FIRST + LEARNERS - 1, paths)
    history.analyze(database)
    return paths


def count(database, table):
    with database.read() as reader:
        return reader.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_the_ledger_adds_up(app, database, paths):
    verified = verification.verify(database)
    assert verified.total == 0
    assert verified.wallets == LEARNERS
    assert verified.entries == 2 * count(database, completions) > 2 * LEARNERS
    assert "difference 0 " in app.test_cli_runner().invoke(args=["ledger", "verify"]).output


def test_the_verification_would_notice(database, paths):
    with database.transaction() as tx:
        tx.execute(wallets.update().where(wallets.c.user_id == FIRST).values(xp=wallets.c.xp + 1))
    assert verification.verify(database).total == 1


def test_balances_run_on_to_what_the_wallet_holds(database, paths, rows):
    for user_id in (FIRST, FIRST + LEARNERS - 1):
        [wallet] = rows(wallets, wallets.c.user_id == user_id)
        for currency in ("xp", "coins"):
            entries = rows(ledger_entries, ledger_entries.c.user_id == user_id, ledger_entries.c.currency == currency)
            running = 0
            for entry in sorted(entries, key=lambda row: row["id"]):
                running += entry["amount"]
                assert entry["balance_after"] == running
            assert running == wallet[currency] > 0


def test_the_service_takes_the_history_for_its_own(app, database, paths):
    """What was filled in is what the service would have written: it scores the attempt the same and completes nothing twice."""
    client, headers = app.test_client(), scripts.signed_in(FIRST)
    quiz = paths[FIRST % len(paths)].steps[-1]
    with database.read() as reader:
        attempt_id = reader.execute(
            sa.select(attempts.c.id).where(attempts.c.user_id == FIRST, attempts.c.lesson_id == quiz.lesson_id)
        ).scalar_one()
        given = reader.execute(sa.select(sa.func.count()).where(answers.c.attempt_id == attempt_id)).scalar_one()
    shown = client.get(f"/api/v1/attempts/{attempt_id}", headers=headers).json
    assert shown["score"] == 100 and given == len(shown["questions"])
    assert all(question["correct"] for question in shown["questions"])
    again = client.post(f"/api/v1/lessons/{quiz.lesson_id}/completions", json={}, headers=headers)
    assert (again.status_code, again.json["xp_awarded"]) == (200, quiz.reward.xp)
    wallet = client.get("/api/v1/me/wallet", headers=headers).json
    assert wallet["xp"] == sum(step.reward.xp for step in paths[FIRST % len(paths)].steps)


def test_the_password_signs_in(app, paths):
    credentials = {"email": history.email(FIRST), "password": history.PASSWORD}
    assert app.test_client().post("/api/v1/auth/login", json=credentials).status_code == 200
