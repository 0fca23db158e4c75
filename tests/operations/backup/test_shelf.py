"""Which archives there are, which may go, and who may work beside them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codyverse.operations.backup import newest, shelf
from codyverse.operations.backup.faults import Refused
from codyverse.operations.backup.shelf import Archived
from tests.conftest import make_settings


def archived(*moments):
    return [Archived(moment, Path(shelf.name(moment))) for moment in moments]


@pytest.fixture
def settings(tmp_path):
    return make_settings(tmp_path, f"sqlite:///{tmp_path}/none.sqlite3")


def test_names_sort_as_moments_do(settings):
    folder = shelf.folder(settings)
    folder.mkdir()
    moments = [
        datetime(2026, 2, 3, 4, 5, 6, 7000, UTC),
        datetime(2026, 2, 3, 4, 5, 6, 70_000, UTC),
        datetime(2027, 1, 1, tzinfo=UTC),
    ]
    names = [shelf.name(moment) for moment in moments]
    assert names[0] == "codyverse-20260203T040506.007Z.tar.gz" and names == sorted(names)
    for name in [*names[::-1], ".lock", "codyverse-20261399T000000.000Z.tar.gz", "codyverse-1.tar.gz", "notes.txt"]:
        (folder / name).touch()
    assert [one.created_at for one in shelf.archives(settings)] == moments
    assert newest(settings) == moments[-1].timestamp()


def test_no_folder_has_no_archives(settings):
    assert shelf.archives(settings) == [] and newest(settings) is None


def test_what_may_go():
    noon = datetime(2026, 11, 24, 12, tzinfo=UTC)
    found = archived(*(noon - timedelta(hours=12 * halves) for halves in range(120)))
    gone = shelf.outdated(found, daily=7, weekly=4)
    kept = sorted((set(found) - set(gone)), reverse=True)
    # The last week day by day (the later of two), then the last of three more weeks: Sundays.
    assert [one.created_at.date() for one in kept] == [
        *(date(2026, 11, 24) - timedelta(days=days) for days in range(7)),
        date(2026, 11, 15),
        date(2026, 11, 8),
    ]
    assert all(one.created_at.hour == 12 for one in kept)
    assert gone == sorted(gone)


def test_days_without_one_do_not_count():
    found = archived(*(datetime(2026, 1 + month, 1, tzinfo=UTC) for month in range(10)))
    assert shelf.outdated(found, daily=7, weekly=0) == found[:3]
    assert shelf.outdated(found, daily=0, weekly=2) == found[:-2]


@given(st.lists(st.datetimes(timezones=st.just(UTC)), unique=True), st.integers(0, 9), st.integers(0, 9))
def test_the_newest_stays_and_no_more_than_was_asked_for(moments, daily, weekly):
    found = archived(*moments)
    gone = shelf.outdated(found, daily, weekly)
    kept = set(found) - set(gone)
    assert not found or max(found) in kept
    assert min(len(found), 1) <= len(kept) <= max(daily + weekly, 1) or not found
    assert shelf.outdated(kept, daily, weekly) == [], "again removes nothing more"


def test_one_command_at_a_time(settings):
    with shelf.workshop(settings) as place:
        (place / "half").write_bytes(b"done")
        with pytest.raises(Refused, match="Another"), shelf.workshop(settings):
            pass
        assert (place / "half").exists()
    assert not place.exists()
    with shelf.workshop(settings):
        pass


def test_what_a_killed_command_left_goes(settings):
    left = shelf.folder(settings) / ".work-killed/content"
    left.mkdir(parents=True)
    (left / "database").write_bytes(b"half")
    with shelf.workshop(settings):
        assert not left.parent.exists()


def test_an_archive_takes_nobodys_place(settings):
    moment = datetime(2026, 11, 24, tzinfo=UTC)
    with shelf.workshop(settings) as place:
        (place / "archive").write_bytes(b"first")
        path = shelf.put(settings, place / "archive", moment)
        (place / "archive").write_bytes(b"second")
        with pytest.raises(Refused, match="clock"):
            shelf.put(settings, place / "archive", moment)
    assert path.read_bytes() == b"first"


def test_an_archive_is_named_by_its_path_or_in_the_folder(settings, tmp_path, monkeypatch):
    shelf.folder(settings).mkdir()
    inside = shelf.folder(settings) / "one"
    inside.touch()
    monkeypatch.chdir(tmp_path)
    assert shelf.find(settings, "one") == inside
    assert shelf.find(settings, "other") == tmp_path / "other"
    assert shelf.find(settings, "backups/one") == shelf.find(settings, str(inside)) == inside
