# ruff: noqa: F811  (a fixture comes by import)
"""Every address states how many statements it sends to the database at the most, and keeps to it however many rows there are.

A new address without a line fails here. Counted is a request of somebody who is signed in, the look-up of their session included.
Each runs with the caches switched off, and on. What asks row by row needs thirty more than its line says.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import config
from codyverse.accounts import service as accounts
from codyverse.accounts.models import SCOPES, api_tokens, sessions
from codyverse.database import Database, Transaction
from codyverse.learning.models import attempts, completions, courses, enrolments, lesson_versions, lessons, modules
from codyverse.operations import audit
from codyverse.operations.idempotency import idempotency_records
from codyverse.rewards import service as rewards
from codyverse.rewards.rules import Reward
from tests.conftest import ImportedCatalogue, Learner, make_settings
from tests.http.test_object_access import API, EMAIL, RULES, World, in_browser, with_token, world  # noqa: F401  (a fixture)
from tests.statements import Statements

MANY = 30
SENDER = 1  # looks up whose session it is
AUDIT = 2  # locks the head of the audit trail, and adds an entry
KEY = 4  # an Idempotency-Key is claimed (on PostgreSQL), looked for, kept, and expired ones are removed

MOST = {
    "GET /": 2,
    "GET /courses/<slug:slug>": 3,
    "GET /lessons/<id:lesson_id>": 3,
    "GET /media/<slug:course_slug>/<slug:digest>/<name>": 2,
    "GET /static/<path:filename>": 0,
    "GET /api/docs": 1,
    "GET /login": 2,
    "POST /login": 5 + AUDIT,
    "POST /logout": 2 + AUDIT,
    "GET /operations": 1,
    "GET /operations/history": 1,
    "GET /operations/live": 1,
    "GET /operations/docs/<slug:title>.md": 1,
    "GET /livez": 0,
    "GET /readyz": 2,
    "GET /health": 2,
    "GET /metrics": 1,
    "GET /api/v1/openapi.json": 1,
    "POST /api/v1/csp-reports": 1,
    "GET /api/v1/courses": 2,
    "GET /api/v1/courses/<slug:slug>": 3,
    "GET /api/v1/courses/<slug:slug>/lessons": 3,
    "GET /api/v1/lessons/<id:lesson_id>": 3,
    "POST /api/v1/auth/register": 5 + AUDIT,
    "POST /api/v1/auth/login": 5 + AUDIT,
    "GET /api/v1/me": 2,
    "GET /api/v1/me/wallet": 2,
    "GET /api/v1/me/ledger": 2,
    "GET /api/v1/me/progress": 2,
    "GET /api/v1/me/progress/<slug:course_slug>": 4,
    "GET /api/v1/me/avatar": 2,
    "GET /api/v1/operations/statements": 1,
    "GET /api/v1/operations/audit": 2,
    "GET /api/v1/auth/tokens": 2,
    "GET /api/v1/auth/tokens/<id:token_id>": 2,
    "GET /api/v1/auth/sessions": 2,
    "GET /api/v1/attempts/<id:attempt_id>": 4,
    "PUT /api/v1/attempts/<id:attempt_id>/answers/<slug:question_id>": 3,
    "POST /api/v1/attempts/<id:attempt_id>/submission": 7,
    "DELETE /api/v1/auth/sessions/<id:session_id>": 2 + AUDIT,
    "DELETE /api/v1/auth/tokens/<id:token_id>": 2 + AUDIT,
    "PATCH /api/v1/me": 4,
    "PUT /api/v1/me/avatar": 4,
    "DELETE /api/v1/me/avatar": 4,
    "POST /api/v1/auth/tokens": 2 + AUDIT,
    "POST /api/v1/courses/<slug:course_slug>/enrolment": 5,
    "POST /api/v1/events": 2,  # written in the request where nothing is queued
    "POST /api/v1/batch": 3,  # of one operation; each looks the sender up, as a request of its own
    "POST /api/v1/lessons/<id:lesson_id>/attempts": 8,
    "POST /api/v1/lessons/<id:lesson_id>/completions": 8,
    "DELETE /api/v1/courses/<slug:course_slug>/enrolment": 3,
    "POST /api/v1/auth/logout": 2 + AUDIT,
}
OF_OPERATORS = ("/operations/statements", "/operations/audit")
LISTS = ("/courses", "/lessons", "/me/ledger", "/me/progress", "/auth/tokens", "/auth/sessions", *OF_OPERATORS)

_numbers = itertools.count()


@pytest.fixture(params=["caches off", "caches on"])
def settings(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> config.Settings:
    on = request.param == "caches on"
    return make_settings(tmp_path, database_url, feature_caching=on, feature_optimization=on)


def is_list(key: str) -> bool:
    return key.startswith(f"GET {API}") and key.endswith(LISTS)


def give_many(tx: Transaction, user_id: int) -> None:
    """Make it thirty: lessons of a course, courses, what somebody did there and earned, their sessions and tokens."""
    course = tx.execute(sa.select(modules.c.course_id, modules.c.id).join(courses).where(courses.c.slug == "machines")).first()
    assert course is not None
    for _ in range(MANY):
        add_lesson_and_progress(tx, user_id, course.course_id, course.id)
        add_lesson_and_progress(tx, user_id, *add_course(tx, user_id))
        row = {"user_id": user_id, "token_hash": secrets.token_bytes(32), "created_at": tx.now}
        tx.execute(api_tokens.insert(), row | {"name": "many", "scopes": "profile:read"})
        seen = {"user_agent": "many", "last_seen_at": tx.now, "expires_at": tx.now.replace(year=tx.now.year + 1)}
        tx.execute(sessions.insert(), row | seen)
        audit.record(tx, "sign_in", audit.account(user_id), audit.account(user_id), {"session": 1})
        record = {"key_hash": secrets.token_bytes(32), "request_hash": b"", "answer": b"{}"}
        long_ago = tx.now.replace(year=tx.now.year - 1)
        tx.execute(idempotency_records.insert(), record | {"owner_id": user_id, "created_at": long_ago})


def add_course(tx: Transaction, user_id: int) -> tuple[int, int]:
    """Add a course with a module, which the learner is in; returns the ids of both."""
    values = dict.fromkeys(("title", "summary", "description_html", "search_text", "source"), "many")
    values |= {"slug": f"many-{next(_numbers)}", "difficulty": "beginner", "locale": "en", "position": 9, "updated_at": tx.now}
    course_id = tx.execute(courses.insert().returning(courses.c.id), values).scalar_one()
    module = {"course_id": course_id, "slug": "many", "title": "many", "position": 0}
    tx.execute(enrolments.insert(), {"user_id": user_id, "course_id": course_id, "enrolled_at": tx.now})
    return course_id, tx.execute(modules.insert().returning(modules.c.id), module).scalar_one()


def add_lesson_and_progress(tx: Transaction, user_id: int, course_id: int, module_id: int) -> None:
    """Add a lesson which the learner has tried, completed and been rewarded for."""
    number = next(_numbers)
    lesson = {"course_id": course_id, "module_id": module_id, "slug": f"many-{number}", "position": 100 + number, "version": 1}
    lesson_id = tx.execute(lessons.insert().returning(lessons.c.id), lesson).scalar_one()
    version = dict.fromkeys(("title", "summary", "body_html", "source"), "many")
    version |= {"kind": "theory", "minutes": 1, "xp": 5, "key_concepts": [], "questions": [], "created_at": tx.now}
    tx.execute(lesson_versions.insert(), version | {"lesson_id": lesson_id, "number": 1})
    done = {"user_id": user_id, "lesson_id": lesson_id, "version": 1}
    tried = {"number": 1, "layout": {}, "started_at": tx.now, "submitted_at": tx.now, "points": 1, "points_possible": 1}
    tx.execute(attempts.insert(), done | tried | {"passed": True})
    completed = {"completed_at": tx.now, "xp_awarded": 5, "coins_awarded": 1}
    completion_id = tx.execute(completions.insert().returning(completions.c.id), done | completed).scalar_one()
    rewards.award(tx, user_id, f"completion:{completion_id}", Reward(5, 1))


@pytest.mark.parametrize("of_each", [1, MANY])
def test_no_address_sends_more_than_it_states(world: World, statements: Statements, database: Database, of_each: int) -> None:
    accounts.change_role(database, EMAIL, "admin")
    owner = in_browser("owner", world.owner, is_operator=True)
    if of_each == MANY:
        with database.transaction() as tx:
            give_many(tx, world.owner.id)
    operations = world.operations()
    assert {key for key, _ in operations} == set(MOST), "each address states here how many statements it may send"
    too_many = []
    for key, requires in operations:
        query = "?limit=100" if is_list(key) else ""
        with statements.recorded() as sent, world.send(owner, key, query=query) as response:
            assert response.status_code == owner.expected(requires, RULES[key].owner), (key, response.text)
            if query and of_each == MANY:
                assert len(response.json["items"]) >= MANY, key
        if len(sent) > MOST[key]:
            too_many.append(f"{key}: {statements.told(sent, MOST[key])}")
    assert not too_many, "\n".join(too_many)


def test_who_is_not_signed_in_costs_no_look_up(world: World, statements: Statements) -> None:
    nobody = world.app.test_client(use_cookies=False)
    for address, key in [
        ("/", "GET /"),
        (f"{API}/courses", f"GET {API}/courses"),
        ("/courses/machines", "GET /courses/<slug:slug>"),
    ]:
        with statements.at_most(MOST[key] - SENDER):
            assert nobody.get(address).status_code == 200


def test_a_token_is_looked_up_like_a_session(world: World, statements: Statements) -> None:
    headers = with_token("program", world.owner, *SCOPES).headers
    client = world.app.test_client(use_cookies=False)
    most = MOST[f"GET {API}/me"]
    with statements.at_most(most + 1):  # notes that it was used, which is done every ten minutes
        assert client.get(f"{API}/me", headers=headers).status_code == 200
    with statements.at_most(most):
        assert client.get(f"{API}/me", headers=headers).status_code == 200


@pytest.mark.parametrize("with_keys", [False, True])
def test_what_the_walk_only_sees_refused_or_repeated(
    make_learner: Callable[..., Learner], catalogue: ImportedCatalogue, statements: Statements, with_keys: bool
) -> None:
    def key() -> dict[str, str]:
        return {"Idempotency-Key": f"key-{next(_numbers)}"} if with_keys else {}

    more = KEY if with_keys else 0
    learner = make_learner()
    details = {"email": "new@example.org", "password": "seven quiet otters", "display_name": "New", "birth_date": "1990-12-10"}
    anybody = learner.client.application.test_client()
    with statements.at_most(MOST[f"POST {API}/auth/register"] + more):
        assert anybody.post(f"{API}/auth/register", json=details, headers=key()).status_code == 201
    credentials = {name: details[name] for name in ("email", "password")}
    with statements.at_most(MOST[f"POST {API}/auth/login"] + more):
        assert anybody.post(f"{API}/auth/login", json=credentials, headers=key()).status_code == 200
    address = f"{API}/lessons/{catalogue.lesson('machines/what-is-a-guess')}/completions"
    with statements.at_most(MOST[f"POST {API}/lessons/<id:lesson_id>/completions"] + more):
        assert learner.client.post(address, json={}, headers=key()).status_code == 201


def test_a_batch_costs_what_its_operations_cost(world: World, statements: Statements) -> None:
    operations = [{"method": "GET", "path": f"{API}/me/wallet"}] * 10
    owner = in_browser("owner", world.owner)
    client = world.app.test_client(use_cookies=False)
    with statements.at_most(SENDER + 10 * MOST[f"GET {API}/me/wallet"]):
        response = client.post(f"{API}/batch", json={"operations": operations}, headers=owner.headers)
    assert [result["status"] for result in response.json["results"]] == [200] * 10  # type: ignore[index]


def test_what_asks_row_by_row_is_told(database: Database, statements: Statements) -> None:
    told = r"3 statements, 2 at the most:\n1\. SELECT \?"
    with pytest.raises(AssertionError, match=told), statements.at_most(2), database.read() as reader:
        for _ in range(3):
            reader.execute(sa.text("SELECT 1"))


@pytest.mark.parametrize("engine_name", ["postgresql"], indirect=True)  # SQLite is given them all at once
def test_what_sends_a_statement_many_times_is_told(database: Database, statements: Statements) -> None:
    rows: list[dict[str, Any]] = [{"number": number} for number in range(3)]
    with statements.recorded() as sent, database.transaction() as tx:
        tx.execute(sa.text("DELETE FROM users WHERE id = :number"), rows)
    assert len(sent) == 3
