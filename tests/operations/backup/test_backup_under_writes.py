"""A backup that is made while four writers complete lessons: as of one moment, and with all that was acknowledged before."""

from __future__ import annotations

import subprocess
import sys

import pytest
import sqlalchemy as sa

from codyverse import create_app
from codyverse.learning.models import completions
from codyverse.operations import components
from codyverse.operations.backup import archive
from codyverse.rewards import verification
from codyverse.rewards.models import ledger_entries
from tests.conftest import make_settings
from tests.faults.completions import make_jobs
from tests.faults.load import Load
from tests.operations.backup.installation import Installation, another_database
from tests.server import ROOT, Server

WRITERS = 4
LEARNERS = 100


@pytest.fixture
def restored(engine_name, tmp_path):
    folder = tmp_path / "restored"
    folder.mkdir()
    with another_database(engine_name, folder) as url:
        app = create_app(make_settings(folder, url))
        yield Installation(app, folder)
        components.of(app).close()


def test_it_works(database, database_url, tmp_path, restored):
    jobs = make_jobs(database, LEARNERS)
    with Server(tmp_path, database_url) as server, Load(server.url, jobs) as load:
        load.write(WRITERS)
        load.wait_until_acknowledged(100)
        before = set(load.acknowledged)
        command = [sys.executable, "-m", "flask", "--app", "wsgi.py", "backup", "create"]
        made = subprocess.run(command, cwd=ROOT, env=server._environment, capture_output=True, text=True, timeout=60, check=False)
        assert made.returncode == 0, made.stderr
        after = set(load.acknowledged)
        load.wait_until_acknowledged(len(after) + 20)
        (path,) = (tmp_path / "backups").glob("codyverse-*")
    assert len(after) > len(before), "nobody wrote meanwhile"

    told = restored.run("restore", path)
    assert told[0] == 0, told
    assert verification.verify(restored.database).total == 0
    with restored.database.read() as reader:
        done = {tuple(row) for row in reader.execute(sa.select(completions.c.user_id, completions.c.lesson_id))}
        rewarded = reader.execute(sa.select(sa.func.count()).select_from(ledger_entries)).scalar_one()
    assert before <= done <= load.acknowledged.keys()
    assert rewarded == 2 * len(done), "half of a transaction"
    assert archive.read(path).facts.rows["completions"] == len(done)
    print(f"\n{database.dialect}: {len(before)} acknowledged before the backup, {len(done)} in it, {len(after)} at its end")
