"""`flask content`: what it prints and how it exits."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from codyverse.learning.models import lessons

SOURCE = Path(__file__).parent.parent / "content"


@pytest.fixture
def run(app):
    def run(*args):
        result = app.test_cli_runner().invoke(args=["content", *map(str, args)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stdout, result.stderr

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(SOURCE, tmp_path / "content")


def break_two(folder: Path) -> str:
    path = folder / "machines/next-word.md"
    path.write_text(path.read_text().replace("xp: 15", "xp: 1").replace("minutes: 5", "minute: 5"))
    return (
        f"{path}:1: the front matter has no `minutes`\n"
        f"{path}:5: unknown key `minute` in the front matter; did you mean `minutes`?\n"
        f"{path}:6: `xp` must be a whole number from 5 to 200\n"
    )


def test_it_works(run, folder):
    assert run("import", folder) == (0, "2 courses, 6 lessons: 6 new, 0 changed, 0 retired, 0 unchanged\n", "")
    assert run("import", folder) == (
        0,
        "2 courses, 6 lessons: 0 new, 0 changed, 0 retired, 6 unchanged\nNothing changed.\n",
        "",
    )


def test_lint(run, folder):
    assert run("lint", folder) == (0, "No faults.\n", "")
    faults = break_two(folder)
    assert run("lint", folder) == (1, faults, "3 faults.\n")


def test_the_default_folder(run):
    assert run("lint") == (0, "No faults.\n", "")


@pytest.mark.parametrize("command", ["lint", "import"])
@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_folder_that_is_none(run, tmp_path, command, name):
    (tmp_path / "file").write_text("")
    assert run(command, tmp_path / name) == (2, "", f"codyverse: There is no folder {tmp_path / name}.\n")


def test_import_of_faults_changes_nothing(run, folder, rows):
    faults = break_two(folder)
    assert run("import", folder) == (1, faults, "3 faults.\n")
    assert rows(lessons) == []


def test_import_says_what_happened(run, folder):
    run("import", folder)
    break_one = folder / "machines/next-word.md"
    break_one.write_text(break_one.read_text().replace("Star.", "A star."))
    shutil.rmtree(folder / "counting")
    assert run("import", folder)[1] == "1 course, 5 lessons: 0 new, 1 changed, 1 retired, 4 unchanged\n"
    shutil.copytree(SOURCE / "counting", folder / "counting")
    assert run("import", folder)[1] == "2 courses, 6 lessons: 0 new, 0 changed, 1 returned, 0 retired, 5 unchanged\n"


def test_export(run, folder, tmp_path):
    run("import", folder)
    assert run("export", tmp_path / "out") == (0, f"2 courses, 6 lessons written to {tmp_path / 'out'}\n", "")
    assert run("export", tmp_path / "out") == (
        2,
        "",
        f"codyverse: {tmp_path / 'out'} is not an empty folder; nothing was written.\n",
    )


def test_export_that_cannot_write(run, folder):
    run("import", folder)
    path = folder / "machines/course.yaml/out"
    code, output, error = run("export", path)
    assert (code, output, error.count("\n")) == (2, "", 1)
    assert error.startswith(f"codyverse: {path} cannot be written: ")


def test_export_of_nothing(run, tmp_path):
    assert run("export", tmp_path / "out") == (2, "", "codyverse: The catalogue is empty; nothing was written.\n")
    assert not (tmp_path / "out").exists()


def test_export_on_a_full_disk_leaves_nothing(run, folder, tmp_path, monkeypatch):
    run("import", folder)

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    code, _, error = run("export", tmp_path / "out")
    assert (code, error.count("\n")) == (2, 1)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out-*"))
