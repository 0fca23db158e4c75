"""An archive: a tar, compressed by gzip, of the manifest and then the files that it names.

It is never extracted by tarfile: only plain files that the manifest names are written, each no longer than it says.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from codyverse.operations.backup import manifest
from codyverse.operations.backup.faults import Damaged, Refused
from codyverse.operations.backup.manifest import Manifest, Member

CHUNK = 1024 * 1024
LARGEST_MANIFEST = 256 * CHUNK  # of two million avatars
COMPRESSION = 3  # half as large again would take three times as long with 9


def member(folder: Path, name: str) -> Member:
    """Return what the manifest says of a file in a folder. Raises OSError."""
    with (folder / name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Member(name, file.tell(), digest)


def write(path: Path, described: Manifest, folder: Path) -> None:
    """Write a new archive of the files in a folder; by then it is on the disk. Raises OSError."""
    text, moment = described.to_json(), int(described.created_at.timestamp())
    with _new(path) as file:
        with gzip.GzipFile("", "wb", COMPRESSION, file, moment) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
            tar.addfile(_head(manifest.NAME, len(text), moment), io.BytesIO(text))
            for one in described.members:
                with (folder / one.name).open("rb") as content:
                    tar.addfile(_head(one.name, one.size, moment), content)
        file.flush()
        os.fsync(file.fileno())


def read_manifest(path: Path) -> Manifest:
    """Return what an archive says of itself, without reading the rest. Raises Damaged, Refused."""
    with _opened(path) as (tar, _):
        return _read_manifest(tar)


def read(path: Path, into: Path | None = None) -> Manifest:
    """Read all of an archive, compare it with its manifest and, if a folder is named, write its files there.

    Raises Damaged, Refused, and OSError when they cannot be written.
    """
    with _opened(path) as (tar, zipped):
        described = _read_manifest(tar)
        missing = {one.name: one for one in described.members}
        while (head := tar.next()) is not None:
            expected = missing.pop(head.name, None)
            if expected is None or not head.isreg() or head.size != expected.size:
                raise Damaged(f"The archive holds something that its manifest does not name: {head.name[:100]!r}.")
            _copy(_content(tar, head), expected, into)
        if missing:
            raise Damaged(f"The archive lacks {len(missing)} of its files, {next(iter(missing))} among them.")
        while zipped.read(CHUNK):  # gzip's own checksum comes last
            pass
    return described


@contextmanager
def _opened(path: Path) -> Iterator[tuple[tarfile.TarFile, gzip.GzipFile]]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise Refused(f"There is no archive {path}.") from None
    except OSError as error:
        raise Refused(f"The archive {path} cannot be read: {error.strerror}.") from None
    try:
        with file, gzip.GzipFile(fileobj=file) as zipped, tarfile.open(fileobj=zipped, mode="r|") as tar:
            yield tar, zipped
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Damaged(f"The archive is damaged or cut off: {error}.") from None


def _read_manifest(tar: tarfile.TarFile) -> Manifest:
    head = tar.next()
    if head is None or head.name != manifest.NAME or not head.isreg() or head.size > LARGEST_MANIFEST:
        raise Damaged("The archive does not begin with a manifest: it was not made by this command.")
    return manifest.parse(_content(tar, head).read())


def _content(tar: tarfile.TarFile, head: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(head)
    assert content is not None  # it is a plain file
    return content


def _copy(content: IO[bytes], expected: Member, into: Path | None) -> None:
    digest = hashlib.sha256()
    path = None if into is None else into / expected.name
    if path is not None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with io.BytesIO() if path is None else _new(path) as file:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
            if path is not None:
                file.write(chunk)
    if digest.hexdigest() != expected.sha256:
        raise Damaged(f"{expected.name} in the archive is not what its manifest says.")


def _head(name: str, size: int, moment: int) -> tarfile.TarInfo:
    head = tarfile.TarInfo(name)
    head.size, head.mtime, head.mode = size, moment, 0o600
    return head


def _new(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")  # it holds personal data
