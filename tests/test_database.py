import dataclasses
import multiprocessing
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa

from codyverse.database import Database, NestedTransactionError
from codyverse.rewards.models import ledger_entries, wallets
from tests.conftest import make_settings

CLAIM = 2**63 - 1


def test_it_works(client):
    assert client.get("/livez").json == {"status": "ok"}
    assert client.get("/readyz").json == {"status": "ok"}
    health = client.get("/health")
    assert health.status_code == 200
    assert health.json["components"]["database"]["status"] == "ok"


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgres://u:p@h/d", "postgresql+psycopg2"),
        ("postgresql://u:p@h/d", "postgresql+psycopg2"),
        ("postgresql+psycopg2://u:p@h/d", "postgresql+psycopg2"),
        ("sqlite:////tmp/none.sqlite3", "sqlite"),
    ],
)
def test_urls_get_the_driver_that_is_installed(url, driver, tmp_path):
    assert Database(make_settings(tmp_path, url)).url.drivername == driver


def test_a_transaction_is_all_or_nothing(database, rows, learner):
    with pytest.raises(ZeroDivisionError), database.transaction() as tx:
        tx.execute(wallets.insert(), {"user_id": learner.id, "xp": 1, "coins": 1})
        1 / 0
    assert rows(wallets) == []
    with database.transaction() as tx:
        tx.execute(wallets.insert(), {"user_id": learner.id, "xp": 1, "coins": 1})
    assert rows(wallets) == [{"user_id": learner.id, "xp": 1, "coins": 1}]


def test_a_transaction_inside_another_raises_and_the_outer_one_can_be_rolled_back(database):
    with pytest.raises(NestedTransactionError), database.transaction(), database.transaction():
        pass
    with database.transaction() as tx:
        assert tx.execute(sa.text("SELECT 1")).scalar_one() == 1


def test_reads_hold_no_transaction(database):
    with database.read() as reader:
        reader.execute(sa.text("SELECT 1"))
        driver = reader.connection.connection.dbapi_connection
        if database.dialect == "sqlite":
            assert not driver.in_transaction
        else:
            assert driver.info.transaction_status == 0  # libpq's PQTRANS_IDLE


def test_foreign_keys_are_enforced(database):
    with pytest.raises(sa.exc.IntegrityError), database.transaction() as tx:
        tx.execute(wallets.insert(), {"user_id": 404, "xp": 0, "coins": 0})


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_sqlite_is_set_up(database):
    with database.read() as reader:
        pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        found = [reader.execute(sa.text(f"PRAGMA {name}")).scalar_one() for name in pragmas]
    assert found == ["wal", 2, 1, 1500]


@pytest.mark.parametrize("change", [ledger_entries.update().values(amount=2), ledger_entries.delete()], ids=["update", "delete"])
def test_the_database_refuses_to_change_the_ledger(database, rows, learner, change):
    entry = {"user_id": learner.id, "currency": "xp", "amount": 1, "balance_after": 1, "source": "test:1"}
    with database.transaction() as tx:
        tx.execute(ledger_entries.insert(), entry | {"created_at": tx.now})
    with pytest.raises(sa.exc.DBAPIError, match="never changed"), database.transaction() as tx:
        tx.execute(change)
    assert [row["amount"] for row in rows(ledger_entries)] == [1]


def test_times_come_back_in_utc(database, clock, learner, rows):
    moment = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    entry = {"user_id": learner.id, "currency": "xp", "amount": 1, "balance_after": 1, "source": "test:1"}
    with database.transaction() as tx:
        tx.execute(ledger_entries.insert(), entry | {"created_at": moment})
    assert rows(ledger_entries)[0]["created_at"] == moment
    assert rows(ledger_entries)[0]["created_at"].tzinfo == UTC
    with pytest.raises(sa.exc.StatementError, match="time zone"), database.transaction() as tx:
        tx.execute(ledger_entries.insert(), entry | {"source": "test:2", "created_at": moment.replace(tzinfo=None)})


def test_one_thread_holds_a_claim_at_a_time(database):
    def elsewhere(claim: int) -> bool:
        got: list[bool] = []

        def take() -> None:
            # On SQLite a claim that is free waits for its turn to write, so only taken ones can be asked for meanwhile.
            with database.claimed_transaction(claim) as tx:
                got.append(tx is not None)

        thread = threading.Thread(target=take)
        thread.start()
        thread.join(30)
        return got[0]

    with database.claimed_transaction(CLAIM) as tx:
        assert tx is not None
        assert not elsewhere(CLAIM)
    assert elsewhere(CLAIM)
    assert elsewhere(0)


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_a_claim_that_cannot_be_written_down_is_the_database_s_fault(database, learner, catalogue, tmp_path, rows):
    """As on a full disk: 503, and nothing done."""
    (tmp_path / "test.sqlite3-claims").mkdir()
    path = f"/api/v1/lessons/{catalogue.lesson('machines/what-is-a-guess')}/completions"
    refused = learner.client.post(path, headers={"Idempotency-Key": "k"})
    assert refused.status_code == 503
    assert refused.headers["Retry-After"]
    assert rows(wallets) == []


@pytest.mark.parametrize("engine_name", ["postgresql"], indirect=True)
def test_a_statement_has_its_time_and_a_migration_more(settings):
    database = Database(dataclasses.replace(settings, database_statement_timeout_s=0.2))
    slow = sa.text("SELECT pg_sleep(0.5)")
    with pytest.raises(sa.exc.OperationalError, match="timeout"), database.read() as reader:
        reader.execute(slow)
    with database.transaction() as tx:
        database.take_time(tx)
        tx.execute(slow)
    with pytest.raises(sa.exc.OperationalError, match="timeout"), database.transaction() as tx:
        tx.execute(slow)
    database.close()


def test_what_learners_typed_is_not_in_an_error_s_text(database):
    with pytest.raises(sa.exc.IntegrityError) as refused, database.transaction() as tx:
        tx.execute(wallets.insert(), {"user_id": 4711, "xp": 1234567, "coins": 0})
    assert "1234567" not in str(refused.value)


def test_the_file_is_its_owner_s_alone(tmp_path):
    path = tmp_path / "new.sqlite3"
    Database(make_settings(tmp_path, f"sqlite:///{path}"))
    assert path.stat().st_mode & 0o777 == 0o600


def _hold(settings, taken, end) -> None:
    with Database(settings).claimed_transaction(CLAIM) as tx:
        assert tx is not None
        taken.set()
        end.wait(60)


def test_a_claim_ends_with_the_process_that_is_killed_holding_it(database, settings):
    spawn = multiprocessing.get_context("spawn")
    taken, end = spawn.Event(), spawn.Event()
    process = spawn.Process(target=_hold, args=(settings, taken, end))
    process.start()
    assert taken.wait(60)
    with database.claimed_transaction(CLAIM) as tx:
        assert tx is None
    process.kill()
    process.join(60)
    for _ in range(200):  # PostgreSQL notices the closed connection a moment later
        with database.claimed_transaction(CLAIM) as tx:
            if tx is not None:
                return
        threading.Event().wait(0.05)
    pytest.fail("the claim was not freed")
