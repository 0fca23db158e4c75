"""`flask backup`, on both engines: what it prints, how it exits, and what is there afterwards."""

from __future__ import annotations

import json
import re
import stat
import time
from dataclasses import replace

import pytest
from alembic import command

from codyverse import create_app, migrations
from codyverse.operations import backup, components
from codyverse.operations.audit import verification as chain
from codyverse.operations.audit.reading import list_entries
from codyverse.operations.backup import archive
from codyverse.rewards import verification
from tests.conftest import make_settings, migrate
from tests.operations.backup.installation import AVATAR, Installation, account_with_a_database, another_database

TOLD = r"revision \d{4}, \d+ rows, \d+ coins, \d+ xp, difference 0\n"


@pytest.fixture
def empty(engine_name, tmp_path):
    """Another installation of the same engine, as a new machine has it: a schema, and nobody in it."""
    folder = tmp_path / "another"
    folder.mkdir()
    with another_database(engine_name, folder) as url:
        app = create_app(make_settings(folder, url))
        yield Installation(app, folder)
        components.of(app).close()


def reencode(path, change):
    """Make an archive say something else of itself."""
    folder = path.parent / f"unpacked-{time.time_ns()}"
    described = change(archive.read(path, folder))
    changed = path.with_name(f"changed-{time.time_ns()}")
    archive.write(changed, described, folder)
    return changed


def at_revision(described, revision):
    return replace(described, facts=replace(described.facts, revision=revision))


