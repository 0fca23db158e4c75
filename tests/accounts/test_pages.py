"""Signing in and out with a browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from codyverse import create_app
from codyverse.accounts.models import sessions
from codyverse.accounts.pages import way
from codyverse.accounts.service import change_role
from codyverse.database import Database
from codyverse.operations import components
from codyverse.operations.audit.reading import list_entries
from tests.conftest import Learner, make_settings
from tests.one_engine import cheapest  # noqa: F401  (a fixture)

BROWSER = {"Accept": "text/html"}


@pytest.fixture
def browser(app: Flask) -> FlaskClient:
    return app.test_client()


def token(page: str) -> str:
    found = re.search(r'name="token" value="([^"]+)"', page)
    assert found is not None, page
    return found[1]


def sign_in(browser: FlaskClient, email: str, password: str, **more: Any) -> TestResponse:
    page = browser.get("/login", headers=BROWSER).text
    form = {"email": email, "password": password, "token": token(page), **more}
    return browser.post("/login", data=form, headers={**BROWSER, "Origin": "http://localhost"})


def test_it_works(browser: FlaskClient, learner: Learner, rows: Callable[..., list[dict[str, Any]]]) -> None:
    response = sign_in(browser, learner.email.upper(), learner.password)

    assert (response.status_code, response.headers["Location"]) == (303, "/")
    assert response.headers["Cache-Control"] == "no-store"
    assert browser.get("/api/v1/me").json["id"] == learner.id  # type: ignore[index]
    assert len(rows(sessions, sessions.c.user_id == learner.id)) == 2
    page = browser.get("/login").text
    assert "Hello, Ada" in page
    assert "Operations" not in page


def test_an_operator_is_led_to_the_dashboard(browser: FlaskClient, learner: Learner, database: Database) -> None:
    change_role(database, learner.email, "admin")
    assert sign_in(browser, learner.email, learner.password).headers["Location"] == "/operations"
    assert 'href="/operations"' in browser.get("/login").text


def test_somebody_who_was_on_the_way_goes_on(browser: FlaskClient, learner: Learner) -> None:
    page = browser.get("/login?next=/operations?span%3Dweek").text
    assert 'name="next" value="/operations?span=week"' in page
    response = sign_in(browser, learner.email, learner.password, next="/operations?span=week")
    assert response.headers["Location"] == "/operations?span=week"


@pytest.mark.parametrize(
    "text",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "evil",
        "",
        "/a\r\nSet-Cookie: a=b",
        "/\t/evil.example",
        "/\u00e9",
        "/" + "a" * 500,
        "///evil.example",
    ],
)
def test_nobody_is_led_elsewhere(browser: FlaskClient, learner: Learner, text: str) -> None:
    assert way(text) == ""
    assert sign_in(browser, learner.email, learner.password, next=text).headers["Location"] == "/"


@pytest.mark.parametrize("text", ["/", "/operations", "/lessons/3?a=b&c=%2F", "/a:b"])
def test_ways_of_ours(text: str) -> None:
    assert way(text) == text


def test_a_wrong_password_and_an_unknown_address_get_the_same_page(browser: FlaskClient, learner: Learner) -> None:
    wrong = sign_in(browser, learner.email, "seven quiet otter")
    unknown = sign_in(browser, "nobody@example.org", "seven quiet otter")

    assert wrong.status_code == unknown.status_code == 401
    assert "The e-mail address or the password is wrong." in wrong.text
    assert wrong.text.replace(learner.email, "") == unknown.text.replace("nobody@example.org", "")
    assert "seven quiet" not in wrong.text
    assert browser.get("/api/v1/me").status_code == 401


@pytest.mark.parametrize("given", [{"email": ""}, {"password": ""}, {"password": "x" * 10_000}, {"email": "a" * 300}])
def test_what_cannot_be_right_is_told(browser: FlaskClient, learner: Learner, given: dict[str, str]) -> None:
    response = sign_in(browser, **{"email": learner.email, "password": learner.password, **given})
    assert response.status_code == 422
    assert "Enter your e-mail address and your password." in response.text


def test_what_was_typed_is_text(browser: FlaskClient) -> None:
    response = sign_in(browser, '"><script>alert(1)</script>', "seven quiet otters")
    assert response.status_code == 401
    assert "<script>" not in response.text


def test_a_form_that_another_site_made_signs_nobody_in(browser: FlaskClient, app: Flask, learner: Learner) -> None:
    form = {"email": learner.email, "password": learner.password}
    foreign = token(app.test_client().get("/login").text)
    browser.get("/login")
    for sent in (form, {**form, "token": foreign}, {**form, "token": "\u00e9"}):
        response = browser.post("/login", data=sent)
        assert response.status_code == 403
        assert "Try again." in response.text
    answer = browser.post("/login", data=form, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert browser.get("/api/v1/me").status_code == 401


def test_the_form_stays_good_in_another_tab(browser: FlaskClient, learner: Learner) -> None:
    first = token(browser.get("/login").text)
    browser.get("/login")
    response = browser.post("/login", data={"email": learner.email, "password": learner.password, "token": first})
    assert response.status_code == 303


def test_guessing_is_limited_and_told(database_url: str, tmp_path: Path, learner: Learner) -> None:
    app = create_app(make_settings(tmp_path, database_url, limit_sign_in="2 per minute"))
    browser = app.test_client()
    statuses = [sign_in(browser, learner.email, "seven quiet otter").status_code for _ in range(3)]
    response = sign_in(browser, learner.email, learner.password)
    components.of(app).close()

    assert statuses == [401, 401, 429]
    assert response.status_code == 429
    assert "Too many attempts to sign in. Try again in" in response.text
    assert int(response.headers["Retry-After"]) > 0


def test_who_signs_in_once_more_leaves_no_session_behind(browser: FlaskClient, app: Flask, learner: Learner) -> None:
    sign_in(browser, learner.email, learner.password)
    before = browser.get_cookie("codyverse")
    other = app.test_client()
    form = token(other.get("/login", headers=BROWSER).text)
    assert before is not None
    other.set_cookie("codyverse", before.value)
    sent = {"email": learner.email, "password": learner.password, "token": form}
    assert other.post("/login", data=sent, headers={**BROWSER, "Origin": "http://localhost"}).status_code == 303
    assert other.get("/api/v1/me").status_code == 200
    assert browser.get("/api/v1/me").status_code == 401


def test_signing_out(browser: FlaskClient, app: Flask, learner: Learner, rows: Callable[..., list[dict[str, Any]]]) -> None:
    sign_in(browser, learner.email, learner.password)
    page = browser.get("/login").text
    assert browser.post("/logout").status_code == 403
    assert browser.get("/api/v1/me").status_code == 200

    response = browser.post("/logout", data={"token": token(page)})

    assert (response.status_code, response.headers["Location"]) == (303, "/login")
    assert browser.get("/api/v1/me").status_code == 401
    assert [row["revoked_at"] is not None for row in rows(sessions, sessions.c.user_id == learner.id)].count(True) == 1
    assert next(entry["action"] for entry in list_entries(app.extensions["codyverse.database"], limit=1)) == "sign_out"


def test_signing_out_of_a_session_that_has_ended_is_no_error(browser: FlaskClient, learner: Learner) -> None:
    sign_in(browser, learner.email, learner.password)
    page = browser.get("/login").text
    secret = browser.get_cookie("codyverse")
    assert secret is not None
    browser.post("/logout", data={"token": token(page)})
    browser.set_cookie("codyverse", secret.value)
    assert browser.post("/logout", data={"token": token(page)}).status_code == 303


def test_the_page_needs_nothing_inline(browser: FlaskClient) -> None:
    response = browser.get("/login")
    assert "form-action 'self'" in response.headers["Content-Security-Policy"]
    assert response.headers["Cache-Control"] == "no-store"
    assert not re.search(r"<script|<style|\bstyle=|\bon\w+=", response.text)


def test_the_cookie_of_the_form_belongs_to_the_host(database_url: str, tmp_path: Path) -> None:
    app = create_app(make_settings(tmp_path, database_url, session_cookie_secure=True))
    (cookie,) = app.test_client().get("/login", base_url="https://localhost").headers.getlist("Set-Cookie")
    components.of(app).close()
    assert cookie.startswith("__Host-codyverse-form=")
    for attribute in ("Secure", "HttpOnly", "Path=/", "SameSite=Lax"):
        assert attribute in cookie
