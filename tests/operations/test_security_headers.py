"""The headers, the way to HTTPS, reports of violations, and what Mozilla's HTTP Observatory would say."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from codyverse import create_app
from codyverse.http.csp_reports import CSP_REPORT, LINES_A_MINUTE, MAX_BYTES, REPORTS_JSON, Violations
from codyverse.operations.security_headers import DATA_POLICY
from tests.conftest import IMAGE_DIGEST, ImportedCatalogue, make_settings
from tests.one_engine import cheapest  # noqa: F401  (a fixture)

HOST = "https://learn.example.org"
PROXY = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "learn.example.org"}
REPORTS = "/api/v1/csp-reports"
ADA = {"email": "ada@example.org", "password": "seven quiet otters", "display_name": "Ada", "birth_date": "1990-12-10"}
HEADERS = (
    "Content-Security-Policy",
    "X-Frame-Options",
    "X-Content-Type-Options",
    "Referrer-Policy",
    "Permissions-Policy",
    "Cross-Origin-Opener-Policy",
    "Cross-Origin-Resource-Policy",
)

Make = Callable[..., Flask]


@pytest.fixture
def make(database_url: str, tmp_path: Path, clock: Any) -> Iterator[Make]:
    """Make applications as production is set up, with what a test chooses."""
    made = []

    def make(**chosen: Any) -> Flask:
        chosen = {"https": True, "session_cookie_secure": True} | chosen
        app = create_app(make_settings(tmp_path, database_url, **chosen))
        app.extensions["codyverse.database"].clock = clock
        made.append(app)
        return app

    yield make
    for app in made:
        app.extensions["codyverse.database"].close()


def directives(response: TestResponse) -> dict[str, list[str]]:
    policy = response.headers["Content-Security-Policy"]
    parts = [part.split() for part in policy.split(";")]
    assert len({part[0] for part in parts}) == len(parts), "a directive that comes twice is ignored"
    return {name: sources for name, *sources in parts}


def test_pages_load_their_own_files_only(client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    for path in ("/", "/courses/machines", f"/lessons/{catalogue.lesson('machines/next-word')}", "/api/docs"):
        response = client.get(path)
        policy = directives(response)
        assert policy["default-src"] == policy["script-src"] == policy["style-src"] == ["'self'"], path
        assert policy["img-src"] == (["'self'", "data:"] if path == "/api/docs" else ["'self'"])
        assert policy["connect-src"] == policy["font-src"] == policy["form-action"] == ["'self'"]
        assert policy["object-src"] == policy["base-uri"] == policy["frame-ancestors"] == ["'none'"]
        assert policy["report-uri"] == [REPORTS]
        assert response.headers["Reporting-Endpoints"] == f'{policy["report-to"][0]}="{REPORTS}"'
        assert "unsafe" not in response.headers["Content-Security-Policy"]


def test_every_answer_has_the_headers_errors_included(client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    for method, path, status in [
        ("GET", "/", 200),
        ("GET", "/api/v1/courses", 200),
        ("HEAD", "/api/v1/courses", 200),
        ("OPTIONS", "/api/v1/courses", 200),
        ("GET", "/static/app.css", 200),
        ("GET", f"/media/machines/{IMAGE_DIGEST}/three-dots.svg", 200),
        ("GET", "/livez", 200),
        ("GET", "/api/v1/me", 401),
        ("GET", "/nothing", 404),
        ("POST", "/", 405),
        ("POST", "/api/v1/auth/login", 422),
    ]:
        with client.open(path, method=method) as response:
            assert response.status_code == status, path
            for name in HEADERS:
                assert len(response.headers.getlist(name)) == 1, f"{name} of {method} {path}"
            assert response.headers["X-Frame-Options"] == "DENY"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Referrer-Policy"] == "same-origin"
            assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert "camera=()" in response.headers["Permissions-Policy"]
            assert response.headers.get("X-XSS-Protection", "0") == "0"


def test_data_may_do_nothing(client: FlaskClient) -> None:
    for path in ("/api/v1/courses", "/api/v1/me", "/livez", "/static/app.css", "/api/v1/openapi.json"):
        with client.get(path) as response:
            assert response.headers["Content-Security-Policy"] == DATA_POLICY, path


def test_a_page_that_was_kept_is_confirmed_with_the_same_policy(client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    first = client.get("/courses/machines")
    again = client.get("/courses/machines", headers={"If-None-Match": first.headers["ETag"]})

    assert again.status_code == 304
    assert again.headers["Content-Security-Policy"] == first.headers["Content-Security-Policy"]


def test_a_policy_of_a_view_stays(app: Flask) -> None:
    def view() -> Response:
        return Response("", mimetype="text/html", headers={"Content-Security-Policy": "sandbox"})

    app.add_url_rule("/own", view_func=view)
    assert app.test_client().get("/own").headers.getlist("Content-Security-Policy") == ["sandbox"]


def test_an_unexpected_error_has_the_headers(app: Flask) -> None:
    def view() -> Response:
        raise RuntimeError

    app.add_url_rule("/broken", view_func=view)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    response = app.test_client().get("/broken", headers={"Accept": "text/html"})
    assert response.status_code == 500
    assert directives(response)["script-src"] == ["'self'"]


def test_the_settings_add_sources(make: Make) -> None:
    app = make(csp_connect=("https://api.openai.com",), csp_font=("https://fonts.example.org",))
    policy = directives(app.test_client().get("/", base_url=HOST))

    assert policy["connect-src"] == ["'self'", "https://api.openai.com"]
    assert policy["font-src"] == ["'self'", "https://fonts.example.org"]
    assert policy["script-src"] == policy["default-src"] == ["'self'"]


def test_two_applications_of_a_process_share_nothing(make: Make) -> None:
    first = make(csp_connect=("https://first.example.org",), hsts_seconds=1000)
    second = make(feature_security=False)
    third = make(csp_connect=("https://third.example.org",), hsts_seconds=3000)

    for app, seconds, source in ((first, 1000, "https://first.example.org"), (third, 3000, "https://third.example.org")):
        for path in ("/api/docs", "/", "/api/docs"):
            response = app.test_client().get(path, base_url=HOST)
            assert directives(response)["connect-src"] == ["'self'", source]
            assert response.headers["Strict-Transport-Security"] == f"max-age={seconds}"
    assert "Content-Security-Policy" not in second.test_client().get("/api/docs", base_url=HOST).headers


def test_http_is_sent_to_https_except_for_probes(make: Make) -> None:
    client = make().test_client()

    for method in ("GET", "HEAD", "POST", "DELETE"):
        response = client.open("/api/v1/courses?q=a%26b&q=%C3%A9", method=method, base_url="http://learn.example.org:8000")
        assert response.status_code == 308
        assert response.headers["Location"] == f"{HOST}/api/v1/courses?q=a%26b&q=%C3%A9"
        assert response.headers["Cache-Control"] == "no-store"
        assert "Strict-Transport-Security" not in response.headers
    for path in ("/livez", "/readyz", "/health"):
        response = client.get(path, base_url="http://learn.example.org")
        assert response.status_code == 200
        assert "Strict-Transport-Security" not in response.headers


@pytest.mark.parametrize("host", ["[2001:db8::1]", "[2001:db8::1]:8000", "203.0.113.9:8000", "localhost"])
def test_the_redirect_keeps_the_host_without_its_port(make: Make, host: str) -> None:
    response = make().test_client().get("/", base_url=f"http://{host}")
    name = host.removesuffix(":8000")
    assert response.headers["Location"] == f"https://{name}/"


def test_https_is_kept_for_as_long_as_the_settings_say(make: Make) -> None:
    response = make().test_client().get("/", base_url=HOST)
    assert response.headers["Strict-Transport-Security"] == "max-age=31536000"
    cleared = make(hsts_seconds=0).test_client().get("/", base_url=HOST)
    assert cleared.headers["Strict-Transport-Security"] == "max-age=0"
    without = make(https=False).test_client()
    assert "Strict-Transport-Security" not in without.get("/", base_url=HOST).headers
    assert without.get("/", base_url="http://learn.example.org").status_code == 200


def test_the_feature_off_is_really_off_and_the_service_works(make: Make, catalogue: ImportedCatalogue) -> None:
    client = make(feature_security=False, session_cookie_secure=False).test_client()

    for path in ("/", "/api/v1/courses", "/api/docs", "/nothing"):
        response = client.get(path, base_url="http://learn.example.org")
        assert response.status_code == (404 if path == "/nothing" else 200)
        assert not {*HEADERS, "Strict-Transport-Security", "Reporting-Endpoints"} & set(response.headers.keys())
    assert client.post(REPORTS, json={}).status_code == 404
    assert client.post("/api/v1/auth/register", json=ADA, base_url="http://learn.example.org").status_code == 201
    assert client.get("/api/v1/me", base_url="http://learn.example.org").json["email"] == ADA["email"]  # type: ignore[index]


# Reports of violations.


def old_report(**values: Any) -> dict[str, Any]:
    report = {
        "document-uri": "https://learn.example.org/lessons/7?secret=ada%40example.org",
        "blocked-uri": "https://evil.example/steal.js?who=ada@example.org",
        "violated-directive": "script-src-elem 'self'",
        "effective-directive": "script-src-elem",
        "script-sample": "my diary",
    }
    return {"csp-report": report | values}


def new_report(**values: Any) -> dict[str, Any]:
    body = {
        "documentURL": "https://learn.example.org/courses/machines?secret=ada",
        "blockedURL": "inline",
        "effectiveDirective": "style-src-attr",
        "sample": "my diary",
    }
    return {"type": "csp-violation", "age": 1, "url": "https://learn.example.org/", "user_agent": "x", "body": body | values}


def send(client: FlaskClient, report: Any, media_type: str = CSP_REPORT) -> TestResponse:
    return client.post(REPORTS, data=json.dumps(report), content_type=media_type)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "codyverse.security"]


def test_a_report_is_logged_without_anything_personal(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "codyverse.security"):
        response = send(client, old_report())
        send(client, [new_report(), {"type": "deprecation", "body": {}}], REPORTS_JSON)

    assert (response.status_code, response.data) == (204, b"")
    assert "Content-Type" not in response.headers
    assert lines(caplog) == [
        "csp violation: directive=script-src-elem page=pages.lesson blocked=https://evil.example received=1",
        "csp violation: directive=style-src-attr page=pages.course blocked=inline received=2",
    ]


def test_a_report_cannot_write_what_it_likes_into_the_log(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "codyverse.security"):
        for value in ("a\nb", "x" * 500, "https://[", "https://ev il/", "<b>", 7, [], {}, None, "\ud800", "https://u:p@"):
            sent = json.dumps(old_report(**dict.fromkeys(old_report()["csp-report"], value)))
            client.post(REPORTS, data=sent, content_type=CSP_REPORT)

    assert lines(caplog)
    for line in lines(caplog):
        assert re.fullmatch(r"csp violation: directive=unknown page=(unknown|pages.home) blocked=unknown received=\d+", line)


def test_the_log_gets_a_bounded_number_of_lines(app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    now = 1000.0
    app.extensions["codyverse.csp_violations"] = Violations(clock=lambda: now)
    with caplog.at_level(logging.WARNING, "codyverse.security"):
        send(client, [new_report()] * 35, REPORTS_JSON)
        assert len(lines(caplog)) == LINES_A_MINUTE
        now += 61
        send(client, old_report())

    assert len(lines(caplog)) == LINES_A_MINUTE + 1
    assert lines(caplog)[-1].endswith("received=36")


@pytest.mark.parametrize(
    ("body", "media_type", "status", "names"),
    [
        (b"", CSP_REPORT, 400, None),
        (b"{", CSP_REPORT, 400, None),
        (b"\xff", REPORTS_JSON, 400, None),
        (b"[" * 5000, REPORTS_JSON, 400, None),
        (b"[]", CSP_REPORT, 422, "csp-report"),
        (b'{"csp-report": 1}', CSP_REPORT, 422, "csp-report"),
        (b"{}", REPORTS_JSON, 422, "body"),
        (b"[1]", REPORTS_JSON, 422, "0"),
        (b'[{"body": {}}]', REPORTS_JSON, 422, "0.type"),
        (b'[{"type": "x", "body": []}]', REPORTS_JSON, 422, "0.body"),
        (b"{}", "application/json", 415, None),
        (b"a=b", "application/x-www-form-urlencoded", 415, None),
        (b" " * (MAX_BYTES + 1), CSP_REPORT, 413, None),
    ],
)
def test_a_bad_report_is_refused(client: FlaskClient, body: bytes, media_type: str, status: int, names: str | None) -> None:
    response = client.post(REPORTS, data=body, content_type=media_type)

    assert (response.status_code, response.content_type) == (status, "application/problem+json")
    assert response.json is not None
    assert names is None or list(response.json["errors"]) == [names]


# Mozilla's HTTP Observatory: the rules of github.com/mdn/mdn-http-observatory, src/analyzer/tests and src/grader/charts.js, in
# November 2026. A score begins at 100; extra points count only when at least 90 are left without them.

BROAD = {"ftp:", "http:", "https:", "*", "http://*", "http://*.*", "https://*", "https://*.*"}
SIX_MONTHS_S = 15_768_000


def rate_policy(response: TestResponse) -> int:
    policy = directives(response)
    default = policy.get("default-src", ["*"])
    script, style = policy.get("script-src", default), policy.get("style-src", default)
    if {"'unsafe-inline'", "data:", *BROAD} & set(script) or BROAD & set(policy.get("object-src", default)):
        return -20
    if any(source.startswith(("http:", "ftp:")) for sources in policy.values() for source in sources):
        return -20
    if "'unsafe-eval'" in script + style:
        return -10
    if {"'unsafe-inline'", "data:", *BROAD} & set(style):
        return 0
    return 10 if default == ["'none'"] else 5


def rate_cookies(response: TestResponse) -> int:
    """Rate stricter than the Observatory, which asks HttpOnly of cookies named `sess` or `login` only."""
    cookies = [morsel for value in response.headers.getlist("Set-Cookie") for morsel in SimpleCookie(value).values()]
    if any(not cookie["secure"] for cookie in cookies):
        return -40
    if any(not cookie["httponly"] for cookie in cookies if "csrf" not in cookie.key):
        return -30
    if any(cookie["samesite"] not in ("Lax", "Strict") for cookie in cookies):
        return -20
    return 5 if cookies else 0


def rate_transport(response: TestResponse) -> int:
    found = re.match(r"max-age=(\d+)", response.headers.get("Strict-Transport-Security", ""))
    return -20 if found is None else -10 if int(found[1]) < SIX_MONTHS_S else 0


def rate_redirection(plain: TestResponse) -> int:
    location = plain.headers.get("Location", "")
    return 0 if plain.status_code in (301, 302, 307, 308) and location.startswith(f"{HOST}/") else -20


def rate_scripts(response: TestResponse) -> int:
    scripts = re.findall(r"<script[^>]*\bsrc=\"([^\"]*)\"", response.text) if response.mimetype == "text/html" else []
    return -50 if any(not address.startswith("/") or address.startswith("//") for address in scripts) else 0


def rate_cors(response: TestResponse) -> int:
    universal = response.headers.get("Access-Control-Allow-Origin") == "https://evil.example"
    return -50 if universal and response.headers.get("Access-Control-Allow-Credentials") == "true" else 0


def score(response: TestResponse, plain: TestResponse) -> int:
    headers = response.headers
    modifiers = [
        rate_policy(response),
        rate_cookies(response),
        rate_transport(response),
        rate_redirection(plain),
        rate_scripts(response),
        rate_cors(response),
        0 if headers.get("X-Content-Type-Options") == "nosniff" else -5,
        5 if "frame-ancestors" in directives(response) else -20,
        5 if headers.get("Referrer-Policy") in ("no-referrer", "same-origin", "strict-origin") else -5,
        10 if headers.get("Cross-Origin-Opener-Policy") == "same-origin" else 0,
        10 if headers.get("Cross-Origin-Resource-Policy") in ("same-origin", "same-site") else 0,
    ]
    without_extra = 100 + sum(modifier for modifier in modifiers if modifier < 0)
    return without_extra + sum(modifier for modifier in modifiers if modifier > 0) if without_extra >= 90 else without_extra


def test_the_observatory_gives_an_a_plus(make: Make, catalogue: ImportedCatalogue) -> None:
    client = make(trusted_proxies=1).test_client()
    asked = PROXY | {"Origin": "https://evil.example", "Accept": "text/html, application/json;q=0.9"}
    with_cookies = client.post("/api/v1/auth/register", json=ADA, headers=PROXY)

    assert with_cookies.status_code == 201
    assert rate_cookies(with_cookies) == 5
    assert all(cookie.startswith("__Host-") for cookie in with_cookies.headers.getlist("Set-Cookie"))
    assert score(with_cookies, client.post("/api/v1/auth/register", headers=PROXY | {"X-Forwarded-Proto": "http"})) >= 100
    for path in [
        *("/", "/courses/machines", f"/lessons/{catalogue.lesson('machines/next-word')}", "/api/docs", "/nothing"),
        *("/api/v1/courses", "/api/v1/me", "/api/v1/openapi.json", "/api/v1/nothing"),
    ]:
        response = client.get(path, headers=asked)
        plain = client.get(path, headers=asked | {"X-Forwarded-Proto": "http"})
        assert response.status_code in (200, 404)
        assert score(response, plain) >= 100, path


def test_the_rating_can_fail(make: Make) -> None:
    client = make(feature_security=False, session_cookie_secure=False).test_client()
    response = client.post("/api/v1/auth/register", json=ADA, base_url=HOST)
    response.headers["Content-Security-Policy"] = "default-src 'self' 'unsafe-inline'"
    assert rate_cookies(response) == -40
    assert score(response, client.get("/", base_url="http://learn.example.org")) < 50


@pytest.mark.parametrize("member", ["document-uri", "blocked-uri", "violated-directive"])
def test_a_report_of_anything_but_texts_is_counted_and_breaks_nothing(client: FlaskClient, member: str) -> None:
    deep = b'{"csp-report": {"' + member.encode() + b'": ' + b"[" * 900 + b"]" * 900 + b"}}"
    assert client.post(REPORTS, data=deep, content_type=CSP_REPORT).status_code == 204
