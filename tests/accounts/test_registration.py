from __future__ import annotations

import threading
from datetime import date
from typing import Any

import pytest
from flask import Flask

from codyverse.accounts import passwords
from codyverse.accounts.models import sessions, users
from codyverse.accounts.service import create_user
from codyverse.errors import EmailTaken
from codyverse.operations.idempotency import idempotency_records

URL = "/api/v1/auth/register"


def ada(**changes: Any) -> dict[str, Any]:
    details = {
        "email": "ada@example.org",
        "password": "seven quiet otters",
        "display_name": "Ada",
        "birth_date": "1990-12-10",
    }
    return {**details, **changes}


def secret_of(response: Any) -> str:
    """Return the value of the session cookie; the rest of the header has the time of day in it."""
    return str(response.headers["Set-Cookie"]).partition("=")[2].partition(";")[0]


@pytest.mark.usefixtures("strong_hashes")
def test_it_works(client, rows):
    response = client.post(URL, json=ada(locale="pt-BR", timezone="America/Sao_Paulo"))

    assert response.status_code == 201
    assert response.headers["Location"] == "/api/v1/me"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.json == {
        "id": response.json["id"],
        "email": "ada@example.org",
        "display_name": "Ada",
        "birth_date": "1990-12-10",
        "age_band": "adult",
        "locale": "pt-BR",
        "timezone": "America/Sao_Paulo",
        "role": "learner",
        "avatar_url": None,
        "created_at": "2026-11-24T12:00:00Z",
    }
    [user] = rows(users)
    assert user["birth_date"] == date(1990, 12, 10)
    assert user["password_hash"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    [session] = rows(sessions)
    assert session["user_id"] == user["id"]
    assert client.get("/api/v1/me").json == response.json


def test_what_is_left_out_has_a_default(client):
    profile = client.post(URL, json=ada()).json

    assert (profile["locale"], profile["timezone"]) == ("en", "UTC")


def test_the_cookie_is_for_http_only_and_its_secret_is_not_stored(client, rows):
    response = client.post(URL, json=ada())

    cookie, secret = response.headers["Set-Cookie"], secret_of(response)
    attributes = {part.strip() for part in cookie.split(";")[1:]}
    assert cookie.startswith("codyverse=")
    assert len(secret) == 43
    assert {"HttpOnly", "SameSite=Lax", "Path=/", f"Max-Age={30 * 24 * 3600}"} <= attributes
    [session] = rows(sessions)
    assert secret.encode() not in session["token_hash"]
    assert secret not in response.text


def test_an_address_is_lower_cased_and_a_name_trimmed(client, rows):
    response = client.post(URL, json=ada(email="Ada@Example.ORG", display_name="  Ada Lovelace\n"))

    assert response.status_code == 201
    assert (response.json["email"], response.json["display_name"]) == ("ada@example.org", "Ada Lovelace")
    assert [user["email"] for user in rows(users)] == ["ada@example.org"]


def test_a_taken_address_is_a_conflict(client, app, rows):
    client.post(URL, json=ada())

    response = app.test_client().post(URL, json=ada(email="ADA@example.org", display_name="Another"))

    assert response.status_code == 409
    assert response.json["type"] == "urn:codyverse:problem:email-taken"
    assert "email" in response.json["errors"]
    assert "Set-Cookie" not in response.headers
    assert [user["display_name"] for user in rows(users)] == ["Ada"]
    assert len(rows(sessions)) == 1


def together(app: Flask, count: int, headers: dict[str, str] | None = None) -> list[Any]:
    """Send the same registration from several threads at once."""
    barrier = threading.Barrier(count)
    responses = []

    def send() -> None:
        client = app.test_client()
        barrier.wait(timeout=30)
        responses.append(client.post(URL, json=ada(), headers=headers))

    threads = [threading.Thread(target=send) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return responses


def test_of_many_at_once_one_gets_the_address(app, rows):
    responses = together(app, 5)

    assert sorted(response.status_code for response in responses) == [201, 409, 409, 409, 409]
    assert len(rows(users)) == len(rows(sessions)) == 1


def test_of_many_at_once_under_one_key_one_registers(app, rows):
    responses = together(app, 5, {"Idempotency-Key": "k"})

    assert {response.status_code for response in responses} <= {201, 409}
    assert len({secret_of(response) for response in responses if response.status_code == 201}) == 1
    assert len(rows(users)) == len(rows(sessions)) == 1


def test_a_repeat_under_the_same_key_gets_the_same_answer_and_session(client, app, rows):
    headers = {"Idempotency-Key": "k"}
    first = client.post(URL, json=ada(), headers=headers)

    for other in (client, app.test_client()):  # with the new cookie, and where it never arrived
        again = other.post(URL, json=ada(), headers=headers)
        assert (again.status_code, again.json) == (201, first.json)
        assert secret_of(again) == secret_of(first)
        assert other.get("/api/v1/me").status_code == 200
    assert len(rows(users)) == len(rows(sessions)) == 1


def test_the_same_key_with_another_body_is_refused(client, rows):
    client.post(URL, json=ada(), headers={"Idempotency-Key": "k"})

    response = client.post(URL, json=ada(email="b@example.org"), headers={"Idempotency-Key": "k"})

    assert response.status_code == 422
    assert response.json["type"] == "urn:codyverse:problem:idempotency-mismatch"
    assert len(rows(users)) == 1


def test_the_stored_answer_holds_no_secret_and_its_nonce_is_never_sent(client, rows):
    response = client.post(URL, json=ada(), headers={"Idempotency-Key": "k"})

    secret = secret_of(response)
    [record] = rows(idempotency_records)
    assert b'"nonce"' in record["answer"]
    assert secret.encode() not in record["answer"]
    assert b"otters" not in record["answer"]
    assert b"argon2" not in record["answer"]
    assert "nonce" not in response.text


# One test for all, since each database of its own takes longer than all the requests.
REFUSED = [
    ("email", "ada"),
    ("email", "ada@"),
    ("email", "ada@example.org\n"),
    ("email", '"a\x01b"@example.org'),
    ("email", "a" * 243 + "@example.org"),
    ("email", 7),
    ("email", None),
    ("password", "short 7"),
    ("password", "x7!q" * 33),
    ("password", 12345678),
    ("password", "password1"),
    ("password", "ada@example.org"),
    ("password", "qwertyuiop"),
    ("display_name", ""),
    ("display_name", " \u00a0\n"),
    ("display_name", "a" * 41),
    ("display_name", "a\tb"),
    ("display_name", "a\u200bb"),
    ("display_name", "a\u202eb"),
    ("display_name", "\u3164"),
    ("display_name", "\ufe0f"),
    ("display_name", ["Ada"]),
    ("birth_date", "2026-11-24"),
    ("birth_date", "2999-01-01"),
    ("birth_date", "1899-12-31"),
    ("birth_date", "10/12/1990"),
    ("birth_date", "1990-02-30"),
    ("birth_date", 1990),
    ("locale", "english"),
    ("locale", "en\n"),
    ("locale", "en_US"),
    ("locale", ""),
    ("timezone", "Mars/Olympus"),
    ("timezone", "../../etc/passwd"),
    ("timezone", "europe/paris"),
    ("timezone", None),
    ("role", "admin"),
    ("id", 1),
]


def test_what_cannot_be_used_is_named_and_nothing_is_written(client, rows):
    for field, value in REFUSED:
        response = client.post(URL, json=ada(**{field: value}))
        assert (response.status_code, response.mimetype) == (422, "application/problem+json"), (field, value)
        assert list(response.json["errors"]) == [field], (field, value)
        assert "Set-Cookie" not in response.headers
    assert rows(users) == rows(sessions) == []


def test_what_is_missing_is_named(client, rows):
    for field in ada():
        details = ada()
        del details[field]
        response = client.post(URL, json=details)
        assert (response.status_code, list(response.json["errors"])) == (422, [field])
    assert rows(users) == []


def test_what_cannot_be_read_is_refused(client, rows):
    unreadable = {"{": 400, '{"email": "a\\u0000@example.org"}': 400, '{"email": "\\ud800"}': 400, "[]": 422, "": 422}
    for body, status in unreadable.items():
        response = client.post(URL, data=body, content_type="application/json")
        assert (response.status_code, response.mimetype) == (status, "application/problem+json"), body
    assert rows(users) == []


def test_a_weak_password_is_refused_with_its_reason(client, rows):
    response = client.post(URL, json=ada(password="password1"))

    assert response.status_code == 422
    assert response.json["type"] == "urn:codyverse:problem:weak-password"
    assert any("common password" in reason for reason in response.json["errors"]["password"])
    assert "password1" not in response.text
    assert rows(users) == []


def test_a_password_made_of_what_is_known_is_weak(client, rows):
    email, name = "wolkenkratzer.zugspitze@example.org", "Quittenbaum"
    for password in ("wolkenkratzer", "zugspitze1", "Quittenbaum"):
        response = client.post(URL, json=ada(email=email, display_name=name, password=password))
        assert (response.status_code, list(response.json["errors"])) == (422, ["password"])
    assert rows(users) == []

    other = client.post(URL, json=ada(email="other@example.org", password="wolkenkratzer"))
    assert other.status_code == 201  # it is known of the one learner only


def test_the_longest_password_is_accepted(client):
    password = "Zq4-" * 8 + "\N{LATIN SMALL LETTER E WITH ACUTE}" * 96

    assert client.post(URL, json=ada(password=password)).status_code == 422  # its beginning repeats itself
    password = "k9 Tulip/basket?river: oranges (11)" + "\N{LATIN SMALL LETTER E WITH ACUTE}" * 93
    assert len(password) == 128
    assert client.post(URL, json=ada(password=password)).status_code == 201


def test_the_day_of_birth_is_compared_with_the_learner_s_own_date(client, clock):
    # 12:00 in London on the 24th is 01:00 on the 25th in Auckland.
    assert client.post(URL, json=ada(birth_date="2026-11-24", timezone="Pacific/Auckland")).status_code == 201
    response = client.post(URL, json=ada(email="b@example.org", birth_date="2026-11-24", timezone="America/New_York"))
    assert response.status_code == 422


def test_learners_can_be_made_in_bulk_with_one_hash(database, client, rows):
    password_hash = passwords.hash_password("seven quiet otters")
    with database.transaction() as tx:
        ids = [
            create_user(
                tx, email=f"L{n}@example.org", password_hash=password_hash, display_name=f"L{n}", birth_date=date(2014, 5, 1)
            )
            for n in range(50)
        ]

    assert len(set(ids)) == len(rows(users)) == 50
    credentials = {"email": "l7@example.org", "password": "seven quiet otters"}
    assert client.post("/api/v1/auth/login", json=credentials).json["id"] == ids[7]
    with pytest.raises(EmailTaken), database.transaction() as tx:
        create_user(tx, email="l7@example.org", password_hash=password_hash, display_name="L", birth_date=date(2014, 5, 1))