def test_it_works(installation, empty):
    code, told, _ = installation.run("create")
    assert code == 0
    (name,) = installation.names()
    assert re.fullmatch(rf"{re.escape(name)}: \d+ bytes, {TOLD}", told)
    assert stat.S_IMODE((installation.archives / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(installation.archives.stat().st_mode) == 0o700
    code, told, _ = installation.run("verify")
    assert code == 0 and re.fullmatch(rf"{re.escape(name)}: 2 files are what they were, {TOLD}", told)

    code, told, error = empty.run("restore", installation.archives / name)
    assert (code, error) == (0, "") and re.fullmatch(rf"Restored: {TOLD}", told)
    assert empty.rows() == installation.rows()
    assert (empty.folder / AVATAR).read_bytes() == b"a picture"
    assert verification.verify(empty.database).total == 0
    assert empty.names() == []


def test_a_restore_is_recorded(installation):
    path = installation.create()
    installation.run("restore", "--force", path)
    (saved,) = set(installation.names()) - {path.name}
    (entry,) = list_entries(installation.database, action="backup_restored", actor="cli", subject="database", limit=9)
    assert entry["details"] == {"archive": path.name, "before": saved}
    assert chain.verify(installation.database).broken is None


def test_what_comes_after_a_restore_goes_on_where_it_was(installation, empty):
    """Numbers that the database gives, and the ledger's trigger, are there too."""
    empty.run("restore", installation.create())
    installation.add_somebody()
    empty.add_somebody()
    assert empty.rows()["users"][-1][0] == installation.rows()["users"][-1][0]
    with pytest.raises(Exception, match="never changed"), empty.database.transaction() as tx:
        tx.connection.exec_driver_sql("UPDATE ledger_entries SET amount = 1")


def test_deep_verification_changes_nothing(installation):
    installation.create()
    before = installation.rows()
    code, told, error = installation.run("verify", "--deep")
    assert (code, error) == (0, "") and re.fullmatch(rf"\S+: can be restored, {TOLD}", told)
    assert installation.rows() == before and len(installation.names()) == 1


def test_restore_of_a_database_that_is_not_empty(installation):
    path, then = installation.create(), installation.rows()
    installation.add_somebody()
    now = installation.rows()
    code, told, error = installation.run("restore", path.name)
    assert (code, told) == (2, "")
    assert error.startswith("codyverse: The database is not empty (") and error.count("\n") == 1
    assert installation.rows() == now

    code, told, _ = installation.run("restore", "--force", path.name)
    assert code == 0
    assert installation.rows() == then != now
    (saved,) = set(installation.names()) - {path.name}
    assert told.startswith(f"What was there before is in {saved}.\n")
    installation.run("restore", "--force", saved)
    assert installation.rows() == now


def test_an_archive_of_an_older_version_is_migrated(installation):
    with installation.database.transaction() as tx:
        command.downgrade(migrations.configuration(tx.connection), "0002")
    path = installation.create()
    older = installation.rows()
    with installation.database.transaction() as tx:
        command.upgrade(migrations.configuration(tx.connection), "head")
    code, told, _ = installation.run("verify", "--deep", path.name)
    assert code == 0 and told.endswith("(migrated from 0002)\n")
    assert installation.run("restore", "--force", path.name)[0] == 0
    restored = installation.rows()
    assert restored.pop("alembic_version") == [(migrations.head(),)] != older.pop("alembic_version")
    assert {name: restored[name] for name in older} == older


def test_an_archive_of_a_newer_version_is_refused(installation):
    newer = reencode(installation.create(), lambda described: at_revision(described, "9999"))
    before = installation.rows()
    for arguments in (["verify", "--deep"], ["restore", "--force"]):
        code, told, error = installation.run(*arguments, newer)
        assert (code, told, error.count("\n")) == (2, "", 1)
        assert "is at revision 9999" in error
    assert installation.rows() == before and len(list(installation.archives.glob("codyverse-*"))) == 1


def test_an_archive_of_the_other_engine_is_refused(installation):
    other = reencode(installation.create(), lambda described: replace(described, engine="clay"))
    code, told, error = installation.run("restore", "--force", other)
    assert (code, told) == (2, "") and error.startswith("codyverse: The archive is of clay, and this installation has ")


@pytest.mark.parametrize("lie", ["rows", "sums", "revision"])
def test_a_database_that_is_not_what_the_manifest_says_is_not_restored(installation, lie):
    def change(described):
        facts = described.facts
        lies = {
            "rows": replace(facts, rows={**facts.rows, "users": 77}),
            "sums": replace(facts, sums={**facts.sums, "xp": 77}),
            "revision": replace(facts, revision="0001"),
        }
        return replace(described, facts=lies[lie])

    changed = reencode(installation.create(), change)
    before = installation.rows()
    code, _, error = installation.run("restore", "--force", changed)
    assert code == 1 and error.count("\n") == 1 and "manifest" in error
    assert installation.rows() == before


def test_a_ledger_that_differs_is_told_and_kept(installation):
    with installation.database.transaction() as tx:
        tx.connection.exec_driver_sql("UPDATE wallets SET xp = xp + 5 WHERE user_id = (SELECT min(user_id) FROM wallets)")
    code, told, error = installation.run("create")
    assert code == 0 and "difference 5" in told and error.count("\n") == 1
    assert installation.run("verify")[0] == 0
    assert installation.run("verify", "--deep")[0] == 1
    assert installation.run("restore", "--force", installation.names()[0])[0] == 0


def test_a_migration_that_fails_leaves_what_was_there(installation, monkeypatch):
    path = installation.create()
    installation.add_somebody()
    before = installation.rows()

    def fail(configured, revision):
        configured.attributes["connection"].exec_driver_sql("DELETE FROM completions")
        configured.attributes["connection"].exec_driver_sql("SELECT nothing FROM nowhere")

    monkeypatch.setattr(command, "upgrade", fail)
    code, _, error = installation.run("restore", "--force", path)
    assert code == 1 and error.startswith("codyverse: The database cannot be used: ") and error.count("\n") == 1
    assert installation.rows() == before


def test_nothing_to_back_up(installation):
    with installation.database.transaction() as tx:
        command.downgrade(migrations.configuration(tx.connection), "base")
    try:
        assert installation.run("create") == (2, "", "codyverse: The database has no schema, so there is nothing to back up.\n")
        assert installation.names() == []
    finally:
        with installation.database.transaction() as tx:
            command.upgrade(migrations.configuration(tx.connection), "head")


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_list_prune_and_the_newest(installation, settings):
    assert installation.run("list") == (0, f"No archives in {installation.archives}.\n", "")
    assert installation.run("verify") == (2, "", f"codyverse: There are no archives in {installation.archives}.\n")
    assert backup.newest(settings) is None
    began = time.time()
    first, second = installation.create(), installation.create()
    assert began - 0.001 <= backup.newest(settings) <= time.time()
    second.write_bytes(second.read_bytes()[:100])
    listed = json.loads(installation.run("list", "--json")[1])
    assert [one["name"] for one in listed] == [first.name, second.name]
    assert [one["engine"] for one in listed] == ["sqlite", "damaged"]
    assert listed[0]["rows"] == sum(archive.read(first).facts.rows.values()) > 100
    assert len(installation.run("list")[1].splitlines()) == 2
    assert installation.run("prune") == (0, f"removed {first.name}\n1 removed, 1 kept\n", "")
    assert installation.names() == [second.name]


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_files_that_are_no_avatars_stay_out_of_it(installation):
    folder = installation.folder / "avatars/ab"
    (folder / "old copy of one.webp").write_bytes(b"somebody's")
    (folder / ".half").write_bytes(b"unfinished")
    (folder / "elsewhere").symlink_to("/etc/passwd")
    path = installation.create()
    assert {member.name for member in archive.read(path).members} == {"database.sqlite3", AVATAR}


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_archives_may_lie_elsewhere(installation, tmp_path, database_url):
    app = create_app(make_settings(tmp_path, database_url, backup_path=str(tmp_path / "elsewhere")))
    path = Installation(app, tmp_path).create()
    components.of(app).close()
    assert path.parent == tmp_path / "elsewhere" and not installation.archives.exists()


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_a_damaged_database_is_not_taken_for_a_backup(installation, database_url):
    good, rows = installation.create(), installation.rows()
    installation.database.close()
    file = installation.folder / database_url.rsplit("/", 1)[1]
    content = bytearray(file.read_bytes())
    content[8192:40960] = b"\xff" * (40960 - 8192)
    file.write_bytes(content)
    code, told, error = installation.run("create")
    assert (code, told, error.count("\n")) == (1, "", 1)
    code, told, error = installation.run("restore", "--force", good)
    assert (code, told, error.count("\n")) == (1, "", 1) and "move it away" in error
    assert installation.names() == [good.name] and file.read_bytes() == content

    installation.database.close()
    file.rename(file.with_name("damaged"))
    assert installation.run("restore", good)[0] == 0
    assert installation.rows() == rows


@pytest.mark.parametrize("engine_name", ["postgresql"], indirect=True)
def test_an_ordinary_account_may_do_all_but_make_databases(engine_name, tmp_path):
    """As docs/operations/install.md makes it: it owns the database, and has a password that a file of passwords must escape."""
    with account_with_a_database("pass:wo\\rd %'", tmp_path) as url:
        migrate(make_settings(tmp_path, url))
        app = create_app(make_settings(tmp_path, url))
        ordinary = Installation(app, tmp_path)
        ordinary.add_learners()
        path, rows = ordinary.create(), ordinary.rows()
        ordinary.add_somebody()
        refused, restored = ordinary.run("verify", "--deep"), ordinary.run("restore", "--force", path)
        after = ordinary.rows()
        components.of(app).close()
    assert restored[0] == 0, restored
    assert after == rows
    assert refused[0] == 1 and "permission denied to create database" in refused[2] and "CREATEDB" in refused[2]
    assert refused[2].count("\n") == 1


def test_a_database_that_is_away(tmp_path):
    app = create_app(make_settings(tmp_path, "postgresql://nobody:secret-word@127.0.0.1:1/nothing"))
    code, told, error = Installation(app, tmp_path).run("create")
    components.of(app).close()
    assert (code, told, error.count("\n")) == (1, "", 1)
    assert "secret-word" not in error
