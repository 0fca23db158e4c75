"""Several operations in one request."""

from __future__ import annotations

from collections import Counter

import orjson
import pytest
from flask import after_this_request, g, request, session
from werkzeug.exceptions import InternalServerError

from codyverse import create_app
from codyverse.accounts.models import api_tokens, sessions, users
from codyverse.http import batch
from codyverse.http.json import MAX_VALUES
from codyverse.learning.models import attempts, completions
from codyverse.operations import components
from codyverse.rewards.models import ledger_entries
from tests.conftest import make_settings
from tests.operations.limited import START
from tests.operations.limited import time as time  # noqa: PLC0414  (fixtures come by import)

API = "/api/v1"
BATCH = f"{API}/batch"
ME = {"method": "GET", "path": f"{API}/me"}


def send(client, *operations, **more):
    return client.post(BATCH, json={"operations": operations}, **more)


def results(client, *operations, **more):
    answer = send(client, *operations, **more)
    assert answer.status_code == 200, answer.text
    return answer.json["results"]


def statuses(client, *operations, **more):
    return [result["status"] for result in results(client, *operations, **more)]


@pytest.fixture
def theory(catalogue):
    return catalogue.lesson("machines/what-is-a-guess")


@pytest.fixture
def quiz(catalogue):
    return catalogue.lesson("machines/machines-quiz")


def complete(lesson_id, **more):
    return {"method": "POST", "path": f"{API}/lessons/{lesson_id}/completions", **more}


def test_it_works(learner, theory, rows):
    answer = send(
        learner.client,
        complete(theory, body={"time_spent_seconds": 90}, idempotency_key="c1"),
        {"method": "GET", "path": f"{API}/me/wallet"},
        {"method": "GET", "path": f"{API}/courses?limit=1"},
        {"method": "DELETE", "path": f"{API}/courses/machines/enrolment"},
    )
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "private, no-cache"
    completed, wallet, courses, left = answer.json["results"]
    assert completed["status"] == 201
    assert completed["headers"] == {"Location": f"{API}/me/progress/machines"}
    assert completed["body"]["time_spent_seconds"] == 90
    alone = learner.client.get(f"{API}/me/wallet")
    assert wallet == {"status": 200, "headers": {"ETag": wallet["headers"]["ETag"]}, "body": alone.json}
    assert wallet["body"]["xp"] == completed["body"]["xp"] > 0  # in order: the reward is seen behind it
    assert courses["body"] == learner.client.get(f"{API}/courses?limit=1").json
    assert left == {"status": 204, "headers": {}, "body": None}
    assert [row["time_spent_s"] for row in rows(completions)] == [90]


def test_an_operation_that_fails_stops_no_other(learner, theory, quiz, rows):
    found = results(
        learner.client,
        complete(999_999, body={}),
        complete(theory, body={"time_spent_seconds": -1}),
        complete(quiz, body={}),
        complete(theory, body={"time_spent_seconds": 5}),
        {"method": "GET", "path": f"{API}/nothing/there"},
        {"method": "PUT", "path": f"{API}/me"},
    )
    assert [result["status"] for result in found] == [404, 422, 409, 201, 404, 405]
    assert found[1]["body"]["errors"].keys() == {"time_spent_seconds"}
    assert found[2]["body"]["type"] == "urn:codyverse:problem:quiz-not-passed"
    assert found[5]["headers"]["Allow"] == "GET, HEAD, OPTIONS, PATCH"
    assert [row["time_spent_s"] for row in rows(completions)] == [5]


def test_an_error_of_ours_is_a_result_too(app, client):
    def fail():
        raise InternalServerError

    app.add_url_rule(f"{API}/broken", "broken", fail)
    assert statuses(client, {"method": "GET", "path": f"{API}/broken"}, ME) == [500, 401]


def test_fifty_completions_with_bodies_and_keys_are_not_too_much(learner, theory, rows):
    operations = [complete(theory, body={"time_spent_seconds": n}, idempotency_key=f"c{n}", if_match='"x"') for n in range(50)]
    assert statuses(learner.client, *operations) == [201, *[200] * 49]
    assert len(rows(completions)) == 1
    assert Counter(row["currency"] for row in rows(ledger_entries)) == {"xp": 1, "coins": 1}


