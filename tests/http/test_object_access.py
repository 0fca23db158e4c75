"""Every operation × every role × what belongs to somebody else: nobody reads it, nobody changes it.

The table below has a line for every address of the service. A new one without a line fails here, as does a new table whose rows
this test cannot tell to be somebody's or nobody's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from PIL import Image

from codyverse.accounts.models import OPERATIONS_READ, SCOPES, api_tokens, sessions, users
from codyverse.accounts.service import change_role
from codyverse.database import Database, metadata
from codyverse.http.auth import OPERATOR, PUBLIC, SESSION
from codyverse.http.csp_reports import CSP_REPORT
from codyverse.learning.models import answers
from codyverse.operations import audit
from codyverse.operations.audit.chain import audit_entries
from tests.conftest import IMAGE_DIGEST, ImportedCatalogue, Learner

API = "/api/v1"
NOBODYS_TABLES = {"courses", "modules", "lessons", "lesson_versions", "course_images", "audit_head"}

# What only its owner may ever see.
EMAIL, NAME, BORN = "ophelia@private.example", "Ophelia Quill", "1987-06-05"
BROWSER, TOKEN, ANSWER = "Browser of Ophelia", "robot of ophelia", "what ophelia thinks"


def picture() -> bytes:
    file = BytesIO()
    Image.new("RGB", (300, 300), (200, 30, 90)).save(file, "PNG")
    return file.getvalue()


@dataclass(frozen=True)
class Rule:
    """What one operation answers to whom.

    `others` is the status for somebody with an account of their own, `owner` that for the owner of the objects in the address.
    """

    others: int
    owner: int
    json: Any = None
    body: bytes | None = None
    media_type: str | None = None
    shows: Any = None  # a part of what somebody sees who owns nothing
    lesson: str = "quiz"


def public(status: int = 200, **more: Any) -> Rule:
    """Everybody gets the same."""
    return Rule(status, status, **more)


def own(status: int, **more: Any) -> Rule:
    """The address names nobody: everybody meets what is theirs."""
    return Rule(status, status, **more)


def foreign(owner: int, **more: Any) -> Rule:
    """The address names what belongs to one account: to all others it is not there."""
    return Rule(404, owner, **more)


REGISTRATION = {"email": EMAIL, "password": "seven quiet otters", "display_name": "Imitator", "birth_date": "1990-12-10"}

# In this order, so that everybody sees what they own before they do anything, and signs out in the end.
RULES: dict[str, Rule] = {
    "GET /": public(),
    "GET /courses/<slug:slug>": public(),
    "GET /lessons/<id:lesson_id>": public(),
    "GET /media/<slug:course_slug>/<slug:digest>/<name>": public(),
    "GET /static/<path:filename>": public(),
    "GET /api/docs": public(),
    "GET /livez": public(),
    "GET /readyz": public(),
    "GET /health": public(),
    "GET /api/v1/openapi.json": public(),
    "POST /api/v1/csp-reports": public(204, body=b'{"csp-report": {}}', media_type=CSP_REPORT),
    "GET /api/v1/courses": public(),
    "GET /api/v1/courses/<slug:slug>": public(),
    "GET /api/v1/courses/<slug:slug>/lessons": public(),
    "GET /api/v1/lessons/<id:lesson_id>": public(),
    "POST /api/v1/auth/register": public(409, json=REGISTRATION),
    "POST /api/v1/auth/login": public(401, json={"email": EMAIL, "password": "not the password"}),
    "GET /api/v1/me": own(200),
    "GET /metrics": own(200),
    "GET /operations": own(200),
    "GET /operations/history": own(200),
    "GET /operations/live": own(200),
    "GET /operations/docs/<slug:title>.md": own(200),
    "GET /login": public(),
    "POST /login": public(403, body=b"email=a&password=b", media_type="application/x-www-form-urlencoded"),
    "POST /logout": public(403),
    "GET /api/v1/operations/statements": own(200),
    "GET /api/v1/operations/audit": own(200),
    "GET /api/v1/me/wallet": Rule(200, 200, shows={"xp": 0, "coins": 0}),
    "GET /api/v1/me/ledger": Rule(200, 200, shows={"items": []}),
    "GET /api/v1/me/progress": Rule(200, 200, shows={"items": []}),
    "GET /api/v1/me/progress/<slug:course_slug>": Rule(200, 200, shows={"lessons_completed": 0}),
    "GET /api/v1/me/avatar": Rule(404, 200),
    "GET /api/v1/auth/tokens": own(200),
    "GET /api/v1/auth/tokens/<id:token_id>": foreign(200),
    "GET /api/v1/auth/sessions": own(200),
    "GET /api/v1/attempts/<id:attempt_id>": foreign(200),
    "PUT /api/v1/attempts/<id:attempt_id>/answers/<slug:question_id>": foreign(200, json={"answer": "error"}),
    "POST /api/v1/attempts/<id:attempt_id>/submission": foreign(201),
    "DELETE /api/v1/auth/sessions/<id:session_id>": foreign(204),
    "DELETE /api/v1/auth/tokens/<id:token_id>": foreign(204),
    "PATCH /api/v1/me": own(200, json={"locale": "fr"}),
    "PUT /api/v1/me/avatar": own(200, body=picture(), media_type="image/png"),
    "DELETE /api/v1/me/avatar": own(204),
    "POST /api/v1/auth/tokens": own(201, json={"name": "mine", "scopes": ["profile:read"]}),
    "POST /api/v1/courses/<slug:course_slug>/enrolment": Rule(201, 200),
    "POST /api/v1/events": own(202, json={"events": [{"kind": "lesson_viewed", "lesson_id": 1}]}),
    "POST /api/v1/batch": public(json={"operations": [{"method": "GET", "path": "/api/v1/me"}]}),
    "POST /api/v1/lessons/<id:lesson_id>/attempts": own(201),
    "POST /api/v1/lessons/<id:lesson_id>/completions": Rule(201, 200, json={}, lesson="theory"),
    "DELETE /api/v1/courses/<slug:course_slug>/enrolment": own(204),
    "POST /api/v1/auth/logout": own(204),
}


@dataclass(frozen=True)
class Role:
    """Somebody who sends requests: with a session, a token, or nothing."""

    name: str
    headers: dict[str, str]
    scopes: frozenset[str] | None = None  # None: not a token
    is_operator: bool = False

    @property
    def is_nobody(self) -> bool:
        return not self.headers

    def expected(self, requires: str, status: int) -> int:
        """Return the status that an operation has to answer, which is `status` where the role may call it."""
        if requires == PUBLIC:
            return status
        if self.is_nobody:
            return 401
        if requires == OPERATOR:
            if not self.is_operator:
                return 403
            requires = OPERATIONS_READ
        if self.scopes is not None and requires not in self.scopes:  # SESSION is no scope: no token may do that
            return 403
        return status


def in_browser(name: str, learner: Learner, is_operator: bool = False) -> Role:
    """Return the role of a learner's session, with its CSRF token."""
    cookie, csrf = learner.client.get_cookie("codyverse"), learner.client.get_cookie("codyverse-csrf")
    assert cookie is not None
    assert csrf is not None
    return Role(name, {"Cookie": f"codyverse={cookie.value}", "X-CSRF-Token": csrf.value}, is_operator=is_operator)


