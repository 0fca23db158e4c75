from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import time_machine

from codyverse.server.hits import Address, Answer, Hits
from codyverse.server.responses import Headers, Variant
from codyverse.server.shell import UNTOLD, Hit, Refused
from tests.front.fuzz import PEERS, START, Fuzz
from tests.front.head_grammar import FRIEND, HOST

HEAD = b"GET /page?a=b HTTP/1.1\r\nHost: a.example\r\nUser-Agent: Me\r\nX-Request-ID: theirs\r\n\r\n"
REFUSED = Refused("why")


class Told:
    def fields(self) -> Headers:
        return [("RateLimit", "r")]

    def lines(self) -> str:
        return "RateLimit: r\r\n"


TOLD = Told()


@dataclass
class Shell:
    """What stands behind. A test says what it answers."""

    answer: Hit | Refused | None = field(
        default_factory=lambda: Hit("200 OK", Variant([("Content-Length", "4")], b"body"), TOLD, b"body")
    )
    asked: list[dict[str, Any]] = field(default_factory=list)

    def hit(self, environ: dict[str, Any], start_response: None) -> Hit | Refused | None:
        self.asked.append(environ)
        return self.answer


class Front:
    """`Hits` with all that it needs."""

    def __init__(self) -> None:
        self.shell, self.now, self.given = Shell(), 784_111_777.0, list[str | None]()
        self.hits = Hits(self.shell.hit, self._request_id, lambda: self.now)

    def ask(self, head: bytes = HEAD, peer: Address = ("192.0.2.1", 1)) -> Answer:
        answer = self.hits.answer(head, peer)
        assert isinstance(answer, Answer)
        return answer

    def _request_id(self, theirs: str | None) -> str:
        self.given.append(theirs)
        return "mine"


@pytest.fixture
def front() -> Front:
    return Front()


def test_it_works(front: Front) -> None:
    answer = front.ask()
    assert answer == Answer(
        b"HTTP/1.1 200 OK\r\nServer: gunicorn\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: keep-alive\r\n"
        b"Content-Length: 4\r\nRateLimit: r\r\nX-Request-ID: mine\r\n\r\n",
        b"body",
        *("GET", "/page", 200, "192.0.2.1", "mine", "Me"),
    )
    assert front.given == ["theirs"]


def test_the_date_is_that_of_the_answer(front: Front) -> None:
    front.ask()
    front.now += 1
    front.shell.answer = Hit("304 NOT MODIFIED", Variant([], b""), UNTOLD, b"")
    answer = front.ask()
    assert answer.head.startswith(b"HTTP/1.1 304 NOT MODIFIED\r\nServer: gunicorn\r\nDate: Sun, 06 Nov 1994 08:49:38 GMT\r\n")
    assert (answer.status, answer.body) == (304, b"")


@pytest.mark.parametrize(
    ("peer", "address"),
    [(("2001:db8::1", 1, 0, 0), "2001:db8::1"), ("", ""), (b"", ""), (b"/run/a.sock", "/run/a.sock"), (None, "")],
)
def test_the_address_is_the_peers(front: Front, peer: Any, address: str) -> None:
    assert front.ask(peer=peer).address == address
    assert front.shell.asked[0]["REMOTE_ADDR"] == address
    assert front.shell.asked[0]["wsgi.url_scheme"] == "http"


def test_the_address_in_the_log_is_the_one_that_is_believed(front: Front) -> None:
    def believing(environ: dict[str, Any], start_response: None) -> Hit | Refused | None:
        environ["REMOTE_ADDR"] = "198.51.100.7"
        return front.shell.hit(environ, start_response)

    answer = Hits(believing, lambda theirs: "mine").answer(HEAD, ("192.0.2.1", 1))
    assert isinstance(answer, Answer)
    assert answer.address == "198.51.100.7"


@pytest.mark.parametrize("head", [b"", HEAD[:-2], HEAD + HEAD, HEAD.replace(b"GET", b"POST"), HEAD.replace(b"Host", b"Host ")])
def test_what_is_not_plain_is_not_even_asked_for(front: Front, head: bytes) -> None:
    assert front.hits.answer(head, ("192.0.2.1", 1)) is None
    assert front.shell.asked == []


@pytest.mark.parametrize("answer", [None, REFUSED])
def test_what_the_shell_does_not_answer_is_the_applications(front: Front, answer: Refused | None) -> None:
    front.shell.answer = answer
    assert front.hits.answer(HEAD, ("192.0.2.1", 1)) is answer


# With the application


@pytest.fixture
def both(sqlite_template: Path, tmp_path: Path) -> Iterator[Fuzz]:
    with time_machine.travel(START, tick=False), Fuzz(tmp_path, sqlite_template, cors_origins=[FRIEND]) as both:
        both.fill()
        yield both


def test_the_bytes_are_those_that_gunicorn_would_send(both: Fuzz) -> None:
    """To the last byte, order and spelling included, when the same store answers by way of WSGI."""
    answered = 0
    for target in both.words.targets:
        for fields in (
            *("", "Accept-Encoding: br\r\n", "Accept-Encoding: gzip, zstd\r\n", f"Origin: {FRIEND}\r\n", "If-None-Match: *\r\n"),
            *("Connection: keep-alive\r\n", "Origin: https://foe.example\r\nAccept-Encoding: br;q=0.1\r\nIf-None-Match: *\r\n"),
        ):
            for method in ("GET", "HEAD"):
                head = f"{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n".encode()
                fast = both.ways.fast(head, PEERS[0])
                assert isinstance(fast, Answer), head
                assert _unnumbered(fast.head + fast.body) == _unnumbered(both.ways.with_store.ask(head, PEERS[0]).sent)
                answered += 1
    assert answered == 2 * 7 * len(both.words.targets)


def _unnumbered(sent: bytes) -> bytes:
    """Return an answer without what numbers it: its id, and how many the client has left."""
    sent = re.sub(rb"X-Request-ID: [0-9a-f]{12}-[0-9a-f]+", b"X-Request-ID: id", sent)
    return re.sub(rb"(;r=|X-RateLimit-Remaining: )[0-9]+", rb"\1some", sent)
