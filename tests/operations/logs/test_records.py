"""One object a line, that fits into a pipe at once."""

from __future__ import annotations

import logging
import os
import select
import sys
from typing import Any

import orjson
import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from codyverse.operations import log_records
from codyverse.operations.log_records import CATEGORIES, category

JSON = log_records.formatter(console=False, exception_texts=False)


def record(event: str = "it happened", /, *arguments: Any, logger: str = "codyverse.cache", **extra: Any) -> logging.LogRecord:
    made = logging.getLogger(logger).makeRecord(logger, logging.WARNING, __file__, 1, event, arguments, None, extra=extra)
    made.created, made.msecs = 1_795_521_600.0625, 62.5
    return made


def line(*arguments: Any, **extra: Any) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(JSON.format(record(*arguments, **extra)))
    return found


def test_it_works() -> None:
    assert list(line("%d were %s", 3, "lost", route="/courses", ms=1.5).items()) == [
        ("time", "2026-11-24T12:00:00.062Z"),
        ("level", "warning"),
        ("category", "cache"),
        ("event", "3 were lost"),
        ("request_id", "-"),
        ("route", "/courses"),
        ("ms", 1.5),
        ("pid", os.getpid()),
    ]


def test_during_a_request_it_has_its_id(app: Flask) -> None:
    with app.test_request_context(environ_overrides={"codyverse.request_id": "abc-1"}):
        assert line()["request_id"] == "abc-1"


@pytest.mark.parametrize(
    ("logger", "found"),
    [
        *((f"codyverse.{name}", name) for name in CATEGORIES),
        *(("codyverse.cache.host", "cache"), ("codyverse.faults", "database"), ("codyverse.limits", "security")),
        *(("gunicorn.error", "startup"), ("flask-limiter", "other"), ("codyverse", "other"), ("root", "other")),
    ],
)
def test_the_logger_names_the_category(logger: str, found: str) -> None:
    assert category(logger) == found


def test_what_must_not_be_told_is_left_out() -> None:
    told = line("a letter to %s", "ada@example.org", password="otters", inner={"token": 1})
    assert told["event"] == "a letter to [left out]"
    assert (told["password"], told["inner"]) == ("[left out]", {"token": "[left out]"})


def test_no_value_takes_the_place_of_a_field() -> None:
    told = line(time="never", level="none", category="mine", event="nothing", request_id="forged", pid=0, exception="none")
    assert (told["level"], told["category"], told["event"], told["request_id"]) == ("warning", "cache", "it happened", "-")
    assert told["pid"] == os.getpid()


def test_an_exception_is_one_field() -> None:
    made = record()
    try:
        raise ValueError("what ada wrote")
    except ValueError:
        made.exc_info = sys.exc_info()
    told = JSON.format(made)
    assert "\n" not in told and "ada" not in told
    assert orjson.loads(told)["exception"].startswith("ValueError\n  tests/operations/logs/test_records.py:")


@pytest.mark.parametrize(
    "event",
    [
        "Invalid request from ip=192.0.2.77: Invalid HTTP Header: 'Cookie : session=secret'",
        "Error handling request GET /courses?token=secret",
        "Error handling request /secret",
    ],
)
def test_gunicorn_quotes_nobody(event: str) -> None:
    told = line(event, logger="gunicorn.error")["event"]
    assert told in ("Invalid request", "Error handling request")
    assert line(event)["event"].startswith(told)  # the words of others are theirs


JSONABLE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=9), inner, max_size=5),
    max_leaves=20,
)


@given(st.text(), st.dictionaries(st.text(min_size=1).map("x_{}".format), JSONABLE, max_size=8))
def test_whatever_is_logged_is_one_line(event: str, extra: dict[str, Any]) -> None:
    told = JSON.format(record(event.replace("%", ""), **extra)).encode()
    assert b"\n" not in told
    assert orjson.loads(told)["category"] == "cache"


@pytest.mark.parametrize("size", [3900, 5000, 100_000])
@pytest.mark.parametrize("character", ["x", "é", "😀", '"', "\n"])
def test_long_texts_are_shortened_in_the_middle(size: int, character: str) -> None:
    text = f"begin {character * size} end"
    told = JSON.format(record(text, detail=text)).encode()
    assert len(told) + 2 <= select.PIPE_BUF
    found = orjson.loads(told)
    for name in ("event", "detail"):
        assert found[name].startswith("begin") and found[name].endswith("end")


def test_many_values_are_shortened_too() -> None:
    told = JSON.format(record(many=list(range(10_000)), **{f"x{number}": "y" * 50 for number in range(200)}))
    assert len(told) + 2 <= select.PIPE_BUF
    assert orjson.loads(told)["event"] == "it happened"


def test_a_console_gets_something_to_read() -> None:
    console = log_records.formatter(console=True, exception_texts=True)
    made = record("slow request", route="/courses")
    try:
        raise ValueError("what is wrong")
    except ValueError:
        made.exc_info = sys.exc_info()
    first, *more = console.format(made).splitlines()
    assert first.startswith("2026-11-24T12:00:00.062Z [warning")
    assert "slow request" in first and "route=/courses" in first
    assert more[0] == "ValueError: what is wrong"