@pytest.mark.parametrize("number", [0, 51])
def test_the_number_of_operations_is_limited(learner, theory, rows, number):
    answer = send(learner.client, *[complete(theory)] * number)
    assert answer.status_code == 422
    assert list(answer.json["errors"]) == ["operations"]
    assert rows(completions) == []


def test_sent_again_after_a_lost_answer_it_gives_the_same(learner, quiz, theory, rows, clock):
    operations = [
        {"method": "POST", "path": f"{API}/lessons/{quiz}/attempts", "body": {}, "idempotency_key": "a"},
        complete(theory, body={"time_spent_seconds": 7}, idempotency_key="b"),
        complete(theory, body={"time_spent_seconds": 8}, idempotency_key="b"),
    ]
    first = results(learner.client, *operations)
    clock.advance(minutes=1)
    again = results(learner.client, *operations)
    assert again[2]["body"].pop("request_id") != first[2]["body"].pop("request_id")
    assert again == first
    assert [result["status"] for result in first] == [201, 201, 422]
    assert first[2]["body"]["type"] == "urn:codyverse:problem:idempotency-mismatch"
    assert len(rows(attempts)) == 1


def test_a_key_is_known_whether_it_came_in_a_batch_or_alone(learner, quiz, rows):
    path = f"{API}/lessons/{quiz}/attempts"
    alone = learner.client.post(path, data="{}", content_type="application/json", headers={"Idempotency-Key": "a"})
    [again] = results(learner.client, {"method": "POST", "path": path, "body": {}, "idempotency_key": "a"})
    assert (again["status"], again["body"]) == (201, alone.json)
    assert len(rows(attempts)) == 1


def test_a_batch_has_no_key_of_its_own(learner, theory, rows):
    answer = send(learner.client, complete(theory), headers={"Idempotency-Key": "a"})
    assert answer.status_code == 422
    assert list(answer.json["errors"]) == ["Idempotency-Key"]
    assert rows(completions) == []


def test_if_match_is_that_of_the_operation(learner, rows):
    etag = learner.client.get(f"{API}/me").headers["ETag"]
    change = {"method": "PATCH", "path": f"{API}/me", "if_match": etag}
    assert statuses(learner.client, change | {"body": {"locale": "fr"}}, change | {"body": {"locale": "de"}}) == [200, 412]
    assert rows(users)[0]["locale"] == "fr"


OTHER_ADDRESSES = [
    "https://example.org/api/v1/me",
    "//example.org/api/v1/me",
    "/livez",
    "/",
    "",
    "me",
    "/api/v1",
    "/api/v1/",
    "/api/v1//me",
    "/api/v1/me/",
    "/API/v1/me",
    "/api/v1/../v1/me",
    "/api/v1/./me",
    "/api/v1/%6de",
    "/api/v1/me%2favatar",
    "/api/v1/me#top",
    "/api/v1/courses?q=a#top",
    "/api/v1/courses?q=a b",
    "/api/v1/courses?q=ä",
    "/api/v1/mé",
    "/api/v1/me\n",
    "/api/v1/me\r\nHost: example.org",
    "/api/v1/me;x",
    "/api/v1\\me",
    "/api/v1/openapi.json",
    "/api/v1/" + "a" * 2000,
]


def test_other_addresses_refuse_the_batch(learner, theory, rows):
    for path in OTHER_ADDRESSES:
        answer = send(learner.client, complete(theory), {"method": "GET", "path": path})
        assert answer.status_code == 422, path
        assert list(answer.json["errors"]) == ["operations.1.path"], path
    assert rows(completions) == []


OTHER_FORMS = [
    {"method": "HEAD"},
    {"method": "OPTIONS"},
    {"method": "get"},
    {"idempotency_key": "a b"},
    {"idempotency_key": "a\n"},
    {"idempotency_key": ""},
    {"idempotency_key": "a" * 256},
    {"if_match": '"a"\r\nCookie: b'},
    {"if_match": ""},
    {"headers": {"Cookie": "codyverse=x"}},
]


def test_other_forms_refuse_the_batch(learner, theory, rows):
    for change in OTHER_FORMS:
        answer = send(learner.client, complete(theory), ME | change)
        assert answer.status_code == 422, change
        assert list(answer.json["errors"]) == [f"operations.1.{next(iter(change))}"]
    assert rows(completions) == []


