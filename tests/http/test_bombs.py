"""Small requests that would cost the server much: each is refused with 4xx, and the worker does not grow.

Against the real server, since gunicorn refuses some of them before the application sees them.
"""

from __future__ import annotations

import gzip
import os
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain, repeat
from pathlib import Path

import pytest
import requests

from tests.accounts.test_avatars import encoded, picture, png_header, scans
from tests.one_engine import strictest  # noqa: F401  (a fixture)
from tests.server import Server

GROWTH_MB = 20
PIECE = 64 * 1024
PATIENCE_S = 60.0  # of a client; how long an answer took is printed, not asserted
ADA = {"email": "ada@example.org", "password": "seven quiet otters", "display_name": "Ada", "birth_date": "1990-12-10"}
LOGIN, AVATAR = "/api/v1/auth/login", "/api/v1/me/avatar"
JSON = "application/json"


@pytest.fixture
def server(tmp_path, database_url) -> Iterator[Server]:
    with Server(tmp_path, database_url, "--workers", "1") as server:
        yield server


def rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def send(server: Server, head: str, body: Iterable[bytes] = ()) -> int:
    """Send a request as it stands, the body as far as the server takes it, and return the status of the answer."""
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as connection:
        with suppress(ConnectionError):  # the server may close before it has everything; its answer is there then
            connection.sendall(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n")
            for piece in body:
                if select.select([connection], [], [], 0)[0]:
                    break
                connection.sendall(piece)
        status_line = connection.makefile("rb").readline()
    return int(status_line.split()[1])


def jpeg_header(width: int, height: int) -> bytes:
    """A JPEG whose header announces another size than its content has."""
    whole = bytearray(encoded(picture(16, 16), "JPEG"))
    at = whole.index(b"\xff\xc0") + 5
    whole[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(whole)


def webp_header(width: int, height: int) -> bytes:
    """A WebP of the kind that announces a canvas, which is as large as the format allows."""
    canvas = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = b"WEBPVP8X" + struct.pack("<I", len(canvas)) + canvas + encoded(picture(16, 16), "WEBP")[12:]
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def bombs(account: list[str]) -> dict[str, tuple[str, Iterable[bytes], int]]:
    """Return by name the head of a bomb, its body, and the status that is right. `account` are the fields that sign in."""

    def head(*lines: str) -> str:
        return "\n".join([f"{lines[0]} HTTP/1.1", "Host: 127.0.0.1", *account, *lines[1:]])

    def post(body: bytes, kind: str, *more: str, to: str = f"POST {LOGIN}") -> tuple[str, Iterable[bytes]]:
        pieces = (body[at : at + PIECE] for at in range(0, len(body), PIECE))
        return head(to, f"Content-Type: {kind}", f"Content-Length: {len(body)}", *more), pieces

    def avatar(body: bytes, kind: str, *more: str) -> tuple[str, Iterable[bytes]]:
        return post(body, f"image/{kind}", *more, to=f"PUT {AVATAR}")

    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    unfolds = gzip.compress(b'{"email": "' + b" " * 100_000_000 + b'"}')  # 1000:1
    form = "application/x-www-form-urlencoded"
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    start = f"POST {LOGIN}"
    chunked = head(start, "Content-Type: application/json", "Transfer-Encoding: chunked")
    pixel = png_header(1, 1)
    courses = "GET /api/v1/courses"
    return {
        "100 MB of JSON in 100 kB of gzip": (*post(unfolds, JSON, "Content-Encoding: gzip"), 415),
        "an avatar in gzip": (*avatar(unfolds, "png", "Content-Encoding: gzip"), 415),
        "10 MB of JSON": (*post(b'"' + b"x" * 10_000_000 + b'"', JSON), 413),
        "a PNG of 20,000 x 20,000 pixels": (*avatar(png_header(20_000, 20_000), "png"), 422),
        "a PNG of 2**31 x 2**31 pixels": (*avatar(png_header(2**31 - 1, 2**31 - 1), "png"), 422),
        "a JPEG of 65,500 x 65,500 pixels": (*avatar(jpeg_header(65_500, 65_500), "jpeg"), 422),
        "a WebP of 16,383 x 16,383 pixels": (*avatar(webp_header(16_383, 16_383), "webp"), 422),
        "a JPEG of 25,000 scans": (*avatar(scans(25_000), "jpeg"), 422),
        "an image of 3 MB": (*avatar(png_header(1, 1) + bytes(3_000_000), "png"), 413),
        "JSON of 5,000 levels": (*post(b'{"a":' * 5000 + b"1" + b"}" * 5000, JSON), 400),
        "lists of 100,000 levels": (*post(b"[" * 100_000 + b"]" * 100_000, JSON), 400),
        "10,000 names": (*post(b"{" + b",".join(b'"name%d":1' % i for i in range(10_000)) + b"}", JSON), 400),
        "10,000 times the same name": (*post(b"{" + b",".join([b'"name":1'] * 10_000) + b"}", JSON), 400),
        "70,000 values below a long name": (*post(b'{"' + b"x" * 100_000 + b'":[' + b"1," * 70_000 + b"1]}", JSON), 400),
        "10,000 fields of a form": (*post(b"&".join(b"field%d=" % i for i in range(10_000)), form), 413),
        "5,000 parts of a form": (*post(part * 5000 + b"--x--\r\n", "multipart/form-data; boundary=x"), 415),
        "JSON that is not UTF-8": (*post(b'{"email": "\xff\xfe"}', JSON), 400),
        "a form that is not UTF-8": (*post(b"email=\xff\xfe", form), 400),
        "a path that is not UTF-8": (head(f"{courses}/%ff%fe"), [], 404),
        "a query that is not UTF-8": (head(f"{courses}?cursor=%ff%fe"), [], 400),
        "bytes in the request line": (head(f"{courses}/\xff\xfe"), [], 400),
        "150 fields in the head": (head(courses, *(f"X-Field-{i}: x" for i in range(150))), [], 431),
        "a field of 64 kB in the head": (head(courses, "X-Field: " + "x" * 64 * 1024), [], 431),
        "an address of 64 kB": (head(f"{courses}?cursor={'x' * 64 * 1024}"), [], 414),
        "two lengths": (head(start, "Content-Length: 2", "Content-Length: 3"), [b"{}"], 400),
        "a length that is none": (head(start, "Content-Length: 2x"), [b"{}"], 400),
        "a length below nothing": (head(start, "Content-Length: -1"), [b"{}"], 400),
        "a length with a sign": (head(start, "Content-Length: +2"), [b"{}"], 400),
        "a length of 10**20": (head(start, "Content-Type: application/json", f"Content-Length: {10**20}"), [], 413),
        "a length of 8,000 digits": (head(start, f"Content-Length: {'9' * 8000}"), [], 400),
        "a length beside chunks": (head(start, "Content-Length: 2", "Transfer-Encoding: chunked"), [b"0\r\n\r\n"], 400),
        "a chunk of 2**60 bytes": (chunked, chain([b"1" + b"0" * 15 + b"\r\n"], repeat(chunk)), 413),
        "chunks without end": (chunked, repeat(chunk), 413),
        "chunks of a byte without end": (chunked, repeat(b"1\r\n \r\n" * 1000), 413),
        "an image in chunks without end": (
            head(f"PUT {AVATAR}", "Content-Type: image/png", "Transfer-Encoding: chunked"),
            chain([b"%x\r\n" % len(pixel) + pixel + b"\r\n"], repeat(chunk)),
            413,
        ),
    }


def warm_up(server: Server, browser: requests.Session) -> None:
    """Do what is allowed, once with everything of the largest size, so that what the server keeps for good is there."""
    for _ in range(2):
        image = encoded(picture(1200, 900)).ljust(2 * 2**20, b"\0")
        answer = browser.put(server.url + AVATAR, data=image, headers={"Content-Type": "image/png"}, timeout=PATIENCE_S)
        assert answer.status_code == 200, answer.text
        largest = {"email": ADA["email"], "password": "x" * 250_000}
        assert browser.post(server.url + LOGIN, json=largest, timeout=PATIENCE_S).status_code == 422
        assert browser.get(f"{server.url}/api/v1/courses", timeout=PATIENCE_S).status_code == 200


def test_no_bomb_goes_off(server):
    browser = requests.Session()
    signed_in = browser.post(f"{server.url}/api/v1/auth/register", json=ADA, timeout=PATIENCE_S)
    assert signed_in.status_code == 201
    browser.headers["X-CSRF-Token"] = signed_in.headers.get("X-CSRF-Token", "")
    warm_up(server, browser)
    account = [f"Cookie: {'; '.join(f'{name}={value}' for name, value in browser.cookies.items())}"]
    account += [f"X-CSRF-Token: {browser.headers['X-CSRF-Token']}"]
    [worker] = server.workers()
    before = rss_mb(worker)
    answers, expected = {}, {}
    for name, (head, body, status) in bombs(account).items():
        began = time.monotonic()
        answers[name], expected[name] = send(server, head, body), status
        print(f"{answers[name]}  {(time.monotonic() - began) * 1000:6.0f} ms  {rss_mb(worker) - before:+6.1f} MB  {name}")

    assert answers == expected
    assert server.workers() == [worker]
    assert rss_mb(worker) - before < GROWTH_MB
    assert browser.get(f"{server.url}/api/v1/me", timeout=PATIENCE_S).status_code == 200
