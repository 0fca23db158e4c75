"""A hundred spoofs and more: nobody passes for another client, avoids HTTPS or signing in, or is sent to a foreign host.

Every table holds what an attacker sends; the loops send it as a server would hand it on, and collect what got through.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from flask import Flask, Response, jsonify, request
from werkzeug.test import run_wsgi_app

from codyverse import create_app
from codyverse.accounts.models import sessions
from codyverse.http.auth import PUBLIC
from tests.conftest import make_settings
from tests.one_engine import strictest  # noqa: F401  (a fixture)
from tests.server import Server

PEER = "192.0.2.1"  # who the connection comes from: the client itself, or the last proxy
HOST = "learn.example.org"
ADA = {"email": "ada@example.org", "password": "seven quiet otters", "display_name": "Ada", "birth_date": "1990-12-10"}

Headers = list[tuple[str, str]]
Make = Callable[..., Flask]


def FOR(text: str) -> tuple[str, str]:  # noqa: N802  (reads as the header's name in the tables)
    return ("X-Forwarded-For", text)


def PROTO(text: str) -> tuple[str, str]:  # noqa: N802
    return ("X-Forwarded-Proto", text)


def XHOST(text: str) -> tuple[str, str]:  # noqa: N802
    return ("X-Forwarded-Host", text)


# (trusted proxies, headers, the address that is believed)
ADDRESSES: list[tuple[int, Headers, str]] = [
    (0, [], PEER),
    (0, [FOR("6.6.6.6")], PEER),
    (0, [FOR("6.6.6.6"), FOR("7.7.7.7")], PEER),
    (0, [("Forwarded", "for=6.6.6.6")], PEER),
    (0, [("X-Real-IP", "6.6.6.6")], PEER),
    (0, [("X-Client-IP", "6.6.6.6"), ("True-Client-IP", "6.6.6.6"), ("CF-Connecting-IP", "6.6.6.6")], PEER),
    (0, [("Client-IP", "6.6.6.6"), ("X-Cluster-Client-IP", "6.6.6.6"), ("X-Originating-IP", "6.6.6.6")], PEER),
    (0, [("Remote-Addr", "6.6.6.6"), ("X-Remote-Addr", "6.6.6.6"), ("X-Forwarded", "6.6.6.6")], PEER),
    (1, [], PEER),
    (1, [FOR("203.0.113.9")], "203.0.113.9"),
    (1, [FOR("6.6.6.6, 203.0.113.9")], "203.0.113.9"),
    (1, [FOR("6.6.6.6"), FOR("203.0.113.9")], "203.0.113.9"),
    (1, [FOR("6.6.6.6,,, 203.0.113.9 ")], "203.0.113.9"),
    (1, [FOR('"6.6.6.6, 203.0.113.9')], "203.0.113.9"),
    (1, [FOR('6.6.6.6, ", 203.0.113.9')], "203.0.113.9"),
    (1, [FOR("6.6.6.6\\, 203.0.113.9")], "203.0.113.9"),
    (1, [FOR("127.0.0.1, 203.0.113.9")], "203.0.113.9"),
    (1, [FOR("6.6.6.6,")], PEER),
    (1, [FOR("")], PEER),
    (1, [FOR("unknown")], PEER),
    (1, [FOR("_hidden")], PEER),
    (1, [FOR("6.6.6.6:80")], PEER),
    (1, [FOR("6.6.6.6 7.7.7.7")], PEER),
    (1, [FOR("6.6.6.6;7.7.7.7")], PEER),
    (1, [FOR("0x06060606")], PEER),
    (1, [FOR("100000000")], PEER),
    (1, [FOR("06.06.06.06")], PEER),
    (1, [FOR("6.6.6")], PEER),
    (1, [FOR("6.6.6.256")], PEER),
    (1, [FOR("٦.٦.٦.٦")], PEER),
    (1, [FOR("fe80::1%6.6.6.6")], PEER),
    (1, [FOR("<script>")], PEER),
    (1, [FOR("2001:DB8:0::9")], "2001:db8::9"),
    (1, [FOR("::ffff:203.0.113.9")], "203.0.113.9"),
    (1, [("Forwarded", "for=6.6.6.6"), FOR("203.0.113.9")], "203.0.113.9"),
    (2, [FOR("203.0.113.9, 10.0.0.1")], "203.0.113.9"),
    (2, [FOR("6.6.6.6, 203.0.113.9, 10.0.0.1")], "203.0.113.9"),
    (2, [FOR("6.6.6.6"), FOR("203.0.113.9, 10.0.0.1")], "203.0.113.9"),
    (2, [FOR('6.6.6.6, ", 203.0.113.9, 10.0.0.1')], "203.0.113.9"),
    (2, [FOR('"6.6.6.6", "7.7.7.7, 203.0.113.9, 10.0.0.1')], "203.0.113.9"),
    (2, [FOR("6.6.6.6")], PEER),
]

# (trusted proxies, headers): the request came over plain HTTP and must be sent to HTTPS
PRETENDED_HTTPS: list[tuple[int, Headers]] = [
    (0, []),
    (0, [PROTO("https")]),
    (0, [PROTO("HTTPS")]),
    (0, [PROTO("https"), PROTO("https")]),
    (0, [("X-Forwarded-Protocol", "ssl"), ("X-Forwarded-Ssl", "on"), ("Front-End-Https", "on")]),
    (0, [("X-Forwarded-Scheme", "https"), ("X-Scheme", "https"), ("X-Url-Scheme", "https")]),
    (0, [("Forwarded", "proto=https")]),
    (0, [("X-Forwarded-Port", "443")]),
    (0, [("HTTPS", "on"), ("Wsgi.Url-Scheme", "https"), ("SSL", "1")]),
    (0, [("CloudFront-Forwarded-Proto", "https"), ("CF-Visitor", '{"scheme":"https"}')]),
    (0, [("Upgrade-Insecure-Requests", "1"), ("Strict-Transport-Security", "max-age=1")]),
    (1, [PROTO("http")]),
    (1, [PROTO("https, http")]),
    (1, [PROTO("https"), PROTO("http")]),
    (1, [PROTO('"https, http')]),
    (1, [PROTO("https http")]),
    (1, [PROTO("https;")]),
    (1, [PROTO("wss")]),
    (1, [PROTO("httpsx")]),
    (1, [PROTO("https,")]),
    (1, [PROTO("javascript")]),
    (1, [PROTO("ｈttps")]),
    (1, [("X-Forwarded-Port", "443"), ("Forwarded", "proto=https")]),
    (2, [PROTO("https")]),
    (2, [PROTO("https, http, https")]),
    (2, [PROTO('https, ", http, https')]),
]

# Addresses that look like those of the probes, which HTTP may have, and are not.
NOT_PROBES = [
    *("/livez/", "/livez/x", "/livez;x", "/livez;x=/api/v1/me", "/livez%00", "/livez%20", "/LIVEZ", "/Livez", "/livez."),
    *("//livez/", "/./livez", "/%2e/livez", "/livez/../api/v1/me", "/livez/%2e%2e/api/v1/me", "/livez%2f..%2fapi/v1/me"),
    *(
        "/livez\\..\\api\\v1\\me",
        "/health%2f",
        "/health%5c",
        "/readyz%3f",
        "/livez%23/api/v1/me",
        "/l%C4%B1vez",
        "/api/v1/me?/livez",
    ),
]

# (name, what becomes of the path of a protected operation)
PATHS: list[tuple[str, Callable[[str], str]]] = [
    ("as it is", lambda path: path),
    ("one letter escaped", lambda path: path[:-1] + f"%{ord(path[-1]):02x}"),
    ("every letter escaped", lambda path: "/" + "".join(f"%{ord(c):02X}" for c in path[1:])),
    ("escaped twice", lambda path: path[:-1] + f"%25{ord(path[-1]):02x}"),
    ("two slashes first", lambda path: "/" + path),
    ("two slashes inside", lambda path: path.replace("/v1/", "/v1//")),
    ("slashes escaped", lambda path: "/" + path[1:].replace("/", "%2f")),
    ("slash at the end", lambda path: path + "/"),
    ("slash escaped at the end", lambda path: path + "%2f"),
    ("dot inside", lambda path: path.replace("/v1/", "/v1/./")),
    ("dot escaped inside", lambda path: path.replace("/v1/", "/v1/%2e/")),
    ("up and down", lambda path: path.replace("/v1/", "/v1/x/../")),
    ("up and down escaped", lambda path: path.replace("/v1/", "/v1/x/%2e%2e/")),
    ("from a public folder", lambda path: "/static/.." + path),
    ("from a public folder escaped", lambda path: "/static/%2e%2e" + path),
    ("from a public operation", lambda path: "/api/v1/courses/../.." + path.removeprefix("/api")),
    ("parameter", lambda path: path + ";a=b"),
    ("parameter of a public one", lambda path: path + ";/api/v1/courses"),
    ("parameter inside", lambda path: path.replace("/v1/", "/v1;a/")),
    ("capitals", str.upper),
    ("capital first", lambda path: path.replace("/api/", "/Api/")),
    ("dot at the end", lambda path: path + "."),
    ("dots at the end", lambda path: path + "..."),
    ("file at the end", lambda path: path + ".json"),
    ("space at the end", lambda path: path + "%20"),
    ("NUL at the end", lambda path: path + "%00"),
    ("NUL and a public name", lambda path: path + "%00.css"),
    ("line break at the end", lambda path: path + "%0a"),
    ("backslashes", lambda path: path.replace("/", "\\")),
    ("backslashes escaped", lambda path: "/" + path[1:].replace("/", "%5c")),
    ("wide letters", lambda path: path.replace("v1", "%EF%BD%96%EF%BC%91")),
    ("slash of another alphabet", lambda path: path.replace("/v1/", "/v1%E2%88%95")),
    ("overlong slash", lambda path: path.replace("/v1/", "/v1%c0%af")),
    ("invisible letter", lambda path: path + "%E2%80%8B"),
    ("fragment", lambda path: path + "%23"),
    ("question mark escaped", lambda path: path + "%3f"),
    ("whole address", lambda path: f"http://{HOST}{path}"),
    ("query of a public one", lambda path: path + "?/api/v1/courses"),
]

# What some servers take for proof of who asks, or for another address or method than that of the request.
PROOFS: list[Headers] = [
    [("X-Forwarded-User", "ada@example.org"), ("X-Remote-User", "ada@example.org"), ("Remote-User", "1")],
    [("X-User-Id", "1"), ("X-Auth-User", "1"), ("X-Authenticated-User", "1"), ("X-Account", "1")],
    [("X-Role", "admin"), ("X-Admin", "true"), ("X-Is-Admin", "1")],
    [FOR("127.0.0.1"), ("X-Real-IP", "127.0.0.1"), ("X-Forwarded-Server", "localhost")],
    [("Host", "localhost")],
    [("Host", "127.0.0.1")],
    [("Origin", f"https://{HOST}"), ("Referer", f"https://{HOST}/")],
    [("Origin", "null")],
    [("Authorization", "Basic YWRhQGV4YW1wbGUub3JnOnNldmVuIHF1aWV0IG90dGVycw==")],
    [("Authorization", "Bearer null")],
    [("Authorization", "Bearer cv_")],
    [("Authorization", "")],
    [("Cookie", "codyverse=")],
    [("Cookie", "codyverse=1; codyverse=2")],
    [("Cookie", "__Host-codyverse=1; session=1; user_id=1")],
    [("X-Original-URL", "/api/v1/courses"), ("X-Rewrite-URL", "/api/v1/courses")],
    [("X-Original-URI", "/livez"), ("X-Forwarded-Path", "/livez"), ("X-Forwarded-Uri", "/livez")],
    [("X-Forwarded-Prefix", "/livez")],
    [("Script-Name", "/livez"), ("Path-Info", "/livez")],
    [("X-HTTP-Method-Override", "OPTIONS"), ("X-HTTP-Method", "OPTIONS"), ("X-Method-Override", "OPTIONS")],
]

BAD_HOSTS = [
    *("", " ", ".", "..", "a..b", ".example.org", "-a.example.org", "a-.example.org", "a" * 64 + ".org", "a." * 127 + "org"),
    *(
        "evil.example/path",
        "evil.example\\x",
        "evil.example?x",
        "evil.example#x",
        "user@evil.example",
        "learn.example.org@evil.example",
    ),
    *(
        "learn.example.org, evil.example",
        "learn.example.org evil.example",
        "learn.example.org\tx",
        "evil_host",
        "exämple.org",
        "ⓔvil",
    ),
    *("learn.example.org:", "learn.example.org:0", "learn.example.org:65536", "learn.example.org:x", "learn.example.org:80:80"),
    *(
        "[::1",
        "::1",
        "[]",
        "[::g]",
        "[1.2.3.4]",
        "[::1%eth0]",
        "[fe80::1]x",
        "<script>",
        "http://evil.example",
        "a%2eb",
        "a\0b",
        "'",
        '"',
    ),
]
GOOD_HOSTS = [
    "localhost",
    "localhost:8000",
    "learn.example.org.",
    "LEARN.example.org",
    "203.0.113.9",
    "[::1]",
    "[2001:db8::1]:8443",
    "a",
]

ELSEWHERE = [
    *(
        "//evil.example",
        "//evil.example/",
        "///evil.example",
        "//evil.example/%2e%2e",
        "//evil.example//lessons/1",
        "//lessons/1",
    ),
    *("/\\evil.example", "/%5cevil.example", "/%5c%5cevil.example", "/%2f%2fevil.example", "/%2fevil.example", "/.evil.example"),
    *(
        "/@evil.example",
        "/%40evil.example",
        "/:80@evil.example",
        "/https://evil.example",
        "/https:/evil.example",
        "/%09/evil.example",
    ),
    *(
        "/%0d%0aLocation:%20https://evil.example",
        "/%0aX:y",
        "/%E3%80%82evil.example",
        "/?next=//evil.example",
        "/?%0d%0aX:y",
        "//static//app.css",
    ),
    *("http://evil.example/", "https://evil.example//x", "/api//docs", "/api/docs/", "/static", "/courses//evil.example/"),
]


def test_there_are_enough_of_them() -> None:
    tables = [ADDRESSES, PRETENDED_HTTPS, NOT_PROBES, PATHS, PROOFS, BAD_HOSTS, ELSEWHERE]
    assert sum(len(table) for table in tables) >= 200
    assert len({name for name, _ in PATHS}) == len(PATHS)


@pytest.fixture
def make(database_url: str, tmp_path: Path, clock: Any) -> Iterator[Make]:
    """Make applications with an address that tells what the server believes."""
    made = []

    def make(**chosen: Any) -> Flask:
        app = create_app(make_settings(tmp_path, database_url, **({"feature_rate_limit": False} | chosen)))
        app.extensions["codyverse.database"].clock = clock

        def believed() -> Response:
            return jsonify(address=request.remote_addr, scheme=request.scheme, host=request.host)

        app.add_url_rule("/believed", view_func=believed)
        made.append(app)
        return app

    yield make
    for app in made:
        app.extensions["codyverse.database"].close()


def send(app: Flask, target: str = "/", headers: Headers | None = None, method: str = "GET", scheme: str = "http") -> Response:
    """Send a request with exactly this target, its headers joined as gunicorn joins them."""
    path, _, query = target.partition("?")
    if "://" in path:  # the absolute form of a target
        path = "/" + path.split("/", 3)[3]
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "RAW_URI": target,
        "REQUEST_URI": target,
        "REMOTE_ADDR": PEER,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SCRIPT_NAME": "",
        "wsgi.url_scheme": scheme,
    }
    sent = headers or []
    if not any(name == "Host" for name, _ in sent):
        sent = [("Host", HOST), *sent]
    for name, value in sent:
        key = "HTTP_" + name.upper().replace("-", "_")
        text = value.encode().decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return run(app, environ)


def run(app: Flask, environ: dict[str, Any]) -> Response:
    """Answer as a server does; the test client would build the request anew, and a sound one."""
    return Response(*run_wsgi_app(app, environ | {"wsgi.input": BytesIO(), "wsgi.errors": sys.stderr}, buffered=True))


def test_nobody_passes_for_another_client(make: Make) -> None:
    apps = {trusted: make(trusted_proxies=trusted) for trusted in (0, 1, 2)}
    passed = []
    for trusted, headers, address in ADDRESSES:
        response = send(apps[trusted], "/believed", headers)
        if response.json != {"address": address, "scheme": "http", "host": HOST}:
            passed.append((trusted, headers, response.json))
    assert not passed


def test_a_trusted_proxy_is_believed(make: Make) -> None:
    told = [FOR("203.0.113.9"), PROTO("https"), XHOST("school.example.org")]
    believed = {"address": "203.0.113.9", "scheme": "https", "host": "school.example.org"}
    assert send(make(trusted_proxies=1, https=True), "/believed", told).json == believed
    further = [FOR("203.0.113.9, 10.0.0.1"), PROTO("HTTPS, http"), XHOST("school.example.org:8443, inner")]
    assert send(make(trusted_proxies=2, https=True), "/believed", further).json == believed | {"host": "school.example.org:8443"}
    assert send(make(), "/believed", told).json == {"address": PEER, "scheme": "http", "host": HOST}


def test_nobody_avoids_https(make: Make) -> None:
    apps = {trusted: make(trusted_proxies=trusted, https=True) for trusted in (0, 1, 2)}
    passed = []
    for trusted, headers in PRETENDED_HTTPS:
        for target in ("/", "/believed", "/api/v1/courses"):
            response = send(apps[trusted], target, headers)
            sent_to = (response.status_code, response.headers.get("Location"))
            if sent_to != (308, f"https://{HOST}{target}") or "Strict-Transport-Security" in response.headers:
                passed.append((trusted, headers, sent_to))
    for target in NOT_PROBES:
        response = send(apps[0], target)
        location = response.headers.get("Location", "")
        if response.status_code != 308 or not location.startswith(f"https://{HOST}/"):
            passed.append((0, target, location))
    assert not passed


def test_a_probe_needs_no_https_and_an_old_one_no_host(make: Make) -> None:
    app = make(https=True)
    for path in ("/livez", "/readyz", "/health"):
        assert send(app, path).status_code == 200
    old = {"REQUEST_METHOD": "GET", "PATH_INFO": "/livez", "SERVER_PROTOCOL": "HTTP/1.0", "SERVER_NAME": "x", "SERVER_PORT": "80"}
    assert run(app, old | {"wsgi.url_scheme": "http"}).status_code == 200
    assert run(app, old | {"wsgi.url_scheme": "http", "SERVER_PROTOCOL": "HTTP/1.1"}).status_code == 400


def protected(app: Flask) -> list[tuple[str, str]]:
    """Return method and path of every operation that somebody must be signed in for."""
    found = []
    for rule in app.url_map.iter_rules():
        if getattr(app.view_functions[rule.endpoint], "requires", PUBLIC) != PUBLIC:
            path = re.sub("<[^>]*>", "1", rule.rule)
            found += [(method, path) for method in (rule.methods or set()) - {"OPTIONS"}]
    assert len(found) >= 20
    return found


def test_nobody_avoids_signing_in(make: Make) -> None:
    app = make()
    passed = []
    for method, path in protected(app):
        sent = [(name, change(path), []) for name, change in PATHS] + [(str(headers), path, headers) for headers in PROOFS]
        for name, target, headers in sent:
            response = send(app, target, headers, method)
            # 403: an unsafe request from a foreign page is refused before anybody asks who sends it.
            if response.status_code not in (401, 403, 404, 405):
                passed.append((name, method, target, response.status_code))
        if send(app, path, method=method).status_code != 401:
            passed.append(("without anything", method, path, 401))
    assert not passed


def test_another_method_or_address_in_a_header_is_not_followed(make: Make, rows: Any) -> None:
    app = make()
    signed_in = app.test_client()
    assert signed_in.post("/api/v1/auth/register", json=ADA).status_code == 201
    address = f"/api/v1/auth/sessions/{rows(sessions)[0]['id']}"

    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        assert signed_in.get(address, headers={name: "DELETE"}).status_code == 405
        assert signed_in.get(address + "?_method=DELETE", headers={name: "DELETE"}).status_code == 405
    for name in ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "Script-Name"):
        assert signed_in.get("/livez", headers={name: "/api/v1/me"}).json == {"status": "ok"}
        assert signed_in.get("/nothing", headers={name: "/api/v1/me"}).status_code == 404
    assert rows(sessions)[0]["revoked_at"] is None


def test_a_host_that_is_none_is_refused(make: Make) -> None:
    apps = [make(), make(https=True), make(trusted_proxies=1)]
    passed = []
    for host in BAD_HOSTS:
        answers = [send(apps[0], "/believed", [("Host", host)]), send(apps[1], "/believed", [("Host", host)])]
        if host.strip():  # without a value the proxy did not say
            answers.append(send(apps[2], "/believed", [XHOST(host.replace(",", ";"))]))
        for response in answers:
            right = response.status_code == 400 and response.content_type == "application/problem+json"
            if not right or list(response.json["errors"]) != ["Host"] or "evil" in response.get_data(as_text=True):  # type: ignore[index]
                passed.append((host, response.status_code, response.get_data()))
    assert not passed
    for host in GOOD_HOSTS:
        assert send(apps[0], "/believed", [("Host", host)]).json["host"] == host  # type: ignore[index]


ALLOWED = ("learn.example.org", ".school.example", "203.0.113.9", "[2001:db8::1]")
SERVED = [
    *("learn.example.org", "LEARN.example.org.", "learn.example.org:8000", "school.example", "a.b.school.example"),
    *("203.0.113.9:81", "[2001:db8::1]:8443"),
]
NOT_SERVED = [
    *("example.org", "x.learn.example.org", "learn.example.org.evil.example", "evillearn.example.org", "evilschool.example"),
    *("localhost", "127.0.0.1", "203.0.113.90", "[2001:db8::2]"),
]


def test_a_host_that_is_not_served_here_is_refused(make: Make) -> None:
    direct, behind, secure = (make(allowed_hosts=ALLOWED, **more) for more in ({}, {"trusted_proxies": 1}, {"https": True}))
    for host in NOT_SERVED:
        for response in (
            send(direct, "/believed", [("Host", host)]),
            send(behind, "/believed", [XHOST(host)]),
            send(secure, "/believed", [("Host", host)]),  # and is sent nowhere
            send(direct, "/nothing", [("Host", host)]),
            send(direct, "/api/v1/courses", [("Host", host)], "POST"),
            send(direct, "/livez/", [("Host", host)]),
        ):
            assert (response.status_code, response.content_type) == (400, "application/problem+json"), host
            assert list(response.json["errors"]) == ["Host"] and host not in response.get_data(as_text=True)  # type: ignore[index]
    for host in SERVED:
        assert send(direct, "/believed", [("Host", host)]).json["host"] == host  # type: ignore[index]
        assert send(behind, "/believed", [("Host", "10.0.0.1"), XHOST(host)]).json["host"] == host  # type: ignore[index]


def test_probes_by_address_are_answered_whatever_hosts_are_served(make: Make) -> None:
    app = make(allowed_hosts=ALLOWED)
    for path in ("/livez", "/readyz"):
        assert send(app, path, [("Host", "10.0.0.7:8000")]).status_code == 200
        assert send(app, path, [("Host", "<script>")]).status_code == 400, "no host at all"


def test_nobody_is_sent_to_a_foreign_host(make: Make) -> None:
    plain, secure = make(https=True), make()
    spoofed: list[Headers] = [
        [],
        [XHOST("evil.example"), ("Forwarded", "host=evil.example")],
        [("X-Host", "evil.example"), ("X-Forwarded-Server", "evil.example"), ("X-HTTP-Host-Override", "evil.example")],
        [("Origin", "https://evil.example"), ("Referer", "https://evil.example/")],
    ]
    passed = []
    for target in ELSEWHERE:
        for headers in spoofed:
            first = send(plain, target, headers).headers["Location"]
            if urlsplit(first).netloc != HOST or not first.startswith(f"https://{HOST}/") or "\n" in first or "\\" in first:
                passed.append((target, headers, first))
            response = send(secure, target, headers, scheme="https")
            if "Location" in response.headers or response.status_code not in (200, 404, 405):
                passed.append((target, headers, response.headers.get("Location", str(response.status_code))))
            response.close()
    assert not passed


def test_addresses_in_answers_name_no_host(make: Make) -> None:
    client = make(trusted_proxies=1).test_client()
    spoofed = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    response = client.post("/api/v1/auth/register", json=ADA, headers=spoofed)

    assert response.status_code == 201
    assert response.headers["Location"] == "/api/v1/me"
    for path in ("/", "/api/docs", "/api/v1/openapi.json", "/nothing", "/api/v1/courses", "/api/v1/me", "/health"):
        answer = client.get(path, headers=spoofed | {"Accept": "text/html, */*;q=0.1"})
        assert "evil.example" not in answer.text + str(answer.headers), path


def test_the_server_itself_believes_nobody_either(tmp_path: Path, database_url: str) -> None:
    """Gunicorn has its own ideas of whom to believe, and every request of this test comes from 127.0.0.1."""
    with Server(tmp_path, database_url, "--env", "CODYVERSE_HTTPS=1") as server:
        for headers in (
            "X-Forwarded-Proto: https",
            "X-Forwarded-Ssl: on",
            "X-Forwarded-Protocol: ssl",
            "Script_Name: /livez",
            "Path_Info: /livez",
            "Path-Info: /livez",
        ):
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
                request = f"GET /api/v1/courses HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\nConnection: close\r\n\r\n"
                connection.sendall(request.encode())
                answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
            assert answer.startswith("HTTP/1.1 308 "), headers
            assert f"\r\nLocation: https://{HOST}/api/v1/courses\r\n" in answer, headers
