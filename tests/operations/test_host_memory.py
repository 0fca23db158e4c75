"""The folder that the processes of a host share."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from codyverse.operations import host_memory
from tests.conftest import make_settings


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    path = tmp_path / "memory"
    path.mkdir()
    return path


def folder(memory: Path | str, instance: Path) -> Path:
    return host_memory.folder(make_settings(instance, "sqlite:////tmp/unused", memory_path=str(memory)))


def test_it_is_ours_alone_and_each_installation_has_its_own(memory, tmp_path):
    path = folder(memory, tmp_path / "one")
    assert path.parent == memory
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert folder(memory, tmp_path / "one") == path
    assert folder(memory, tmp_path / "another") != path


def _others_may_read_it(path: Path) -> None:
    path.mkdir()
    path.chmod(0o755)


def _a_link(path: Path) -> None:
    path.symlink_to("/tmp", target_is_directory=True)


def _a_file(path: Path) -> None:
    path.touch()


@pytest.mark.parametrize("put", [_others_may_read_it, _a_link, _a_file])
def test_what_others_put_in_its_place_is_not_used(memory, tmp_path, put: Callable[[Path], None]):
    path = folder(memory, tmp_path / "one")
    path.rmdir()
    put(path)
    assert folder(memory, tmp_path / "one") == tmp_path / "one"


def test_without_memory_the_instance_folder_is_used(tmp_path):
    assert folder("", tmp_path) == folder(tmp_path / "missing", tmp_path) == tmp_path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can work for another account")
def test_root_shares_the_folder_of_the_account_that_the_service_runs_under(memory, tmp_path):
    instance = tmp_path / "one"
    instance.mkdir()
    os.chown(instance, 65534, -1)
    path = folder(memory, instance)
    assert path.parent == memory
    assert path.stat().st_uid == 65534
    assert folder(memory, instance) == path