def with_token(name: str, learner: Learner, *scopes: str, is_operator: bool = False) -> Role:
    """Return the role of a program of the learner's, with a new token."""
    created = learner.client.post(f"{API}/auth/tokens", json={"name": name, "scopes": scopes})
    assert created.status_code == 201
    return Role(name, {"Authorization": f"Bearer {created.json['token']}"}, frozenset(scopes), is_operator)


@dataclass
class World:
    """The owner with one of everything, and all the others."""

    app: Flask
    owner: Learner
    objects: dict[str, Any]
    secrets: list[str]

    def send(self, role: Role, key: str, method: str | None = None, query: str = "") -> Any:
        """Send the request that the table has for an operation, as somebody; addresses lead to the owner's objects."""
        rule = RULES[key]
        named, _, path = key.partition(" ")
        objects = self.objects | {"lesson_id": self.objects[rule.lesson]}
        address = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: str(objects[found[1]]), path) + query
        sent = {"json": rule.json} if rule.json is not None else {"data": rule.body, "content_type": rule.media_type}
        return self.app.test_client(use_cookies=False).open(address, method=method or named, headers=role.headers, **sent)

    def operations(self) -> list[tuple[str, str]]:
        """Return method and rule of every operation of the application and what it requires, in the order of the table."""
        found = []
        for rule in self.app.url_map.iter_rules():
            requires = getattr(self.app.view_functions[rule.endpoint], "requires", PUBLIC)
            found += [(f"{method} {rule.rule}", requires) for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}]
        missing = {key for key, _ in found} ^ set(RULES)
        assert not missing, f"operations without a rule, or rules without an operation: {missing}"
        return sorted(found, key=lambda operation: list(RULES).index(operation[0]))


@pytest.fixture
def world(app: Flask, make_learner: Callable[..., Learner], catalogue: ImportedCatalogue, rows: Any) -> World:
    owner = make_learner(email=EMAIL, display_name=NAME, birth_date=BORN)
    client = owner.client
    lesson, quiz = catalogue.lesson("machines/what-is-a-guess"), catalogue.lesson("machines/machines-quiz")
    assert client.post(f"{API}/courses/machines/enrolment").status_code == 201
    assert client.post(f"{API}/lessons/{lesson}/completions", json={}).status_code == 201
    assert client.put(f"{API}/me/avatar", data=picture(), content_type="image/png").status_code == 200
    attempt = client.post(f"{API}/lessons/{quiz}/attempts").json["id"]  # type: ignore[index]
    assert client.put(f"{API}/attempts/{attempt}/answers/name-it", json={"answer": ANSWER}).status_code == 200
    token = with_token(TOKEN, owner, "profile:read").headers["Authorization"].removeprefix("Bearer ")
    again = app.test_client()
    credentials = {"email": EMAIL, "password": owner.password}
    assert again.post(f"{API}/auth/login", json=credentials, headers={"User-Agent": BROWSER}).status_code == 200
    cookies = [one.get_cookie("codyverse").value for one in (client, again)]  # type: ignore[union-attr]
    objects = {
        "attempt_id": attempt,
        "question_id": "name-it",
        "session_id": rows(sessions, sessions.c.user_agent == BROWSER)[0]["id"],
        "token_id": rows(api_tokens)[0]["id"],
        "quiz": quiz,
        "theory": lesson,
        "course_slug": "machines",
        "slug": "machines",
        "digest": IMAGE_DIGEST,
        "name": "three-dots.svg",
        "filename": "app.css",
        "title": "alerts",
    }
    avatar = rows(users, users.c.id == owner.id)[0]["avatar_name"]
    return World(app, owner, objects, [EMAIL, NAME, BORN, BROWSER, TOKEN, ANSWER, token, avatar, *cookies])


