"""Whom a process remembers, and how soon it forgets."""

from __future__ import annotations

import dataclasses

import pytest
import sqlalchemy as sa

from codyverse import create_app
from codyverse.accounts import service
from codyverse.operations import components

ME = "/api/v1/me"


@pytest.fixture
def other_worker(app, clock):
    """Another process on the host, as far as anything that they share goes."""
    other = create_app(app.config["CODYVERSE"])
    other.extensions["codyverse.database"].clock = clock
    yield other
    components.of(other).close()


def asked(database, read) -> int:
    """How many statements about credentials a request runs."""
    sent = []

    def see(connection, cursor, statement, *rest):
        sent.append(statement)

    sa.event.listen(database.engine, "before_cursor_execute", see)
    read()
    sa.event.remove(database.engine, "before_cursor_execute", see)
    return sum("token_hash" in statement for statement in sent)


def token(learner, *scopes) -> tuple[int, dict[str, str]]:
    made = learner.client.post("/api/v1/auth/tokens", json={"name": "t", "scopes": scopes}).json
    return made["id"], {"Authorization": f"Bearer {made['token']}"}


def test_it_works(learner, database):
    learner.client.get(ME)
    assert asked(database, lambda: learner.client.get(ME)) == 0


def test_a_session_that_is_ended_elsewhere_ends_at_once(learner, other_worker, database):
    assert learner.client.get(ME).status_code == 200
    browser = other_worker.test_client()
    browser.set_cookie("codyverse", learner.client.get_cookie("codyverse").value)
    assert browser.get(ME).status_code == 200
    csrf = {"X-CSRF-Token": learner.client.environ_base["HTTP_X_CSRF_TOKEN"]}
    assert browser.post("/api/v1/auth/logout", headers=csrf).status_code == 204
    assert learner.client.get(ME).status_code == 401


def test_a_token_that_is_revoked_elsewhere_ends_at_once(learner, client, other_worker):
    token_id, headers = token(learner, "profile:read")
    assert client.get(ME, headers=headers).status_code == client.get(ME, headers=headers).status_code == 200
    service.revoke_token(other_worker.extensions["codyverse.database"], learner.id, token_id)
    assert client.get(ME, headers=headers).status_code == 401


def test_a_role_that_is_taken_away_elsewhere_is_gone_at_once(learner, other_worker):
    elsewhere = other_worker.extensions["codyverse.database"]
    service.change_role(elsewhere, learner.email, "admin")
    for _ in range(2):
        assert learner.client.get("/metrics").status_code == 200
    service.change_role(elsewhere, learner.email, "learner")
    assert learner.client.get("/metrics").status_code == 403


def test_a_session_is_no_token_and_a_token_no_session(learner, client, app):
    _, headers = token(learner, "profile:read")
    secret = learner.client.get_cookie("codyverse").value
    for _ in range(2):
        assert learner.client.get(ME).status_code == client.get(ME, headers=headers).status_code == 200
        assert client.get(ME, headers={"Authorization": f"Bearer {secret}"}).status_code == 401
        browser = app.test_client()
        browser.set_cookie("codyverse", headers["Authorization"].removeprefix("Bearer "))
        assert browser.get(ME).status_code == browser.patch(ME, json={"locale": "fr"}).status_code == 401


def test_a_session_ends_at_its_time(learner, clock):
    assert learner.client.get(ME).status_code == 200
    clock.advance(days=30)
    assert learner.client.get(ME).status_code == 401


def test_that_somebody_was_seen_is_noted_in_time(learner, clock, database):
    learner.client.get(ME)
    clock.advance(minutes=10)
    assert asked(database, lambda: learner.client.get(ME)) == 1
    assert learner.client.get("/api/v1/auth/sessions").json["items"][0]["last_seen_at"].startswith("2026-11-24T12:10")


def test_nobody_is_remembered_without_the_cache(settings, learner, clock):
    app = create_app(dataclasses.replace(settings, feature_caching=False))
    app.extensions["codyverse.database"].clock = clock
    client = app.test_client()
    client.set_cookie("codyverse", learner.client.get_cookie("codyverse").value)
    client.get(ME)
    assert asked(app.extensions["codyverse.database"], lambda: client.get(ME)) == 1
    components.of(app).close()
