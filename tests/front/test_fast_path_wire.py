"""Over the wire our worker answers, frames and closes as gunicorn's gthread worker does, however the bytes arrive."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from gunicorn.http import get_parser
from gunicorn.http.errors import NoMoreData

from codyverse import create_app
from codyverse.learning import content
from codyverse.learning.service.catalogue import import_catalogue
from codyverse.operations import components
from codyverse.server.heads import END
from tests.conftest import make_settings
from tests.faults.completions import FULL
from tests.front import odd_heads
from tests.front.both_ways import gunicorn_config
from tests.front.fuzz import CONTENT
from tests.front.head_grammar import HOST, Grammar, Words
from tests.front.raw_client import RawClient, Reply
from tests.server import Server, free_port

PATH = "/api/v1/courses"
HIT = f"GET {PATH} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
HEAD_HIT = HIT.replace(b"GET", b"HEAD")
FILE = f"GET /static/app.css HTTP/1.1\r\nHost: {HOST}\r\nAccept-Encoding: br\r\n\r\n".encode()
MISS = f"GET /livez HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
WRONG = f"GET {PATH}?limit=0 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
CLOSE = HIT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
POST = HIT.replace(b"GET " + PATH.encode(), b"POST /api/v1/auth/login", 1)[:-2]
POST += b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = POST.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked").replace(b"{}", b"2\r\n{}\r\n0\r\n\r\n")
WORDS = Words(
    [PATH, "/", "/static/app.css"], ["/livez", "/api/v1/me"], ["*", '"x"'], ["Authorization: Bearer nobody's", "Cookie: a=b"]
)
CONFIG = gunicorn_config()
OURS = "codyverse.server.worker.Worker"


class Servers(NamedTuple):
    """The same service on our worker and on gunicorn's."""

    ours: int  # ports
    theirs: int
    ours_in_pieces: Path  # a Unix socket, of which a client can tell what the server has read


class Expected(NamedTuple):
    """What gunicorn's parser makes of some bytes: the method of each request (empty for an error), and whether more must come."""

    methods: list[str]
    is_incomplete: bool


