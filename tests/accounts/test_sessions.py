from __future__ import annotations

import pytest

from codyverse.accounts.models import sessions

URL = "/api/v1/auth/sessions"
LOGIN = "/api/v1/auth/login"


@pytest.fixture
def elsewhere(app, learner):
    """A second browser of the same learner."""
    client = app.test_client()
    client.post(LOGIN, json={"email": learner.email, "password": learner.password}, headers={"User-Agent": "Elsewhere/1"})
    return client


def test_it_works(learner, elsewhere, make_learner):
    make_learner()
    response = learner.client.get(URL)

    assert response.status_code == 200
    assert [(item["user_agent"].partition("/")[0], item["current"]) for item in response.json["items"]] == [
        ("Elsewhere", False),
        ("Werkzeug", True),
    ]
    assert response.json["next_cursor"] is None
    assert response.json["items"][0] == {
        "id": response.json["items"][0]["id"],
        "current": False,
        "user_agent": "Elsewhere/1",
        "created_at": "2026-11-24T12:00:00Z",
        "last_seen_at": "2026-11-24T12:00:00Z",
        "expires_at": "2026-12-24T12:00:00Z",
    }


def test_pages_follow_each_other(learner, elsewhere):
    whole = learner.client.get(URL).json["items"]
    first = learner.client.get(URL, query_string={"limit": 1}).json
    second = learner.client.get(URL, query_string={"limit": 1, "cursor": first["next_cursor"]}).json

    assert first["items"] + second["items"] == whole
    assert second["next_cursor"] is None


def test_a_page_that_cannot_be_is_refused(learner):
    for query, field in [("limit=0", "limit"), ("limit=101", "limit"), ("limit=x", "limit"), ("cursor=x", "cursor")]:
        response = learner.client.get(f"{URL}?{query}")
        assert (response.status_code, list(response.json["errors"])) == (422, [field]), query


def test_a_cursor_of_another_list_is_refused(learner):
    learner.client.post("/api/v1/auth/tokens", json={"name": "a", "scopes": ["profile:read"]})
    learner.client.post("/api/v1/auth/tokens", json={"name": "b", "scopes": ["profile:read"]})
    cursor = learner.client.get("/api/v1/auth/tokens?limit=1").json["next_cursor"]

    assert learner.client.get(URL, query_string={"cursor": cursor}).status_code == 422


def test_another_browser_is_signed_out(learner, elsewhere, rows, clock):
    [item] = [item for item in learner.client.get(URL).json["items"] if not item["current"]]
    response = learner.client.delete(f"{URL}/{item['id']}")

    assert (response.status_code, response.data) == (204, b"")
    assert "Set-Cookie" not in response.headers
    assert [row["revoked_at"] for row in rows(sessions, sessions.c.id == item["id"])] == [clock.now]
    assert elsewhere.get("/api/v1/me").status_code == 401
    assert [item["current"] for item in learner.client.get(URL).json["items"]] == [True]
    assert learner.client.delete(f"{URL}/{item['id']}").status_code == 404


def test_one_s_own_session_can_be_ended_too(learner, rows):
    [item] = learner.client.get(URL).json["items"]
    response = learner.client.delete(f"{URL}/{item['id']}")

    assert response.status_code == 204
    assert response.headers["Set-Cookie"].startswith("codyverse=; ")
    assert learner.client.get_cookie("codyverse") is None
    assert rows(sessions)[0]["revoked_at"] is not None


def test_logging_out_ends_this_session_only(learner, elsewhere, rows):
    secret = learner.client.get_cookie("codyverse").value
    others = [item["id"] for item in learner.client.get(URL).json["items"] if not item["current"]]
    response = learner.client.post("/api/v1/auth/logout")

    assert (response.status_code, response.data) == (204, b"")
    assert learner.client.get_cookie("codyverse") is None
    assert [row["id"] for row in rows(sessions, sessions.c.revoked_at.is_(None))] == others
    learner.client.set_cookie("codyverse", secret)
    assert learner.client.get("/api/v1/me").status_code == 401
    assert learner.client.post("/api/v1/auth/logout").status_code == 401
    assert elsewhere.get("/api/v1/me").status_code == 200


def test_what_is_no_number_of_a_session_is_not_found_and_named(learner, rows):
    for session_id in ("0", "-1", "x", "1.0", str(2**63), "\u0661", "9" * 30):
        response = learner.client.delete(f"{URL}/{session_id}")
        assert (response.status_code, response.mimetype) == (404, "application/problem+json"), session_id
        assert list(response.json["errors"]) == ["id"]
    assert rows(sessions)[0]["revoked_at"] is None


def test_what_is_no_session_is_not_found(learner, rows):
    response = learner.client.delete(f"{URL}/{2**63 - 1}")

    assert response.status_code == 404
    assert response.json["type"] == "urn:codyverse:problem:not-found"
    assert rows(sessions)[0]["revoked_at"] is None


def test_somebody_else_s_session_is_not_found(learner, make_learner, rows):
    other = make_learner()
    [item] = other.client.get(URL).json["items"]
    response = learner.client.delete(f"{URL}/{item['id']}")

    assert response.status_code == 404
    assert [row["revoked_at"] for row in rows(sessions)] == [None, None]
    assert other.client.get("/api/v1/me").status_code == 200


def test_a_session_ends_after_its_days(learner, clock):
    clock.advance(days=30, seconds=-1)
    assert learner.client.get("/api/v1/me").status_code == 200
    clock.advance(seconds=1)
    assert learner.client.get("/api/v1/me").status_code == 401


def test_being_seen_is_written_every_ten_minutes_at_most(learner, clock, rows):
    began = clock.now
    clock.advance(minutes=9)
    learner.client.get("/api/v1/me")
    assert rows(sessions)[0]["last_seen_at"] == began
    clock.advance(minutes=1)
    learner.client.get("/api/v1/me")
    assert rows(sessions)[0]["last_seen_at"] == clock.now
