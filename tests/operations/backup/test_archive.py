"""What is read as an archive, and what is not: damaged, cut off, or made by somebody who wants a file of ours."""

from __future__ import annotations

import gzip
import io
import random
import stat
import tarfile
from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest

from codyverse.operations.backup import archive, manifest
from codyverse.operations.backup.faults import Damaged, Refused
from codyverse.operations.backup.manifest import Facts, Manifest

# Of what repeats itself there are several codes, so a changed bit may mean the same.
FILES = {"database.file": random.Random(6).randbytes(100_000), "avatars/ab/abcdef": b"a picture", "avatars/cd/cdefab": b""}
FACTS = Facts("0001", {"users": 3}, {"xp": 5}, 0)


@pytest.fixture
def content(tmp_path):
    folder = tmp_path / "content"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text)
    return folder


@pytest.fixture
def described(content):
    members = tuple(archive.member(content, name) for name in FILES)
    return Manifest("1.0", "clay", "2", datetime(2026, 11, 24, 3, tzinfo=UTC), FACTS, members)


@pytest.fixture
def written(content, described, tmp_path):
    archive.write(tmp_path / "archive", described, content)
    return tmp_path / "archive"


def make(path, *members, **changes):
    """Write an archive as somebody else might: members are TarInfo, or a name and its content; the first is the manifest."""
    with tarfile.open(path, "w:gz") as tar:
        for one in members:
            head, text = (one, b"") if isinstance(one, tarfile.TarInfo) else (tarfile.TarInfo(one[0]), one[1])
            head.size = len(text) if head.isreg() else 0
            tar.addfile(head, io.BytesIO(text))
    return path


def link(name, target, kind=tarfile.SYMTYPE):
    head = tarfile.TarInfo(name)
    head.type, head.linkname = kind, target
    return head


def test_it_works(written, described, tmp_path):
    assert archive.read_manifest(written) == archive.read(written) == archive.read(written, tmp_path / "read") == described
    assert {str(path.relative_to(tmp_path / "read")): path.read_bytes() for path in (tmp_path / "read").rglob("*.*")} == {
        "database.file": FILES["database.file"]
    }
    assert (tmp_path / "read/avatars/ab/abcdef").read_bytes() == b"a picture"
    assert stat.S_IMODE(written.stat().st_mode) == stat.S_IMODE((tmp_path / "read/database.file").stat().st_mode) == 0o600


def test_it_is_an_ordinary_tar_too(written):
    with tarfile.open(written, "r:gz") as tar:
        assert tar.getnames() == [manifest.NAME, *FILES]


def test_every_byte_counts(written, described):
    whole = written.read_bytes()
    chosen = random.Random(6)
    found = 0
    positions = [*range(60), *(chosen.randrange(len(whole)) for _ in range(200)), *range(len(whole) - 8, len(whole))]
    for position in positions:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << chosen.randrange(8)
        written.write_bytes(damaged)
        try:
            # In gzip's head and before its checksum there are bits that mean nothing: the moment, what fills a byte.
            assert archive.read(written) == described
        except (Damaged, Refused):
            found += 1
    assert found > len(positions) - 12


def test_no_beginning_is_taken_for_the_whole(written):
    whole = written.read_bytes()
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        written.write_bytes(whole[:length])
        with pytest.raises(Damaged):
            archive.read(written)


@pytest.mark.parametrize(
    "text", [b"", b"no archive", gzip.compress(b"no tar" * 200, mtime=0)], ids=["nothing", "a text", "no tar"]
)
def test_what_is_no_archive(tmp_path, text):
    (tmp_path / "archive").write_bytes(text)
    with pytest.raises(Damaged):
        archive.read(tmp_path / "archive")


def test_what_is_not_there(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(Refused, match=str(path)):
            archive.read(path)


@pytest.mark.parametrize(
    "name", ["../escaped", "/tmp/escaped", "avatars/../../escaped", "a//b", "a/./b", ".hidden", "a/.b", "", "a\nb", "a" * 200]
)
def test_a_name_that_leads_elsewhere(tmp_path, described, name):
    one = replace(described.members[1], name=name)
    changed = replace(described, members=(one,))
    made = make(tmp_path / "archive", (manifest.NAME, changed.to_json()), (name or "x", b"a picture"))
    with pytest.raises(Damaged, match="names a file that no backup has"):
        archive.read(made, tmp_path / "in/side")
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize(
    "more",
    [
        ("avatars/ab/other", b"not named"),
        ("../escaped", b"not named"),
        link("avatars/cd/cdefab", "/etc/passwd"),
        link("avatars/cd/cdefab", "avatars/ab/abcdef", tarfile.LNKTYPE),
        link("avatars/cd/cdefab", "", tarfile.FIFOTYPE),
        link("avatars/cd/cdefab", "", tarfile.DIRTYPE),
        ("avatars/ab/abcdef", b"a picture"),
        ("avatars/cd/cdefab", b"longer than it says"),
    ],
    ids=["unnamed", "elsewhere", "symbolic link", "link", "pipe", "folder", "twice", "long"],
)
def test_a_member_that_the_manifest_does_not_name_so(tmp_path, described, more):
    first = [(name, text) for name, text in FILES.items() if name != "avatars/cd/cdefab"]
    made = make(tmp_path / "archive", (manifest.NAME, described.to_json()), *first, more)
    with pytest.raises(Damaged, match="does not name"):
        archive.read(made, tmp_path / "in/side")
    assert not list(tmp_path.rglob("escaped"))


def test_a_member_with_another_content(tmp_path, described):
    members = list(FILES.items())
    members[0] = ("database.file", members[0][1][::-1])
    made = make(tmp_path / "archive", (manifest.NAME, described.to_json()), *members)
    with pytest.raises(Damaged, match=r"database\.file in the archive is not what"):
        archive.read(made)


def test_a_member_that_is_missing(tmp_path, described):
    made = make(tmp_path / "archive", (manifest.NAME, described.to_json()), *list(FILES.items())[:-1])
    with pytest.raises(Damaged, match="lacks 1 of its files, avatars/cd/cdefab"):
        archive.read(made)


def test_a_manifest_that_is_none(tmp_path, described):
    good = orjson.loads(described.to_json())
    for text in (
        b"",
        b"[]",
        b"{}",
        b"null",
        b"\xff",
        orjson.dumps({**good, "members": [1]}),
        orjson.dumps({**good, "facts": None}),
        orjson.dumps({**good, "facts": {**good["facts"], "rows": []}}),
        orjson.dumps({**good, "facts": {**good["facts"], "rows": {"users": "many"}}}),
    ):
        made = make(tmp_path / "archive", (manifest.NAME, text))
        with pytest.raises(Damaged):
            archive.read(made)
    twice = replace(described, members=(*described.members, described.members[0]))
    with pytest.raises(Damaged, match="twice"):
        archive.read(make(tmp_path / "archive", (manifest.NAME, twice.to_json())))
    with pytest.raises(Refused, match="format 2"):
        archive.read(make(tmp_path / "archive", (manifest.NAME, orjson.dumps({**good, "format": 2}))))
    with pytest.raises(Damaged, match="does not begin with a manifest"):
        archive.read(make(tmp_path / "archive", ("database.file", b""), (manifest.NAME, described.to_json())))
    with pytest.raises(Damaged, match="does not begin with a manifest"):
        archive.read(make(tmp_path / "archive", link(manifest.NAME, "/etc/passwd")))
