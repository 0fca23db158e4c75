from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator

import pytest

from codyverse.operations.dashboard.stream import NOTHING, Streams
from tests.server import wait_until


def event(text: str) -> tuple[str, dict[str, str]]:
    lines = dict(line.split(": ", 1) for line in text.strip().splitlines())
    return lines["event"], json.loads(lines["data"])


def something(events: Iterable[str]) -> Iterator[str]:
    return (text for text in events if text != NOTHING)


def streams(for_s: float = 60.0, ending: bool = False, most: int = 2) -> Streams:
    return Streams(for_s, lambda: ending, most, every_s=0.01)


def test_first_comes_everything_then_what_changed() -> None:
    values = iter([{"a": "1", "b": "1"}, {"a": "1", "b": "2"}, {"a": "1", "b": "2"}])
    whole = streams().events(lambda: next(values))
    events = something(whole)
    assert event(next(events)) == ("sections", {"a": "1", "b": "1"})
    assert event(next(events)) == ("sections", {"b": "2"})
    assert event(next(events)) == ("sections", {})
    whole.close()  # type: ignore[attr-defined]


def test_between_events_something_is_written_that_says_nothing() -> None:
    events = streams().events(dict)
    next(events)
    assert next(events) == NOTHING == ":\n\n"
    events.close()  # type: ignore[attr-defined]


def test_line_breaks_stay_within_their_event() -> None:
    (text,) = streams(for_s=0).events(lambda: {"a": "1\n\n2"})
    assert text.count("\n\n") == 1
    assert event(text)[1] == {"a": "1\n\n2"}


def test_a_stream_ends_when_its_time_is_over() -> None:
    assert 1 <= len(list(something(streams(for_s=0.05).events(dict)))) < 10  # not one more than there is time for


def test_a_stream_ends_with_its_process() -> None:
    assert len(list(streams(ending=True).events(dict))) == 1


def test_closing_ends_a_stream_that_waits() -> None:
    found = Streams(60.0, lambda: False, every_s=30.0)
    events, ended = found.events(dict), threading.Event()

    def watch() -> None:
        for _ in events:
            pass
        ended.set()

    thread = threading.Thread(target=watch)
    thread.start()
    found.close()
    wait_until(ended.is_set, 10)
    thread.join()


def test_who_comes_when_all_places_are_taken_is_told_to_come_back() -> None:
    found = streams(most=1)
    first, second = found.events(lambda: {"a": "1"}), found.events(lambda: {"a": "1"})
    next(first)
    (busy,) = second
    assert event(busy) == ("busy", {})
    assert busy.startswith("retry: 15000\n")
    first.close()  # type: ignore[attr-defined]
    assert event(next(found.events(lambda: {"a": "1"})))[0] == "sections"


def test_a_stream_that_fails_or_never_begins_leaves_its_place_free() -> None:
    found = streams(most=1)

    def fail() -> dict[str, str]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        next(found.events(fail))
    never: Iterator[str] = found.events(dict)
    del never
    assert event(next(found.events(dict)))[0] == "sections"
