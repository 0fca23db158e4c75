from __future__ import annotations

import hashlib
from datetime import timedelta

from codyverse.accounts.models import api_tokens
from codyverse.operations.idempotency import idempotency_records

URL = "/api/v1/auth/tokens"
WANTED = {"name": "My script", "scopes": ["rewards:read", "profile:read"]}


def test_it_works(learner, client, rows):
    response = learner.client.post(URL, json=WANTED)

    assert response.status_code == 201
    assert response.headers["Cache-Control"] == "no-store"
    created = response.json
    assert response.headers["Location"] == f"{URL}/{created['id']}"
    assert created == {
        "id": created["id"],
        "name": "My script",
        "scopes": ["profile:read", "rewards:read"],
        "created_at": "2026-11-24T12:00:00Z",
        "last_used_at": None,
        "expires_at": None,
        "token": created["token"],
    }
    assert created["token"].startswith("cv_")
    assert len(created["token"]) == 46
    [row] = rows(api_tokens)
    assert row["token_hash"] == hashlib.sha256(created["token"].encode()).digest()
    assert (row["user_id"], row["scopes"]) == (learner.id, "profile:read rewards:read")
    profile = client.get("/api/v1/me", headers={"Authorization": f"Bearer {created['token']}"})
    assert profile.json["id"] == learner.id


def test_a_list_shows_no_secret(learner, make_learner):
    make_learner().client.post(URL, json=WANTED)
    secrets = [learner.client.post(URL, json={**WANTED, "name": name}).json["token"] for name in ("a", "b", "c")]
    response = learner.client.get(URL)

    assert [item["name"] for item in response.json["items"]] == ["c", "b", "a"]
    assert not any(secret in response.text for secret in secrets)
    assert "token" not in response.json["items"][0]
    first = learner.client.get(URL, query_string={"limit": 2}).json
    second = learner.client.get(URL, query_string={"limit": 2, "cursor": first["next_cursor"]}).json
    assert [item["name"] for item in first["items"] + second["items"]] == ["c", "b", "a"]
    assert second["next_cursor"] is None


def test_a_repeat_under_the_same_key_gets_the_same_token(learner, rows):
    first = learner.client.post(URL, json=WANTED, headers={"Idempotency-Key": "k"})
    again = learner.client.post(URL, json=WANTED, headers={"Idempotency-Key": "k"})

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json == again.json
    assert len(rows(api_tokens)) == 1
    [record] = rows(idempotency_records)
    assert record["owner_id"] == learner.id
    assert first.json["token"].encode() not in record["answer"]
    assert "nonce" not in first.text


def test_two_learners_may_use_the_same_key(learner, make_learner, rows):
    other = make_learner()
    for client in (learner.client, other.client):
        assert client.post(URL, json=WANTED, headers={"Idempotency-Key": "k"}).status_code == 201
    assert sorted(row["user_id"] for row in rows(api_tokens)) == [learner.id, other.id]


def test_a_token_ends_after_its_days(learner, client, clock, rows):
    created = learner.client.post(URL, json={**WANTED, "expires_in_days": 3}).json
    headers = {"Authorization": f"Bearer {created['token']}"}

    assert created["expires_at"] == "2026-11-27T12:00:00Z"
    assert rows(api_tokens)[0]["expires_at"] == clock.now + timedelta(days=3)
    clock.advance(days=3, seconds=-1)
    assert client.get("/api/v1/me", headers=headers).status_code == 200
    clock.advance(seconds=1)
    assert client.get("/api/v1/me", headers=headers).status_code == 401
    assert learner.client.get(URL).json["items"] == []
    assert learner.client.delete(f"{URL}/{created['id']}").status_code == 404


def test_a_token_is_revoked_once(learner, client, rows, clock):
    created = learner.client.post(URL, json=WANTED).json
    response = learner.client.delete(f"{URL}/{created['id']}")

    assert (response.status_code, response.data) == (204, b"")
    assert rows(api_tokens)[0]["revoked_at"] == clock.now
    assert client.get("/api/v1/me", headers={"Authorization": f"Bearer {created['token']}"}).status_code == 401
    assert learner.client.get(URL).json["items"] == []
    assert learner.client.delete(f"{URL}/{created['id']}").status_code == 404


def test_somebody_else_s_token_is_not_found(learner, make_learner, rows):
    created = make_learner().client.post(URL, json=WANTED).json

    assert learner.client.delete(f"{URL}/{created['id']}").status_code == 404
    assert learner.client.delete(f"{URL}/{created['id'] + 1}").status_code == 404
    assert rows(api_tokens)[0]["revoked_at"] is None


def test_being_used_is_written_every_ten_minutes_at_most(learner, client, clock, rows):
    headers = {"Authorization": f"Bearer {learner.client.post(URL, json=WANTED).json['token']}"}
    assert rows(api_tokens)[0]["last_used_at"] is None
    client.get("/api/v1/me", headers=headers)
    first = clock.now
    assert rows(api_tokens)[0]["last_used_at"] == first
    clock.advance(minutes=9)
    client.get("/api/v1/me", headers=headers)
    assert rows(api_tokens)[0]["last_used_at"] == first
    clock.advance(minutes=1)
    client.get("/api/v1/me", headers=headers)
    assert rows(api_tokens)[0]["last_used_at"] == clock.now


def test_what_cannot_be_used_is_named(learner, rows):
    refused = [
        ({"name": " "}, "name"),
        ({"name": "a" * 81}, "name"),
        ({"name": "a\u0007"}, "name"),
        ({"name": None}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": "profile:read"}, "scopes"),
        ({"scopes": ["everything"]}, "scopes.0"),
        ({"scopes": ["profile:read", {}]}, "scopes.1"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"expires_in_days": 2**63 - 1}, "expires_in_days"),
        ({"expires_in_days": 1.5}, "expires_in_days"),
        ({"expires_in_days": "soon"}, "expires_in_days"),
        ({"user_id": 1}, "user_id"),
    ]
    for changes, field in refused:
        response = learner.client.post(URL, json={**WANTED, **changes})
        assert (response.status_code, list(response.json["errors"])) == (422, [field]), changes
    assert rows(api_tokens) == []


def test_a_token_is_read_where_location_says_without_its_secret(learner, make_learner):
    made = learner.client.post(URL, json={"name": "t", "scopes": ["profile:read"]})
    read = learner.client.get(made.headers["Location"])
    assert read.json == {name: value for name, value in made.json.items() if name != "token"}
    assert make_learner().client.get(made.headers["Location"]).status_code == 404
    learner.client.delete(made.headers["Location"])
    assert learner.client.get(made.headers["Location"]).status_code == 404