@pytest.fixture(scope="module")
def servers(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("wire")
    shutil.copy(sqlite_template, folder / "wire.sqlite3")
    url = f"sqlite:///{folder / 'wire.sqlite3'}"
    app = create_app(make_settings(folder, url))
    import_catalogue(app.extensions["codyverse.database"], content.read(CONTENT))
    components.of(app).close()
    with ExitStack() as running:
        ports = []
        for worker in (OURS, "gthread"):
            own = folder / worker
            own.mkdir()
            port = free_port()
            where = ("-b", f"127.0.0.1:{port}", "-b", f"unix:{own / 'socket'}")
            server = Server(own, url, "-w", "1", "-k", worker, *where)
            server.port, server.url = port, f"http://127.0.0.1:{port}"
            ports.append(running.enter_context(server).port)
        for port in ports:
            for request in (HIT, FILE):
                for _ in range(3):  # until it is kept
                    talk(port, request)
        yield Servers(*ports, folder / OURS / "socket")


def expected(data: bytes) -> Expected:
    methods: list[str] = []
    try:
        for request in get_parser(CONFIG, [data], ("127.0.0.1", 1)):
            methods.append(request.method)
    except NoMoreData:
        return Expected(methods, True)
    except Exception:  # each of gunicorn's errors is an answer
        methods.append("")
    return Expected(methods, False)


def talk(where: int | Path, data: bytes, *pieces: bytes) -> tuple[list[Reply | None], bytes]:
    """Send bytes, in pieces if there are some, then one request more; return the answers, and what came behind them."""
    awaited = expected(data)
    with RawClient(where) as client:
        if pieces:
            client.send_apart(*pieces)
        else:
            client.send(data)
        if awaited.is_incomplete or END not in data:
            client.end()
        replies = [client.reply(method) for method in awaited.methods]
        client.send(MISS)
        client.end()
        return [*replies, client.reply("GET")], client.rest()


def compare(servers: Servers, data: bytes) -> list[Reply | None]:
    """Fail unless both answer the same; returns what ours did. How gunicorn words an error is not compared: ours are problems."""
    ours, theirs = talk(servers.ours, data), talk(servers.theirs, data)
    assert len(ours[0]) == len(theirs[0])
    assert not ours[1] and not theirs[1]
    if END not in data:  # ours refuses what can still get an end only when that is late
        assert all(
            mine is None or (other and mine.status == other.status) for mine, other in zip(ours[0], theirs[0], strict=True)
        ), data
        return ours[0]
    for mine, other in zip(ours[0], theirs[0], strict=True):
        if mine is None or other is None or mine == other:
            assert mine == other, data
            continue
        assert (mine.status, mine.connection, mine.interim) == (other.status, "close", other.interim), data
        assert (mine.content_type, other.content_type, other.connection) == ("application/problem+json", "text/html", "close"), (
            data
        )
    return ours[0]


def nasty() -> list[bytes]:
    """Every oddity of the grammar in a request that is a hit without it, and heads that the grammar makes."""
    escaped = "/" + "".join(f"%{ord(letter):02X}" for letter in PATH[1:])
    forms = [form.decode("latin-1") for form in odd_heads.TARGETS]
    targets = [form.format(path=PATH, host=HOST, escaped=escaped, upper=PATH.upper()) for form in forms]
    made = [
        *(HIT[:-2] + line + b"\r\n\r\n" for line in odd_heads.FIELDS),
        *(HIT.replace(PATH.encode(), target.encode("latin-1"), 1) for target in targets),
        *(HIT.replace(b"GET", method, 1) for method in [*odd_heads.METHODS, b""]),
        *(HIT.replace(b"HTTP/1.1", version, 1) for version in [*odd_heads.VERSIONS, b""]),
        *(before + HIT for before in odd_heads.BEGINNINGS),
        *(
            HIT[:-2] + b"\r\n".join(b"X-%d: y" % number for number in range(fields)) + b"\r\n\r\n"
            for fields in (60, 61, 63, 64, 65)
        ),
        *(HIT.replace(b" HTTP", b"?" + b"a" * (length - len(PATH) - 14) + b" HTTP", 1) for length in (4093, 4094, 4095, 9000)),
        *(HIT[:-2] + b"X: " + b"a" * length + b"\r\n\r\n" for length in (8185, 8186, 60_000, 70_000)),
    ]
    grammar = Grammar(random.Random(5), WORDS)
    return made + [grammar.head() for _ in range(150)]


def test_the_nasty_ones(servers: Servers) -> None:
    statuses = set()
    compared = 0
    for data in nasty():
        if _lacks_body(data):  # ours does not wait for it in a thread: other tests tell how it ends
            continue
        statuses |= {reply.status for reply in compare(servers, data) if reply is not None}
        compared += 1
    assert compared > 300
    assert statuses >= {200, 304, 400, 404, 405, 414, 417, 431, 501}


def _lacks_body(data: bytes) -> bool:
    try:
        for request in get_parser(CONFIG, [data], ("127.0.0.1", 1)):
            if request.body.reader.__class__.__name__ == "LengthReader" and request.body.reader.length:
                return len(request.body.read()) < int(dict(request.headers)["CONTENT-LENGTH"])
            request.body.read()
    except NoMoreData:
        return b"\r\n\r\n" in data
    except Exception:
        return False
    return False


@pytest.mark.parametrize(
    "requests",
    [
        *([HIT, HIT], [HIT] * 40, [HEAD_HIT, HIT, HEAD_HIT], [HIT, MISS, HIT], [MISS, HIT], [POST, HIT], [POST, POST, HIT]),
        *(
            [CHUNKED, HIT],
            [HIT, CHUNKED, HIT],
            [FILE, HEAD_HIT, MISS, WRONG, HIT],
            [CLOSE, HIT],
            [HIT, CLOSE, HIT],
            [HIT, b"x", HIT],
        ),
        *(
            [HIT, b"\r\n", HIT],
            [HIT, b"\r\n\r\n", HIT],
            [HIT, b"\n", HIT],
            [HIT, HIT[:-2]],
            [HIT, b"GET"],
            [MISS, b"GET / HTTP/1.1\r\n"],
        ),
        *([HIT[:-2] + b"Content-Length: 5\r\n\r\nhello", HIT], [HIT[:-2] + b"Content-Length: 0\r\n\r\n", HIT]),
        *([HIT[:-2] + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", HIT],),
        *([HIT[:-2] + b"Content-Length: 5\r\n\r\n" + HIT[:5], HIT],),
    ],
)
def test_pipelined_in_one_segment(servers: Servers, requests: list[bytes]) -> None:
    compare(servers, b"".join(requests))


MORE = [HEAD_HIT, HIT + POST + HIT, b"\r\n" + MISS, WRONG, HIT[:-2] + b"X : y\r\n\r\n"] if FULL else []


@pytest.mark.parametrize("data", [HIT, POST, *MORE])
def test_split_anywhere(servers: Servers, data: bytes) -> None:
    whole = compare(servers, data)
    for at in range(1, len(data)):
        assert talk(servers.ours_in_pieces, data, data[:at], data[at:]) == (whole, b""), at


@pytest.mark.parametrize("data", [HIT, HIT + POST + HEAD_HIT, CHUNKED])
def test_byte_by_byte(servers: Servers, data: bytes) -> None:
    assert talk(servers.ours_in_pieces, data, *(bytes([byte]) for byte in data)) == (compare(servers, data), b"")
