"""What a client sends cannot break anything: 4xx as problem+json, nothing written, whatever the operation."""

import pytest
import sqlalchemy as sa

from codyverse.accounts.models import api_tokens, sessions
from codyverse.database import metadata
from tests.one_engine import strictest  # noqa: F401  (a fixture)

DEEP = b'{"a":' * 5000 + b"1" + b"}" * 5000

# (what it is, body, content type, statuses that are right)
RUBBISH = [
    ("no JSON", b"{", "application/json", {400}),
    ("trailing comma", b'{"email": "a@example.org",}', "application/json", {400}),
    ("not UTF-8", b'{"email": "\xff\xfe"}', "application/json", {400}),
    ("NaN", b'{"answer": NaN}', "application/json", {400}),
    ("Infinity", b'{"answer": -Infinity}', "application/json", {400}),
    ("a number too large", b'{"answer": 1e999}', "application/json", {400}),
    ("U+0000", b'{"email": "a\\u0000b"}', "application/json", {400}),
    ("U+0000 in a name", b'{"a\\u0000b": 1}', "application/json", {400}),
    ("a lone surrogate", b'{"email": "\\ud800"}', "application/json", {400}),
    ("a lone surrogate in a name", b'{"\\udfff": 1}', "application/json", {400}),
    ("5,000 levels", DEEP, "application/json", {400}),
    ("5,000 lists", b"[" * 5000 + b"]" * 5000, "application/json", {400}),
    ("17 levels", b'{"a":' * 17 + b"1" + b"}" * 17, "application/json", {400}),
    ("many values", b'{"a": [' + b"1," * 3000 + b"1]}", "application/json", {400}),
    ("10 MB", b'{"a": "' + b"x" * 10_000_000 + b'"}', "application/json", {413}),
    ("a list", b"[]", "application/json", {422}),
    ("a text", b'"text"', "application/json", {422}),
    ("null", b"null", "application/json", {422}),
    ("an unknown field", b'{"surprise": 1}', "application/json", {422}),
    ("a form", b"email=a%40example.org", "application/x-www-form-urlencoded", {415}),
    ("plain text", b"{}", "text/plain", {415}),
    ("no content type", b"{}", "", {415}),
    ("gzip", b"\x1f\x8b\x08\x00", "application/json", {400}),
]


@pytest.fixture
def operations(app, learner, catalogue):
    """Method and address of every operation that reads JSON, from the OpenAPI document, so that a new one is tried as well."""
    document = learner.client.get("/api/v1/openapi.json").json
    attempt = learner.client.post(f"/api/v1/lessons/{catalogue.lesson('machines/open-quiz')}/attempts").json
    known = {
        "lesson_id": catalogue.lesson("machines/what-is-a-guess"),
        "attempt_id": attempt["id"],
        "question_id": "narrow",
        "course_slug": "machines",
    }
    return [
        (method, path.format(**known))
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters" and "application/json" in operation.get("requestBody", {}).get("content", {})
    ]


@pytest.fixture
def count(database):
    """Count the rows of every table."""

    def count():
        with database.read() as reader:
            return {
                name: reader.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                for name, table in metadata.tables.items()
            }

    return count


@pytest.mark.parametrize(("body", "content_type", "right"), [row[1:] for row in RUBBISH], ids=[row[0] for row in RUBBISH])
def test_rubbish_is_refused_by_every_operation(learner, operations, count, body, content_type, right):
    assert len(operations) >= 6
    before = count()
    for method, path in operations:
        answer = learner.client.open(path, method=method.upper(), data=body, content_type=content_type)
        assert answer.status_code in right, (method, path, answer.text)
        assert answer.content_type == "application/problem+json"
        assert answer.json["status"] == answer.status_code
        if answer.status_code == 422:
            assert answer.json["errors"]
    assert count() == before


@pytest.mark.parametrize("where", ["session", "token"])
@pytest.mark.parametrize("number", ["0", "-1", "1e3", "abc", "9" * 40, "9223372036854775808", "%00", "%ff", "1;DROP", "٣"])
def test_what_is_no_id_is_404_and_named(learner, where, number, rows):
    answer = learner.client.delete(f"/api/v1/auth/{where}s/{number}")
    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"
    table = sessions if where == "session" else api_tokens
    assert not [row for row in rows(table) if row["revoked_at"]]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "cursor=x", "surprise=1", "limit=%00"])
@pytest.mark.parametrize("path", ["/me/ledger", "/me/progress", "/auth/sessions", "/auth/tokens", "/courses"])
def test_what_is_no_query_is_422_and_named(learner, path, query):
    answer = learner.client.get(f"/api/v1{path}?{query}")
    assert answer.status_code == 422
    assert query.split("=")[0] in answer.json["errors"]


@pytest.mark.parametrize("key", ["", " ", "two words", "x" * 256, "ümlaut"])
def test_what_is_no_idempotency_key_is_400_and_named(learner, catalogue, key):
    path = f"/api/v1/lessons/{catalogue.lesson('machines/what-is-a-guess')}/completions"
    answer = learner.client.post(path, json={}, headers={"Idempotency-Key": key.encode("utf-8").decode("latin-1")})
    assert answer.status_code == 400
    assert "Idempotency-Key" in answer.json["errors"]


@pytest.mark.parametrize(
    "path", ["/api/v1/nothing", "/api/v1/", "/api/v1/me/../../etc", "/api/v1/courses/%2e%2e", "/api/v1/courses/A B"]
)
def test_unknown_addresses_of_the_api_are_problems(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"


def test_a_wrong_method_says_which_are_right(client):
    answer = client.delete("/api/v1/courses")
    assert answer.status_code == 405
    assert answer.content_type == "application/problem+json"
    assert "GET" in answer.headers["Allow"]
