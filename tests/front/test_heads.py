from __future__ import annotations

import pytest

from codyverse.server.heads import LONGEST_PLAIN_BYTES, MOST_PLAIN_FIELDS, outline, plain

HEAD = b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n"


def with_field(line: bytes) -> bytes:
    return HEAD[:-2] + line + b"\r\n\r\n"


def with_target(target: bytes) -> bytes:
    return HEAD.replace(b"/a", target, 1)


def test_it_works() -> None:
    head = (
        b"HEAD /api/v1/courses?limit=1&a=%2F HTTP/1.1\r\nhOST: a.example:80\r\nX-Odd: a: b  c\r\nConnection: Keep-Alive\r\n\r\n"
    )
    assert plain(head) == {
        "REQUEST_METHOD": "HEAD",
        "PATH_INFO": "/api/v1/courses",
        "QUERY_STRING": "limit=1&a=%2F",
        "HTTP_HOST": "a.example:80",
        "HTTP_X_ODD": "a: b  c",
        "HTTP_CONNECTION": "Keep-Alive",
    }


@pytest.mark.parametrize(
    "target", [b"/", b"/a/b-c_d.e~f", b"/a;b=c,d@e:f(g)*'!$&+", b"/?", b"/?a=b?c/d//e/.f", b"/a?%00", b"/a..b"]
)
def test_targets_that_are_read(target: bytes) -> None:
    environ = plain(with_target(target))
    assert environ is not None
    assert (environ["PATH_INFO"] + "?" + environ["QUERY_STRING"]).encode().rstrip(b"?") == target.rstrip(b"?")


@pytest.mark.parametrize(
    "target",
    [
        *(
            b"//a",
            b"/a//",
            b"/./a",
            b"/a/.",
            b"/../a",
            b"/.a",
            b"/%61",
            b"/a%2Fb",
            b"/a#b",
            b"/?a#b",
            b"/a\\b",
            b"\\a",
            b"/a|b",
            b'/"',
        ),
        *(
            b"http://a.example/a",
            b"//a.example/a",
            b"a.example:80",
            b"*",
            b"",
            b"a",
            b"/a b",
            b"/a\t",
            b"/\xe9",
            b"/?\xe9",
            b"/\0",
            b"/?[]",
        ),
    ],
)
def test_targets_that_are_left_alone(target: bytes) -> None:
    assert plain(with_target(target)) is None


@pytest.mark.parametrize(
    "line",
    [
        *(b"Content-Length: 0", b"Content-Length: 1", b"Transfer-Encoding: chunked", b"Content-Type: text/plain", b"Trailer: a"),
        *(
            b"TE: trailers",
            b"Expect: 100-continue",
            b"Upgrade: h2c",
            b"HTTP2-Settings: a",
            b"Proxy: a",
            b"Proxy-Connection: close",
        ),
        *(b"Keep-Alive: 5", b"Connection: close", b"Connection: keep-alive, a", b"Connection: upgrade", b"connection: "),
        *(b"Host: a.example", b"HOST: b.example", b"X-A: b\r\nx-a: b", b"X_A: b", b"X.A: b", b"X A: b", b"X-A : b", b" X-A: b"),
        *(
            b"X-A:b",
            b"X-A:  b",
            b"X-A:\tb",
            b"X-A: b ",
            b"X-A: b\t",
            b"X-A: a\tb",
            b"X-A: ",
            b"X-A:",
            b"X-A",
            b": b",
            b"X-A: b\r\n c",
        ),
        *(b"X-A: b\rc", b"X-A: b\nX-C: d", b"X-A: \0", b"X-A: \x7f", b"X-A: \xe9", b"X-\xe9: b"),
    ],
)
def test_fields_that_are_left_alone(line: bytes) -> None:
    assert plain(with_field(line)) is None


@pytest.mark.parametrize(
    "head",
    [
        *(b"", b"\r\n\r\n", HEAD[:-1], HEAD + b"x", HEAD + HEAD, b"\r\n" + HEAD, b" " + HEAD, HEAD.replace(b"\r\n", b"\n")),
        *(HEAD.replace(b"GET", method) for method in (b"get", b"POST", b"OPTIONS", b"GETT", b"")),
        *(HEAD.replace(b"1.1", version) for version in (b"1.0", b"1.2", b"2.0", b"1.1 ", b"1")),
        b"GET /a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.1\r\nX-A: b\r\n\r\n",
        HEAD.replace(b"GET /a", b"GET  /a"),
        HEAD.replace(b"/a HTTP", b"/a\tHTTP"),
    ],
)
def test_heads_that_are_left_alone(head: bytes) -> None:
    assert plain(head) is None


def test_no_more_is_read_than_gunicorn_would_read() -> None:
    fields = [b"X-%d: y" % number for number in range(MOST_PLAIN_FIELDS - 1)]
    assert plain(with_field(b"\r\n".join(fields))) is not None
    assert plain(with_field(b"\r\n".join([*fields, b"X: y"]))) is None
    longer = LONGEST_PLAIN_BYTES - len(with_field(b"X: "))
    assert plain(with_field(b"X: " + b"a" * longer)) is not None
    assert plain(with_field(b"X: " + b"a" * (longer + 1))) is None


# What a queue has to know


def test_outline_of_a_usual_head() -> None:
    head = b"POST /a%20b?c=d HTTP/1.1\r\nhost: a\r\naccept: text/html\r\ncontent-LENGTH:\t12 \r\nX-Request-Start: t=1\r\n\r\n"
    assert outline(head) == ("POST", "/a b", "text/html", 12, "t=1")


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        (b"", 0),
        (b"Content-Length: 0\r\n", 0),
        (b"Content-Length: 5\r\n", 5),
        (b"Content-Length: 5\r\nContent-Length: 5\r\n", None),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", None),
        (b"Transfer-Encoding: chunked\r\n", None),
        (b"transfer-encoding : chunked\r\n", None),
        (b"Content-Length: 5, 5\r\n", None),
        (b"Content-Length: +5\r\n", None),
        (b"Content-Length: -5\r\n", None),
        (b"Content-Length:\r\n", None),
        (b"Content-Length: 1234567890123\r\n", None),
        (b"Content-Length : 5\r\n", None),
        (b"Content-Length: 5\r\nExpect: 100-continue\r\n", None),
        (b"Expect: 100-continue\r\n", 0),
        (b"Content-Length: 0\r\nExpect: 100-continue\r\n", 0),
    ],
)
def test_lengths_that_are_told(fields: bytes, length: int | None) -> None:
    assert outline(b"POST / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n").length == length


@pytest.mark.parametrize(
    "first", [b"", b"GET", b"GET / HTTP/2.0", b"GET  / HTTP/1.1", b"G\xe9T / HTTP/1.1", b"A" * 21 + b" / HTTP/1.1"]
)
def test_what_cannot_be_read_is_empty(first: bytes) -> None:
    assert outline(first + b"\r\nHost: a\r\n\r\n") == ("", "", "", 0, None)
