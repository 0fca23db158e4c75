"""What pg_restore writes is followed: statements, rows in between, and nothing that is psql's."""

from __future__ import annotations

import io

import pytest

from codyverse.operations.backup import postgresql
from codyverse.operations.backup.faults import Damaged


class Noted:
    """A cursor that notes what it is told to do."""

    def __init__(self) -> None:
        self.done: list[object] = []

    def execute(self, statements: bytes) -> None:
        self.done.append(statements)

    def copy_expert(self, statement: str, rows: io.BytesIO) -> None:
        read = []
        while chunk := rows.read(7):
            read.append(chunk)
        self.done.append((statement, b"".join(read)))


def follow(script: bytes) -> list[object]:
    cursor = Noted()
    postgresql._follow(cursor, io.BytesIO(script))
    return cursor.done


def test_it_works():
    assert follow(
        b"--\n-- Dump\n--\n\n\\restrict abc\n\nSET a = 0;\nCREATE TABLE t (\n    a text\n);\n"
        b"COPY public.t (a) FROM stdin;\none\n\\\\.\nCOPY public.t (a) FROM stdin;\n\\.\n\n"
        b"COPY public.u (a) FROM stdin;\n\\.\nALTER TABLE t ADD b text;\n\\unrestrict abc\n"
    ) == [
        b"SET a = 0;\nCREATE TABLE t (\n    a text\n);\n",
        ("COPY public.t (a) FROM stdin;\n", b"one\n\\\\.\nCOPY public.t (a) FROM stdin;\n"),
        ("COPY public.u (a) FROM stdin;\n", b""),
        b"ALTER TABLE t ADD b text;\n",
    ]


@pytest.mark.parametrize("command", [b"\\! id", b"\\connect other", b"\\i /etc/passwd", b"\\."])
def test_commands_of_psql_are_refused(command):
    with pytest.raises(Damaged, match="no statement"):
        follow(b"SET a = 0;\n" + command + b"\n")


def test_nothing_is_nothing():
    assert follow(b"") == follow(b"--\n\n") == []
