"""Backups when things go wrong: killed, on a full disk, with the wrong programs. What was there before is always whole."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from codyverse.operations.backup import archive, client_programs, postgresql, sqlite
from codyverse.rewards import verification
from tests.conftest import ENGINES
from tests.server import ROOT, wait_until

FLASK = [sys.executable, "-m", "flask", "--app", "wsgi.py", "backup"]
STOPPED = [sys.executable, "-m", "tests.operations.backup.stopped"]

as_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="only root may have a small disk of its own: needs unshare and mount"
)
with_programs = pytest.mark.parametrize("engine_name", ["postgresql"], indirect=True)


@pytest.fixture
def environment(tmp_path, database_url):
    return {
        "PATH": os.environ["PATH"],
        "CODYVERSE_ENV": "testing",
        "CODYVERSE_INSTANCE_PATH": str(tmp_path),
        "CODYVERSE_DATABASE_URL": database_url,
    }


def killed_at(place, environment, *command):
    """Run a command up to a place and kill it there; what it started ends by itself."""
    process = subprocess.Popen([*STOPPED, place, *command], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "stopped\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def on_each(*places):
    """Every place on every engine, but for the copy: that of PostgreSQL is another program's, or in the same transaction."""
    both = itertools.product(ENGINES, places)
    chosen = [(engine, place) for engine, place in both if engine == "sqlite" or place != "in the copy"]
    return pytest.mark.parametrize(("engine_name", "place"), chosen, indirect=["engine_name"])


@on_each("before the copy", "in the copy", "after the copy", "in the archive", "after the archive", "after the name")
def test_kill_9_during_create(installation, environment, place):
    before = installation.create()
    rows = installation.rows()
    killed_at(place, environment, "create")
    assert installation.rows() == rows
    named = [name for name in installation.names() if name.startswith("codyverse-")]
    assert len(named) == (2 if place == "after the name" else 1) and before.name in named
    for name in named:
        archive.read(installation.archives / name)
    after = installation.create()
    assert installation.names() == [*named, after.name], "the next one cleans up"


@on_each("before the files", "in the files", "in the migration", "before the checks", "in the copy")
def test_kill_9_during_restore(installation, environment, place):
    path = installation.create()
    installation.add_somebody()
    rows = installation.rows()
    killed_at(place, environment, "restore", "--force", str(path))
    assert installation.rows() == rows
    assert verification.verify(installation.database).total == 0
    assert installation.run("restore", "--force", path)[0] == 0
    assert installation.rows() != rows


@as_root
@pytest.mark.parametrize("room", ["for the older one", "for the copy too"])
def test_a_full_disk(installation, environment, tmp_path, room):
    older = installation.create()
    content = tmp_path / "content"
    archive.read(older, content)
    copy = sum(path.stat().st_size for path in content.rglob("*") if path.is_file())
    size = older.stat().st_size + (50_000 if room == "for the older one" else copy + 60_000)
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (
        'mount -t tmpfs -o size="$1" none "$2" && cp "$3" "$2" || exit 99; shift 3\n'
        '"$@"; echo "code $?"; ls -A "$CODYVERSE_BACKUP_PATH"; sha256sum "$CODYVERSE_BACKUP_PATH"/codyverse-*'
    )
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(size), disk, older, *FLASK, "create"],
        cwd=ROOT,
        env={**environment, "CODYVERSE_BACKUP_PATH": str(disk)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    digest = archive.member(older.parent, older.name).sha256
    assert run.stdout.splitlines() == ["code 1", ".lock", older.name, f"{digest}  {disk}/{older.name}"], run.stderr
    assert run.stderr.count("\n") == 1 and ("No space left" in run.stderr or "disk is full" in run.stderr)


@with_programs
def test_the_password_is_on_no_command_line(installation, tmp_path):
    password = installation.database.url.password or pytest.skip("the tests' server asks for none")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("pg_dump", "pg_restore"):
        program = programs / name
        program.write_text(
            f"""#!/bin/sh
case "$1" in --version) echo "{name} (PostgreSQL) 99.1"; exit;; esac
tr '\\0' '\\n' < /proc/$$/cmdline >> {tmp_path}/seen
exec {shutil.which(name)} "$@"
""",
            "utf-8",
        )
        program.chmod(0o755)
    path = installation.create()
    client_programs_of(programs, installation, path)
    seen = (tmp_path / "seen").read_text("utf-8")
    assert "--format=custom" in seen and "--file=-" in seen
    assert password not in seen and "passfile=" in seen


def client_programs_of(programs, installation, path):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(client_programs, "_DEBIAN", Path("/nowhere"))
        patched.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        assert installation.run("create")[0] == 0
        assert installation.run("restore", "--force", path)[0] == 0


@pytest.mark.parametrize(
    ("says", "complaint"),
    [
        (None, r"There is no pg_dump\. Install"),
        ("pg_dump (PostgreSQL) 9.6.1", r"pg_dump is of version 9, and the server of version \d\d\. Install"),
        ("who knows", r"pg_dump is of version unknown"),
    ],
)
@with_programs
def test_programs_of_another_version(installation, tmp_path, monkeypatch, says, complaint):
    if says:
        program = tmp_path / "bin/pg_dump"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho '{says}'\n", "utf-8")
        program.chmod(0o755)
    monkeypatch.setattr(client_programs, "_DEBIAN", Path("/nowhere"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/nowhere")
    code, told, error = installation.run("create")
    assert (code, told, error.count("\n")) == (1, "", 1)
    assert re.match(f"codyverse: {complaint}", error)
    assert installation.names() == []


@with_programs
def test_a_dump_that_breaks_off(installation, tmp_path, monkeypatch):
    """pg_dump that is killed, or loses its server, is no end of a dump."""
    program = tmp_path / "bin/pg_dump"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\ncase "$1" in --version) echo "pg_dump (PostgreSQL) 99";; *) echo half; kill -9 $$;; esac\n', "utf-8"
    )
    program.chmod(0o755)
    monkeypatch.setattr(client_programs, "_DEBIAN", Path("/nowhere"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    code, told, error = installation.run("create")
    assert (code, told, error.count("\n")) == (1, "", 1) and error.startswith("codyverse: pg_dump failed")
    assert installation.names() == []


def test_a_service_that_holds_the_database(installation, monkeypatch):
    """Neither waits for ever: a transaction that is open stops a restore, which changes nothing."""
    monkeypatch.setattr(sqlite, "WAITS_S", 0.2)
    monkeypatch.setattr(postgresql, "LOCK_WAIT_S", 0.2)
    path = installation.create()
    rows = installation.rows()
    held, done = threading.Event(), threading.Event()

    def hold():
        with suppress(ZeroDivisionError), installation.database.transaction() as tx:
            tx.connection.exec_driver_sql("UPDATE users SET locale = 'de'")
            held.set()
            done.wait(60)
            1 / 0

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        wait_until(held.is_set)
        code, told, error = installation.run("restore", "--force", path)
    finally:
        done.set()
        thread.join()
    assert (code, told, error.count("\n")) == (1, "", 1)
    assert installation.rows() == rows
