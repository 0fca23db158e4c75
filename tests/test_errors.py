from __future__ import annotations

import logging
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.exceptions import Gone, UnsupportedMediaType

from codyverse import errors
from tests.one_engine import cheapest  # noqa: F401  (a fixture)

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}

EVERY_ERROR = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.CodyverseError) and value is not errors.CodyverseError
]


def raising(app: Flask, error: Exception) -> FlaskClient:
    """Return a client of the application with `/api/raise` and `/raise`, which raise the error."""

    def view() -> str:
        raise error

    app.add_url_rule("/api/raise", "raise-api", view)
    app.add_url_rule("/raise", "raise-page", view)
    return app.test_client()


@pytest.mark.parametrize("kind", EVERY_ERROR, ids=lambda kind: kind.__name__)
def test_each_of_our_exceptions_is_answered_as_a_problem(app: Flask, kind: type[errors.CodyverseError]) -> None:
    response = raising(app, kind("A sentence for people.", {"answers.0.text": ["Too long."]})).get("/api/raise")

    assert response.status_code == kind.status
    assert response.content_type == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.json == {
        "type": f"urn:codyverse:problem:{kind.type}",
        "title": kind.title,
        "status": kind.status,
        "detail": "A sentence for people.",
        "errors": {"answers.0.text": ["Too long."]},
        "request_id": response.headers["X-Request-ID"],
    }
    for name, value in kind.headers.items():
        assert response.headers[name] == value


def test_types_of_problems_are_names_of_one_thing_each() -> None:
    types = [kind.type for kind in EVERY_ERROR]

    assert len(set(types)) == len(types)


def test_nothing_at_an_address(client: FlaskClient) -> None:
    response = client.get("/api/v1/nothing")

    assert response.status_code == 404
    assert response.json == {
        "type": "urn:codyverse:problem:not-found",
        "title": "Not found",
        "status": 404,
        "detail": "There is nothing at this address.",
        "request_id": response.headers["X-Request-ID"],
    }


def test_a_wrong_method_is_told_the_right_ones(client: FlaskClient) -> None:
    response = client.delete("/api/v1/courses")

    assert response.status_code == 405
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert response.content_type == "application/problem+json"


@pytest.mark.parametrize("error", [Gone(), UnsupportedMediaType("The body must be application/json.")])
def test_errors_of_the_framework_keep_their_status_and_reason(app: Flask, error: Any) -> None:
    response = raising(app, error).get("/api/raise")

    assert (response.status_code, response.content_type) == (error.code, "application/problem+json")
    assert response.json is not None
    assert response.json["detail"] == error.description


def test_a_field_that_its_schema_refuses_is_named(client: FlaskClient) -> None:
    response = client.get("/api/v1/courses?limit=many")

    assert response.status_code == 422
    assert response.json == {
        "type": "urn:codyverse:problem:invalid-input",
        "title": "Invalid input",
        "status": 422,
        "detail": "Some fields cannot be used.",
        "errors": {"limit": ["Must be a whole number."]},
        "request_id": response.headers["X-Request-ID"],
    }


@pytest.mark.parametrize(
    "error",
    [sa.exc.OperationalError("SELECT secret", {}, Exception("password=hunter2")), sa.exc.TimeoutError("no connection is free")],
)
def test_a_database_that_cannot_be_used_is_503_and_told_to_come_back(
    app: Flask, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "codyverse.errors"):
        response = raising(app, error).get("/api/raise")

    assert response.status_code == 503
    assert response.headers["Retry-After"] == "2"
    assert response.json is not None
    assert response.json["type"] == "urn:codyverse:problem:unavailable"
    assert "hunter2" not in response.text
    assert [record.name for record in caplog.records] == ["codyverse.errors"]


def test_what_nobody_foresaw_is_logged_and_not_told(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False
    with caplog.at_level(logging.ERROR, "codyverse.errors"):
        response = raising(app, RuntimeError("password=hunter2")).get("/api/raise")

    assert response.status_code == 500
    assert response.json == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "Something went wrong on our side.",
        "request_id": response.headers["X-Request-ID"],
    }
    assert [record.getMessage() for record in caplog.records] == ["unexpected error"]
    assert caplog.records[0].exc_info


def test_a_browser_gets_a_page_with_a_way_back(client: FlaskClient) -> None:
    response = client.get("/nothing", headers=BROWSER)

    assert response.status_code == 404
    assert response.content_type == "text/html; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    assert "script-src 'self'" in response.headers["Content-Security-Policy"]
    assert "<title>Not found · CodyVerse</title>" in response.text
    assert "Error 404" in response.text
    assert "There is nothing at this address." in response.text
    assert 'href="/"' in response.text


def test_a_page_escapes_what_an_error_says(app: Flask) -> None:
    response = raising(app, errors.NotFound("<script>alert(1)</script>")).get("/raise", headers=BROWSER)

    assert response.status_code == 404
    assert "<script" not in response.text


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/problem+json, text/html;q=0.5"])
def test_a_program_gets_json_from_pages_too(client: FlaskClient, accept: str | None) -> None:
    response = client.get("/nothing", headers={"Accept": accept} if accept else {})

    assert response.content_type == "application/problem+json"


def test_the_api_answers_json_even_to_a_browser(client: FlaskClient) -> None:
    response = client.get("/api/v1/nothing", headers=BROWSER)

    assert response.content_type == "application/problem+json"
