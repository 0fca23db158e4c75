from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import EnvironBuilder, run_wsgi_app

from codyverse.operations.cache.generations import Generations
from codyverse.server.responses import OUTDATED_S, Headers, Responses
from codyverse.server.shell import FINISHED, REFUSED, UNTOLD, Finished, Refused, Shell, Told

BODY = b"all about robots " * 200


@dataclass
class Application:
    """What stands behind the shell. A test says what it answers."""

    status: str = "200 OK"
    headers: Headers = field(default_factory=lambda: [("Content-Type", "text/plain"), ("ETag", '"abc"'), ("RateLimit", "mine")])
    body: bytes = BODY
    tags: tuple[str, ...] = ("catalogue",)
    change: Any = None
    calls: list[dict[str, Any]] = field(default_factory=list)
    closed: int = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.calls.append(environ)
        if self.change is not None:
            self.change()
        if self.tags:
            environ[FINISHED] = Finished("/page", frozenset(self.tags), compressible=True)
        start_response(self.status, list(self.headers))
        return _Body(self)


class _Body:
    def __init__(self, application: Application) -> None:
        self._application = application

    def __iter__(self) -> Iterator[bytes]:
        yield self._application.body

    def close(self) -> None:
        self._application.closed += 1


class Yours:
    def fields(self) -> Headers:
        return [("RateLimit", "yours")]

    def lines(self) -> str:
        return "RateLimit: yours\r\n"


@dataclass
class Duties:
    answer: Told | Refused | None = UNTOLD
    counted: list[tuple[str, str, str, str]] = field(default_factory=list)
    observed: list[tuple[str, str, int]] = field(default_factory=list)

    def count(self, address: str, authorization: str, cookie: str, rule: str, waits: bool) -> Told | Refused | None:
        self.counted.append((address, authorization, cookie, rule))
        return self.answer

    def encoding(self, accepted: str) -> str:
        return accepted

    def origin(self, origin: str, path: str) -> str:
        return origin if origin == "https://friend.example" else ""

    def observe(self, rule: str, method: str, status: int, seconds: float) -> None:
        assert seconds > 0
        self.observed.append((rule, method, status))


@dataclass
class Time:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class Front:
    """The shell with what stands around it."""

    def __init__(self, generations: Generations) -> None:
        self.application, self.duties, self.generations, self.time = Application(), Duties(), generations, Time()
        store = Responses(1_000_000, 300, generations, {"gzip": gzip.compress}, self.time)
        self.shell = Shell(self.application, store, self.duties)

    def ask(self, path: str = "/page", method: str = "GET", **headers: str) -> tuple[str, dict[str, str], bytes]:
        builder = EnvironBuilder(path, method=method, headers={name.replace("_", "-"): v for name, v in headers.items()})
        builder.environ_base = {"REMOTE_ADDR": "192.0.2.1"}
        environ = builder.get_environ()
        environ["CONTENT_LENGTH"] = headers.get("content_length", environ.get("CONTENT_LENGTH", ""))  # the builder knows better
        body, status, sent = run_wsgi_app(self.shell, environ, buffered=True)
        return status, dict(sent), b"".join(body)

    def fill(self) -> None:
        self.ask()
        self.ask()

    def outdate(self) -> None:
        self.generations.begin(["catalogue"])
        self.generations.end(["catalogue"])

    @property
    def calls(self) -> int:
        return len(self.application.calls)


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    generations = Generations(tmp_path / "generations")
    front = Front(generations)
    yield front
    assert front.application.closed == front.calls  # nothing is left open
    generations.close()


def test_it_works(front: Front) -> None:
    first, second = front.ask(), front.ask()
    assert (front.calls, front.duties.counted) == (2, [])
    third = front.ask()
    assert front.calls == 2
    assert front.duties.counted == [("192.0.2.1", "", "", "/page")]
    assert front.duties.observed == [("/page", "GET", 200)]
    assert first[0] == second[0] == third[0] == "200 OK"
    assert first[2] == second[2] == third[2] == BODY
    assert "RateLimit" in second[1]  # what the application said of this request
    assert "RateLimit" not in third[1]


def test_headers_about_counting_are_added(front: Front) -> None:
    front.fill()
    front.duties.answer = Yours()
    assert front.ask()[1]["RateLimit"] == "yours"


def test_the_whole_answer_is_kept_whatever_the_client_negotiates(front: Front) -> None:
    front.ask()
    status, headers, body = front.ask(method="HEAD", accept_encoding="gzip")
    assert (status, headers["Content-Encoding"], body) == ("200 OK", "gzip", b"")
    asked = front.application.calls[-1]
    assert (asked["REQUEST_METHOD"], "HTTP_ACCEPT_ENCODING" in asked) == ("GET", False)
    assert front.ask()[2] == BODY
    assert gzip.decompress(front.ask(accept_encoding="gzip")[2]) == BODY
    assert front.ask(if_none_match='"abc"')[::2] == ("304 NOT MODIFIED", b"")
    assert front.calls == 2


def test_who_has_the_answer_gets_304_from_the_one_that_fills(front: Front) -> None:
    front.ask()
    assert front.ask(if_none_match='"abc"')[::2] == ("304 NOT MODIFIED", b"")