NO_PARTS = [
    ("POST", "/batch"),
    ("POST", "/batch?x=1"),
    ("POST", "/auth/login"),
    ("POST", "/auth/register"),
    ("POST", "/auth/logout"),
    ("POST", "/auth/tokens"),
    ("GET", "/auth/sessions"),
    ("PUT", "/me/avatar"),
    ("GET", "/me/avatar?v=1"),
    ("POST", "/csp-reports"),
]


def test_what_cannot_be_part_of_a_batch_is_answered_422_of_its_own(learner, theory, rows):
    account = {"email": learner.email, "password": learner.password}
    for method, path in NO_PARTS:
        body = {"operations": [complete(theory)]} if path.startswith("/batch") else account
        answer = send(learner.client, {"method": method, "path": API + path, "body": body}, ME)
        refused, me = answer.json["results"]
        assert (refused["status"], list(refused["body"]["errors"]), me["status"]) == (422, ["path"], 200), path
        assert "Set-Cookie" not in answer.headers
    assert len(rows(sessions)) == 1 and rows(api_tokens) == [] and rows(completions) == []


def test_what_is_not_json_or_signs_in_cannot_be_part_of_a_batch(client):
    """A new operation that answers an image, say, fails here unless it is in OUTSIDE."""
    other = set()
    for path, methods in client.get(f"{API}/openapi.json").json["paths"].items():
        for operation in methods.values():
            if not isinstance(operation, dict) or "responses" not in operation:
                continue
            described = [*operation["responses"].values(), operation.get("requestBody", {})]
            kinds = {kind for each in described for kind in each.get("content", {})}
            if kinds - {"application/json", "application/problem+json"}:
                other.add(path)
    assert other == {f"{API}/me/avatar", f"{API}/csp-reports"}
    assert other | {f"{API}/auth", BATCH} == set(batch.OUTSIDE)


def test_each_operation_asks_for_its_own_rights(app, client, learner, theory, rows):
    assert statuses(client, ME, {"method": "GET", "path": f"{API}/courses"}) == [401, 200]
    created = learner.client.post(f"{API}/auth/tokens", json={"name": "offline", "scopes": ["learning:write"]})
    bearer = {"Authorization": f"Bearer {created.json['token']}"}
    assert statuses(client, complete(theory), ME, headers=bearer) == [201, 403]
    assert [row["user_id"] for row in rows(completions)] == [learner.id]