def belongings(database: Database, user_id: int) -> dict[str, list[Any]]:
    """Return every row that is the owner's, by table, but for the note when a token of theirs was last used."""
    found = {}
    with database.read() as reader:
        for table in metadata.sorted_tables:
            if table.name in NOBODYS_TABLES:
                continue
            columns = table.c
            if table is answers:
                attempts = metadata.tables["attempts"]
                mine = columns.attempt_id.in_(sa.select(attempts.c.id).where(attempts.c.user_id == user_id))
            elif table is audit_entries:  # what was tried against an account is nobody's
                mine = columns.actor == audit.account(user_id)
            else:
                owned = columns.id if table is users else columns.get("user_id", columns.get("owner_id"))
                assert owned is not None, f"whose are the rows of {table.name}? Say so here, or add it to NOBODYS_TABLES"
                mine = owned == user_id
            kept = [column for column in columns if column is not api_tokens.c.last_used_at]
            rows = reader.execute(sa.select(*kept).where(mine).order_by(*table.primary_key.columns))
            found[table.name] = [tuple(row) for row in rows]
    return found


def test_nobody_reads_or_changes_what_is_somebody_elses(
    world: World, make_learner: Callable[..., Learner], database: Database
) -> None:
    browsers = {name: make_learner(display_name=name) for name in ("learner", "teacher", "admin")}
    with_robots, with_others = make_learner(), make_learner()
    change_role(database, browsers["teacher"].email, "teacher")
    for admin in (browsers["admin"], with_robots, with_others):
        change_role(database, admin.email, "admin")
    roles = [
        Role("nobody", {}),
        *(in_browser(name, learner, is_operator=name == "admin") for name, learner in browsers.items()),
        with_token("admin's program", with_robots, *SCOPES, is_operator=True),
        with_token("admin's program without operations:read", with_others, *set(SCOPES) - {OPERATIONS_READ}, is_operator=True),
        with_token("program", make_learner(), *SCOPES),
        *(with_token(f"program without {scope}", make_learner(), *(set(SCOPES) - {scope})) for scope in SCOPES),
    ]
    of_owner = [with_token(f"owner's program without {scope}", world.owner, *(set(SCOPES) - {scope})) for scope in SCOPES]
    before = belongings(database, world.owner.id)
    leaks = []

    def check(role: Role, key: str, response: Any, expected: int) -> None:
        if response.status_code != expected:
            leaks.append(f"{role.name}: {key} answered {response.status_code}, not {expected}")
        shown = response.data + str(response.headers).encode()
        leaks.extend(f"{role.name}: {key} shows {secret}" for secret in world.secrets if secret.encode() in shown)
        if response.status_code == 200 and RULES[key].shows:
            seen = {name: response.json[name] for name in RULES[key].shows}
            if seen != RULES[key].shows:
                leaks.append(f"{role.name}: {key} shows {seen}")

    for key, requires in world.operations():
        for role in roles:
            expected = role.expected(requires, RULES[key].others)
            with world.send(role, key) as response:
                check(role, key, response, expected)
            if key.startswith("GET "):
                with world.send(role, key, "HEAD") as response:
                    assert (response.status_code, response.data) == (expected, b""), key
        for role in of_owner:
            if role.expected(requires, 200) == 403:
                with world.send(role, key) as response:
                    check(role, key, response, 403)
        after = belongings(database, world.owner.id)
        leaks.extend(f"{key} changed {table} of the owner" for table in after if after[table] != before[table])
        before = after
    assert not leaks, "\n".join(leaks)


def test_the_owner_may(world: World) -> None:
    """Without this the test above could pass with addresses that lead nowhere."""
    owner = in_browser("owner", world.owner)
    seen = b""
    for key, requires in world.operations():
        with world.send(owner, key) as response:
            assert response.status_code == owner.expected(requires, RULES[key].owner), (key, response.text)
            seen += response.data
    for secret in (EMAIL, NAME, BORN, BROWSER, TOKEN, ANSWER):
        assert secret.encode() in seen


def test_every_kind_of_requirement_is_met(world: World) -> None:
    assert {requires for _, requires in world.operations()} == {PUBLIC, SESSION, OPERATOR, *SCOPES} - {OPERATIONS_READ}