@pytest.mark.parametrize(
    "headers",
    [
        {"range": "bytes=0-9"},
        {"if_match": '"abc"'},
        {"if_unmodified_since": "Tue, 24 Nov 2026 12:00:00 GMT"},
        {"if_modified_since": "Tue, 24 Nov 2026 12:00:00 GMT"},
        {"if_modified_since": "Tue, 24 Nov 2026 12:00:00 GMT", "if_none_match": ""},
        {"upgrade": "websocket"},
        {"expect": "100-continue"},
        {"transfer_encoding": "chunked"},
        {"content_encoding": "gzip"},
        {"content_length": "3"},
        {"content_type": "application/json"},
        {"host": ""},
    ],
)
def test_what_is_unusual_is_the_applications(front: Front, headers: dict[str, str]) -> None:
    front.fill()
    front.ask(**headers)
    assert front.calls == 3


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "PUT", "DELETE", "TRACE", "get", "ODD"])
def test_only_reading_is_answered(front: Front, method: str) -> None:
    front.fill()
    front.ask(method=method)
    assert front.calls == 3


@pytest.mark.parametrize(
    "header",
    [
        ("Set-Cookie", "a=b"),
        ("Cache-Control", "no-store"),
        ("Cache-Control", "private, no-cache"),
        ("Vary", "Accept-Encoding, Cookie"),
        ("Vary", "*"),
        ("Content-Encoding", "gzip"),
    ],
)
def test_what_is_not_for_everybody_is_not_kept(front: Front, header: tuple[str, str]) -> None:
    front.application.headers.append(header)
    for _ in range(4):
        status, headers, body = front.ask()
        assert (status, headers[header[0]], body) == ("200 OK", header[1], BODY)
    assert front.calls == 4


def test_what_the_application_does_not_call_finished_is_not_kept(front: Front) -> None:
    front.application.tags = ()
    for _ in range(4):
        assert front.ask()[2] == BODY
    assert front.calls == 4


@pytest.mark.parametrize("status", ["404 NOT FOUND", "301 MOVED PERMANENTLY", "206 PARTIAL CONTENT", "500 ERROR"])
def test_only_200_is_kept(front: Front, status: str) -> None:
    front.application.status = status
    for _ in range(4):
        assert front.ask()[::2] == (status, BODY)
    assert front.calls == 4


def test_what_changes_while_it_is_made_is_sent_and_not_kept(front: Front) -> None:
    front.application.change = front.outdate
    for _ in range(4):
        assert front.ask(accept_encoding="gzip")[2] == BODY
    assert front.calls == 4


def test_a_change_is_seen_by_the_next_request(front: Front) -> None:
    front.fill()
    front.outdate()
    front.application.body = b"new"
    assert front.ask()[2] == b"new"
    assert front.ask()[2] == b"new"
    assert front.calls == 3


def test_a_friendly_origin_has_answers_of_its_own(front: Front) -> None:
    front.fill()
    front.ask(origin="https://foe.example")
    assert front.calls == 2
    front.ask(origin="https://friend.example")
    assert front.calls == 3


def test_the_application_finds_out_who_is_unknown(front: Front) -> None:
    front.fill()
    front.duties.answer = None
    front.ask(cookie="a=b", authorization="Bearer x")
    assert front.duties.counted[-1][1:3] == ("Bearer x", "a=b")
    assert front.calls == 3


def test_the_application_refuses_what_is_too_much(front: Front) -> None:
    front.fill()
    front.duties.answer = Refused("why")
    front.ask()
    assert front.application.calls[-1][REFUSED] is front.duties.answer


@pytest.mark.parametrize(("headers", "status"), [({}, "200 OK"), ({"if_none_match": '"abc"'}, "304 NOT MODIFIED")])
def test_the_old_answer_is_sent_while_there_is_no_new_one(front: Front, headers: dict[str, str], status: str) -> None:
    front.fill()
    front.time.now += 42
    front.outdate()
    front.application.status, front.application.tags, front.application.body = "503 SERVICE UNAVAILABLE", (), b"away"
    answer = front.ask(**headers)
    assert answer[0] == status
    assert answer[2] == (BODY if status == "200 OK" else b"")
    assert (answer[1]["Age"], answer[1]["Warning"], answer[1]["RateLimit"]) == ("42", '110 - "Response is Stale"', "mine")

    front.application.status, front.application.tags, front.application.body = "200 OK", ("catalogue",), b"new"
    status, sent, body = front.ask()
    assert (status, "Age" in sent, "Warning" in sent, body) == ("200 OK", False, False, b"new")


def test_the_old_answer_is_not_sent_for_ever(front: Front) -> None:
    front.fill()
    front.outdate()
    front.application.status, front.application.tags = "503 SERVICE UNAVAILABLE", ()
    assert front.ask()[0] == "200 OK"
    front.time.now += OUTDATED_S + 1
    assert front.ask()[0] == "503 SERVICE UNAVAILABLE"


def test_the_old_answer_is_not_sent_in_place_of_another_answer(front: Front) -> None:
    front.fill()
    front.outdate()
    front.application.status, front.application.tags = "404 NOT FOUND", ()
    assert front.ask()[0] == "404 NOT FOUND"
    assert front.ask(method="HEAD")[::2] == ("404 NOT FOUND", b"")