def test_a_session_needs_its_csrf_token(app, learner, theory, rows):
    client = app.test_client()
    client.set_cookie("codyverse", learner.client.get_cookie("codyverse").value)
    assert statuses(client, complete(theory), ME) == [403, 200]
    assert statuses(client, complete(theory), ME, headers={"X-CSRF-Token": "wrong"}) == [403, 200]
    foreign = send(learner.client, complete(theory), headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert rows(completions) == []


@pytest.fixture
def with_an_end(app, database):
    """The application with an address that ends every session; addresses are added before the first request."""

    def end():
        with database.transaction() as tx:
            ended = tx.execute(sessions.delete().returning(sessions.c.user_id)).scalars()
            tx.touch(*(f"account:{user_id}" for user_id in ended))
        return {}

    app.add_url_rule(f"{API}/end", "end", end)


def test_a_session_that_ends_meanwhile_is_noticed(with_an_end, learner):
    assert statuses(learner.client, ME, {"method": "GET", "path": f"{API}/end"}, ME) == [200, 200, 401]


@pytest.fixture
def probed(app):
    """The application with an address that leaves traces wherever a request can, and tells which it found."""

    def probe():
        seen = {"g": "trace" in g, "session": "trace" in session, "address": request.remote_addr, "url": request.url}
        seen |= {"user_agent": request.user_agent.string, "length": request.content_length, "endpoint": request.endpoint}
        g.trace = session["trace"] = True

        @after_this_request
        def trace(response):
            response.headers["X-Trace"] = "left"
            response.set_cookie("trace", "left")
            return response

        return seen

    app.add_url_rule(f"{API}/probe", "probe", probe, methods=["GET", "POST"])
    return app


def test_requests_within_leave_the_one_around_them_alone(probed):
    client = probed.test_client()
    kept = []

    @probed.after_request
    def look(response):
        if request.path == BATCH:
            kept.append(("trace" in g, "trace" in session, request.endpoint, g.get("caller", "nobody")))
        return response

    probe = {"method": "GET", "path": f"{API}/probe"}
    answer = send(client, probe, probe)
    assert [(one["body"]["g"], one["body"]["session"]) for one in answer.json["results"]] == [(False, False)] * 2
    assert kept == [(False, False, "batch.send_batch", None)]
    assert "Set-Cookie" not in answer.headers and "X-Trace" not in answer.headers


def test_an_operation_comes_from_where_the_batch_comes_from(database_url, tmp_path):
    app = create_app(make_settings(tmp_path, database_url, trusted_proxies=1))
    app.add_url_rule(
        f"{API}/probe", "probe", lambda: [request.remote_addr, request.url, request.user_agent.string, request.data.decode()]
    )
    forwarded = {
        "X-Forwarded-For": "203.0.113.9, 198.51.100.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "school.example.org",
        "User-Agent": "offline/1",
    }
    [found] = results(
        app.test_client(), {"method": "GET", "path": f"{API}/probe?a=%C3%A4&b=1", "body": {"x": "é"}}, headers=forwarded
    )
    components.of(app).close()
    assert found["body"] == ["198.51.100.7", "https://school.example.org/api/v1/probe?a=ä&b=1", "offline/1", '{"x":"é"}']


@pytest.mark.usefixtures("time")
def test_limits_count_every_operation(database_url, tmp_path, clock):
    app = create_app(make_settings(tmp_path, database_url, limit_endpoint="3 per minute", limit_client="10 per minute"))
    courses = {"method": "GET", "path": f"{API}/courses"}
    found = results(app.test_client(), *[courses] * 5, ME)
    assert [result["status"] for result in found] == [200, 200, 200, 429, 429, 401]
    assert found[3]["headers"] == {"Retry-After": "61"}
    assert found[3]["body"]["type"] == "urn:codyverse:problem:too-many-requests"
    again = send(app.test_client(), *[ME] * 6)  # the batches count as well: 1 + 4 and 1 + 5 more are the client's ten, and one
    assert [result["status"] for result in again.json["results"]] == [401, 401, 429, 429, 429, 429]
    assert again.headers["X-RateLimit-Reset"] and int(again.headers["X-RateLimit-Reset"]) > START
    components.of(app).close()


def test_operations_that_are_not_begun_in_time_are_left_to_the_client(app):
    now, sent = 100.0, []

    def slow(operation):
        nonlocal now
        now += 12
        sent.append(operation)
        return app.response_class(b"{}", mimetype="application/json")

    with app.test_request_context(BATCH):
        found = batch.run([{"path": n} for n in range(4)], slow, lambda: now)
    assert [result["status"] for result in found] == [200, 200, 503, 503]
    assert sent == [{"path": 0}, {"path": 1}]
    assert found[2]["headers"] == {"Retry-After": "2"}
    assert orjson.loads(orjson.dumps(found[2]["body"]))["type"] == "urn:codyverse:problem:unavailable"


def test_the_time_runs_from_the_beginning(learner, theory, rows, monkeypatch):
    monkeypatch.setattr(batch, "BUDGET_S", 0.0)
    assert statuses(learner.client, complete(theory), ME) == [503, 503]
    assert rows(completions) == []


def test_the_limits_of_json_hold_for_the_whole(learner, theory, rows):
    long = send(learner.client, complete(theory), ME | {"body": "x" * batch.MAX_BYTES})
    assert (long.status_code, long.json["type"]) == (413, "urn:codyverse:problem:too-large")
    many = send(learner.client, complete(theory), ME | {"body": [0] * MAX_VALUES})
    assert (many.status_code, many.json["type"]) == (400, "urn:codyverse:problem:malformed-input")
    nested = []
    for _ in range(14):
        nested = [nested]
    deep = send(learner.client, complete(theory), ME | {"body": nested})
    assert (deep.status_code, deep.json["type"]) == (400, "urn:codyverse:problem:malformed-input")
    assert rows(completions) == []


def test_a_body_of_any_kind_is_the_operations_to_judge(learner, theory):
    bodies = [[], "text", 0, False, "", {"unknown": 1}]
    assert statuses(learner.client, *[complete(theory, body=body) for body in bodies]) == [422] * 6
    assert statuses(learner.client, complete(theory, body=None)) == [201]
