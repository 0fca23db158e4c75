from __future__ import annotations

import argon2
import pytest

from codyverse.accounts import passwords
from codyverse.accounts.models import sessions, users

URL = "/api/v1/auth/login"


def cookie_of(response) -> str:
    return response.headers["Set-Cookie"].partition(";")[0]


def test_it_works(app, learner, rows):
    client = app.test_client()
    response = client.post(
        URL, json={"email": learner.email.upper(), "password": learner.password}, headers={"User-Agent": "Lynx/2.9 \t" * 40}
    )

    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert response.json == client.get("/api/v1/me").json == learner.client.get("/api/v1/me").json
    [newest] = rows(sessions, sessions.c.user_agent.startswith("Lynx"))
    assert newest["user_id"] == learner.id
    assert newest["user_agent"].startswith("Lynx/2.9 Lynx")
    assert len(newest["user_agent"]) == 200


def test_unknown_address_and_wrong_password_get_the_same_answer(client, learner, rows):
    wrong = client.post(URL, json={"email": learner.email, "password": "seven quiet otter"})
    unknown = client.post(URL, json={"email": "nobody@example.org", "password": "seven quiet otter"})

    assert wrong.status_code == unknown.status_code == 401
    assert {**wrong.json, "request_id": ""} == {**unknown.json, "request_id": ""}
    assert wrong.json["type"] == "urn:codyverse:problem:wrong-credentials"
    assert {key for key, _ in wrong.headers} == {key for key, _ in unknown.headers}
    assert "Set-Cookie" not in wrong.headers
    assert len(rows(sessions)) == 1


@pytest.mark.usefixtures("strong_hashes")
def test_an_unknown_address_costs_as_much_as_a_wrong_password():
    parameters = argon2.extract_parameters(passwords._NOBODY)

    assert parameters == argon2.extract_parameters(passwords.hash_password("seven quiet otters"))
    assert (parameters.time_cost, parameters.memory_cost, parameters.parallelism) == (2, 19 * 1024, 1)
    assert not passwords.matches("", None)


def test_both_compare_one_password(client, learner, monkeypatch):
    compared = []

    class Counting(argon2.PasswordHasher):
        def verify(self, hash, password):
            compared.append(hash)
            return super().verify(hash, password)

    monkeypatch.setattr(passwords, "_HASHER", Counting(time_cost=2, memory_cost=19 * 1024, parallelism=1))
    for email in (learner.email, "nobody@example.org"):
        assert client.post(URL, json={"email": email, "password": "another quiet otter"}).status_code == 401
    assert len(compared) == 2


def test_signing_in_always_begins_another_session(learner, rows):
    first = learner.client.get_cookie("codyverse").value
    learner.client.post(URL, json={"email": learner.email, "password": learner.password})

    assert learner.client.get_cookie("codyverse").value != first
    assert [session["revoked_at"] for session in rows(sessions)] == [None, None]


def test_a_cookie_that_somebody_made_up_is_not_taken_over(client, learner):
    client.set_cookie("codyverse", "known-to-the-attacker")
    response = client.post(URL, json={"email": learner.email, "password": learner.password})

    assert "known-to-the-attacker" not in cookie_of(response)
    client.set_cookie("codyverse", "known-to-the-attacker")
    assert client.get("/api/v1/me").status_code == 401


def test_a_repeat_under_the_same_key_gets_the_same_session(client, learner, rows):
    credentials = {"email": learner.email, "password": learner.password}
    first = client.post(URL, json=credentials, headers={"Idempotency-Key": "k"})
    again = client.post(URL, json=credentials, headers={"Idempotency-Key": "k"})

    assert (again.status_code, again.json, cookie_of(again)) == (200, first.json, cookie_of(first))
    assert len(rows(sessions)) == 2  # that of the registration and this one


def test_a_wrong_password_cannot_use_the_key_of_a_right_one(client, learner):
    client.post(URL, json={"email": learner.email, "password": learner.password}, headers={"Idempotency-Key": "k"})
    response = client.post(URL, json={"email": learner.email, "password": "a wrong one"}, headers={"Idempotency-Key": "k"})

    assert response.status_code == 401
    assert "Set-Cookie" not in response.headers


@pytest.mark.usefixtures("strong_hashes")
def test_an_outdated_hash_is_renewed(client, learner, database, rows):
    old = argon2.PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(learner.password)
    with database.transaction() as tx:
        tx.execute(users.update().values(password_hash=old))

    assert client.post(URL, json={"email": learner.email, "password": "a wrong one"}).status_code == 401
    assert rows(users)[0]["password_hash"] == old
    assert client.post(URL, json={"email": learner.email, "password": learner.password}).status_code == 200
    renewed = rows(users)[0]["password_hash"]
    assert renewed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert client.post(URL, json={"email": learner.email, "password": learner.password}).status_code == 200
    assert rows(users)[0]["password_hash"] == renewed


def test_two_ways_of_typing_an_accent_are_one_password(make_learner, client):
    learner = make_learner(password="sept loutres agitées")

    response = client.post(URL, json={"email": learner.email, "password": "sept loutres agite\u0301es"})

    assert response.status_code == 200


def test_what_cannot_be_used_is_named(client):
    refused = [
        ({"email": "a@example.org"}, "password"),
        ({"password": "seven quiet otters"}, "email"),
        ({"email": ["a"], "password": "x"}, "email"),
        ({"email": "a@example.org", "password": "x" * 129}, "password"),
        ({"email": "a@example.org", "password": "x", "remember": True}, "remember"),
    ]
    for body, field in refused:
        response = client.post(URL, json=body)
        assert (response.status_code, list(response.json["errors"])) == (422, [field]), body


def test_a_new_session_clears_the_expired_ones_of_the_account(client, learner, make_learner, clock, rows):
    other = make_learner()
    clock.advance(days=30)
    client.post(URL, json={"email": learner.email, "password": learner.password})
    [session] = rows(sessions, sessions.c.user_id == learner.id)
    assert session["created_at"] == clock.now

    assert sorted(session["user_id"] for session in rows(sessions)) == [learner.id, other.id]
