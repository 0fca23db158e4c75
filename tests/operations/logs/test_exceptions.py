"""Exceptions are logged by kind and place."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from codyverse.operations.log_exceptions import MOST_CAUSES, MOST_FRAMES, told

SECRET = "what ada wrote"


def caught(raising: object) -> BaseException:
    try:
        raising()  # type: ignore[operator]
    except BaseException as error:
        return error
    raise AssertionError


def fail() -> None:
    mine = SECRET
    raise ValueError(mine)


def fail_with_cause() -> None:
    try:
        fail()
    except ValueError as error:
        raise KeyError(SECRET) from error


def test_it_works() -> None:
    lines = told(caught(fail)).splitlines()
    assert lines[0] == "ValueError"
    assert lines[-1].startswith("  tests/operations/logs/test_exceptions.py:") and lines[-1].endswith(" fail")


def test_neither_texts_nor_values_are_told() -> None:
    assert SECRET not in told(caught(fail_with_cause))


def test_causes_come_first() -> None:
    text = told(caught(fail_with_cause))
    assert text.index("ValueError") < text.index("\nthen KeyError")


def test_a_cause_that_was_suppressed_is_not_told() -> None:
    def suppress() -> None:
        try:
            fail()
        except ValueError:
            raise KeyError from None

    assert "ValueError" not in told(caught(suppress))


def test_texts_are_told_where_that_is_wanted_but_for_what_never_is() -> None:
    def fail_with_address() -> None:
        raise ValueError("no room for ada@example.org")

    assert told(caught(fail_with_address), texts=True).splitlines()[0] == "ValueError: no room for [left out]"


def test_the_reason_of_the_system_is_told_without_the_file() -> None:
    error = caught(lambda: Path("/nowhere/of/ada").read_text("ascii"))
    assert told(error).splitlines()[0] == "FileNotFoundError: No such file or directory"


def test_a_statement_is_told_without_its_parameters() -> None:
    engine = sa.create_engine("sqlite://")
    try:
        with engine.connect() as connection:
            error = caught(lambda: connection.execute(sa.text("SELECT :mine FROM nothing"), {"mine": SECRET}))
    finally:
        engine.dispose()
    assert isinstance(error, DBAPIError)
    assert SECRET in str(error)
    text = told(error)
    assert "sqlalchemy.exc.OperationalError" in text and SECRET not in text
    assert "sqlalchemy/engine/" in text and "site-packages" not in text


def test_a_reason_from_a_fixed_list_is_told() -> None:
    class Refused(Exception):
        pgcode = "23505"

    assert told(Refused(SECRET)).endswith("Refused: 23505")


def test_an_endless_recursion_is_cut_in_its_middle() -> None:
    def recur() -> None:
        recur()

    lines = told(caught(recur)).splitlines()
    assert len(lines) == MOST_FRAMES + 2
    assert lines[0] == "RecursionError" and " more" in lines[MOST_FRAMES // 2 + 1]


def test_causes_that_never_end_end() -> None:
    error = first = ValueError()
    for _ in range(20):
        error = ValueError()
        error.__cause__, first = first, error
    first.__cause__ = first
    assert told(first).count("ValueError") == MOST_CAUSES
