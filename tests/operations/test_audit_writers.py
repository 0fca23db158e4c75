"""However many write at once, and whoever is killed meanwhile: one chain, and an entry for everything that was done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

import config
from codyverse.accounts import service as accounts
from codyverse.accounts.models import api_tokens
from codyverse.database import Database
from codyverse.operations import audit
from codyverse.operations.audit import verification
from codyverse.operations.audit.chain import audit_entries
from tests.conftest import make_settings
from tests.parallel import in_parallel
from tests.server import ROOT, wait_until

WRITERS, EACH = 16, 25
ROUNDS, KILLED = 2, 2
PATIENCE_S = 60.0  # SQLite lets writers in by chance, and these do nothing else

# Says so after each token that it made for an account.
MAKER = """
import sys
import config
from codyverse.accounts import service
from codyverse.database import Database
database = Database(config.load())
while True:
    service.create_token(database, None, "key", int(sys.argv[1]), "t", ["profile:read"], None)
    print("made", flush=True)
"""


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> config.Settings:
    return make_settings(tmp_path, database_url, database_busy_timeout_s=PATIENCE_S, database_lock_timeout_s=PATIENCE_S)


def make_account(database: Database) -> int:
    details: dict[str, Any] = {"email": "a@example.org", "display_name": "Ada", "birth_date": date(1990, 12, 10)}
    with database.transaction() as tx:
        return accounts.create_user(tx, password_hash="-", **details)


def test_many_writers_make_one_chain(database: Database) -> None:
    def work() -> None:
        for number in range(EACH):
            with database.transaction() as tx:
                audit.record(tx, "role_changed", audit.CLI, audit.account(number))

    in_parallel(WRITERS, work)
    found = verification.verify(database)
    assert found.broken is None
    assert found.entries == WRITERS * EACH


@pytest.mark.parametrize("engine_name", ["postgresql"], indirect=True)
def test_who_waits_too_long_for_the_head_gives_up(database: Database, database_url: str, tmp_path: Path) -> None:
    hasty = Database(make_settings(tmp_path, database_url, database_lock_timeout_s=0.1))
    with database.transaction() as tx:
        audit.record(tx, "role_changed", audit.CLI, audit.account(1))
        with pytest.raises(OperationalError, match="lock timeout"), hasty.transaction() as other:
            audit.record(other, "role_changed", audit.CLI, audit.account(2))
    hasty.close()
    found = verification.verify(database)
    assert (found.entries, found.broken) == (1, None)


def test_who_is_killed_leaves_no_gap_no_fork_and_nothing_unrecorded(
    database: Database, database_url: str, tmp_path: Path, rows: Callable[..., list[dict[str, Any]]]
) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "CODYVERSE_ENV": "testing",
        "CODYVERSE_INSTANCE_PATH": str(tmp_path),
        "CODYVERSE_DATABASE_URL": database_url,
        "CODYVERSE_DATABASE_BUSY_TIMEOUT_S": str(PATIENCE_S),
    }
    user_id, acknowledged = make_account(database), 0
    for _ in range(ROUNDS):
        acknowledged += killed_in_the_middle([sys.executable, "-c", MAKER, str(user_id)], environment, tmp_path)
        accounts.create_token(database, None, "key", user_id, "t", ["profile:read"], None)
        acknowledged += 1
    found = verification.verify(database)
    assert found.broken is None
    made = {f"token:{row['id']}" for row in rows(api_tokens)}
    assert {row["subject"] for row in rows(audit_entries)} == made
    assert acknowledged <= found.entries == len(made) <= acknowledged + ROUNDS * KILLED  # killed before it could say so


def killed_in_the_middle(command: list[str], environment: dict[str, str], folder: Path) -> int:
    """Run processes until each has said several lines, kill them, and return how many lines there are."""
    paths = [folder / f"said-{writer}" for writer in range(KILLED)]
    processes = []
    for path in paths:
        with path.open("wb") as file:
            processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file))
    try:
        wait_until(lambda: all(path.stat().st_size > 20 for path in paths), within_s=60)
    finally:
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.wait(30)
    return sum(len(path.read_text("ascii").splitlines()) for path in paths)
