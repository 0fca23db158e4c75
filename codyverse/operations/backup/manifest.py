"""What an archive says of itself, as its first member: where it is from, what was in the database, and every file's digest."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import orjson

from codyverse.operations.backup.faults import Damaged, Refused

NAME = "manifest.json"
FORMAT = 1

# Folders and a file, none of which begins with a dot: no name leads out of the folder that it is put into.
_PLAIN_NAME = re.compile(r"\w[\w.-]{0,127}(/\w[\w.-]{0,127}){0,3}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is in a database: rows by table, and the ledger's sums by currency with their difference from the balances."""

    revision: str
    rows: dict[str, int]
    sums: dict[str, int]
    difference: int


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive."""

    name: str
    size: int  # bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive says of itself."""

    version: str
    engine: str
    engine_version: str
    created_at: datetime
    facts: Facts
    members: tuple[Member, ...]

    def to_json(self) -> bytes:
        """Return it as it is written."""
        return orjson.dumps({"format": FORMAT, **asdict(self)}, option=orjson.OPT_INDENT_2)


def is_plain(name: str) -> bool:
    """Say whether a file may have this name in an archive."""
    return _PLAIN_NAME.fullmatch(name) is not None and name != NAME


def parse(text: bytes) -> Manifest:
    """Return what `to_json` wrote. Raises Damaged for anything else, Refused for what a newer version wrote."""
    try:
        found = orjson.loads(text)
        if found["format"] > FORMAT:
            raise Refused(f"The archive is of format {found['format']}, which this version does not know: install the newer one.")
        return _manifest(found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"The archive has no manifest that can be read ({type(error).__name__}).") from None


def _manifest(found: dict[str, Any]) -> Manifest:
    members = tuple(Member(str(one["name"]), int(one["size"]), str(one["sha256"])) for one in found["members"])
    for member in members:
        if not is_plain(member.name) or member.size < 0:
            raise Damaged(f"The archive names a file that no backup has: {member.name[:100]!r}.")
    if len({member.name for member in members}) < len(members):
        raise Damaged("The archive names a file twice.")
    facts = found["facts"]
    return Manifest(
        version=str(found["version"]),
        engine=str(found["engine"]),
        engine_version=str(found["engine_version"]),
        created_at=datetime.fromisoformat(found["created_at"]),
        facts=Facts(str(facts["revision"]), _numbers(facts["rows"]), _numbers(facts["sums"]), int(facts["difference"])),
        members=members,
    )


def _numbers(found: dict[str, Any]) -> dict[str, int]:
    return {str(name): int(number) for name, number in found.items()}
