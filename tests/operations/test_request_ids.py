"""Every answer has an id, and everything that is told about the request has it too."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient

from codyverse import create_app
from codyverse.operations import components, log_records, request_ids
from tests.conftest import ImportedCatalogue, Learner, make_settings
from tests.one_engine import cheapest  # noqa: F401  (a fixture)

HEADER = request_ids.HEADER
MADE = re.compile(r"[0-9a-f]{12}-[0-9a-f]{8}")


@pytest.fixture
def proxied(tmp_path: Path, database_url: str) -> Iterator[FlaskClient]:
    """The application behind one trusted proxy."""
    app = create_app(make_settings(tmp_path, database_url, trusted_proxies=1))
    yield app.test_client()
    components.of(app).close()


def test_it_works(client: FlaskClient) -> None:
    answers = [client.get("/api/v1/courses") for _ in range(20)]  # the later ones are finished answers
    ids = [answer.headers.getlist(HEADER) for answer in answers]
    assert all(len(each) == 1 and MADE.fullmatch(each[0]) for each in ids)
    assert len({each[0] for each in ids}) == 20


def test_every_kind_of_answer_has_one(app: Flask, client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.add_url_rule("/api/raise", "raise", lambda: 1 / 0)
    etag = client.get("/api/v1/courses").headers["ETag"]
    asked: list[tuple[str, str, int, dict[str, str]]] = [
        *(("GET", "/", 200, {}), ("GET", "/static/app.css", 200, {}), ("GET", "/livez", 200, {}), ("HEAD", "/", 200, {})),
        *(("GET", "/nothing", 404, {}), ("GET", "/api/v1/me", 401, {}), ("GET", "/api/raise", 500, {})),
        *(("DELETE", "/api/v1/courses", 405, {}), ("GET", "/", 400, {"Host": "<script>"}), ("GET", "/lessons//1", 404, {})),
        ("GET", "/api/v1/courses", 304, {"If-None-Match": etag}),
    ]
    for method, path, status, headers in asked:
        with client.open(path, method=method, headers=headers) as answer:
            assert answer.status_code == status, path
            assert MADE.fullmatch(answer.headers[HEADER]), path


def test_a_refusal_has_one(tmp_path: Path, database_url: str) -> None:
    app = create_app(make_settings(tmp_path, database_url, limit_endpoint="1 per day"))
    client = app.test_client()
    client.get("/api/v1/courses")
    refused = client.get("/api/v1/courses")
    components.of(app).close()
    assert refused.status_code == 429
    assert refused.json is not None
    assert refused.json["request_id"] == refused.headers[HEADER]


@pytest.mark.parametrize("given", ["a", "abc-DEF_1.2", "x" * 64])
def test_a_trusted_proxy_gives_it(proxied: FlaskClient, given: str) -> None:
    for path in ("/api/v1/courses", "/api/v1/courses", "/api/v1/courses", "/nothing"):
        assert proxied.get(path, headers={HEADER: given}).headers.getlist(HEADER) == [given]


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a,b", "ä", "<script>", "a\tb", 'a"b', "a/b", "a:b"])
def test_what_cannot_be_one_is_not_repeated(proxied: FlaskClient, given: str) -> None:
    answer = proxied.get("/nothing", environ_overrides={"HTTP_X_REQUEST_ID": given})
    assert MADE.fullmatch(answer.headers[HEADER])


def test_a_client_is_not_believed(client: FlaskClient) -> None:
    for path in ("/api/v1/courses", "/api/v1/courses", "/api/v1/courses", "/nothing"):
        answer = client.get(path, headers={HEADER: "mine"})
        assert MADE.fullmatch(answer.headers[HEADER])
        assert b"mine" not in answer.data


def test_a_line_break_is_none() -> None:
    assert MADE.fullmatch(request_ids.take("a\n", True))


def test_a_problem_has_it_in_its_body(client: FlaskClient) -> None:
    answer = client.get("/api/v1/nothing")
    assert answer.json is not None
    assert answer.json["request_id"] == answer.headers[HEADER]


def test_operations_of_a_batch_have_the_id_of_the_batch(learner: Learner) -> None:
    nothing = {"method": "GET", "path": "/api/v1/nothing"}
    answer = learner.client.post("/api/v1/batch", json={"operations": [nothing, nothing]})
    assert answer.json is not None
    assert [result["body"]["request_id"] for result in answer.json["results"]] == [answer.headers[HEADER]] * 2


def test_log_lines_have_it(app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.add_url_rule("/api/raise", "raise", lambda: 1 / 0)
    caplog.handler.setFormatter(log_records.formatter(console=False, exception_texts=False))
    answer = client.get("/api/raise")
    logging.getLogger("codyverse.errors").error("outside of any request")
    told = {line["event"]: line["request_id"] for line in map(orjson.loads, caplog.text.splitlines())}
    assert told == {"unexpected error": answer.headers[HEADER], "outside of any request": "-"}


def test_no_two_processes_make_the_same() -> None:
    reading, writing = os.pipe()
    before = request_ids.take(None, False)
    pid = os.fork()
    if pid == 0:
        os.write(writing, request_ids.take(None, False).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    child = os.read(reading, 100).decode()
    os.close(reading)
    os.close(writing)
    parent = request_ids.take(None, False)
    assert MADE.fullmatch(child)
    assert parent.split("-")[0] == before.split("-")[0] != child.split("-")[0]


def test_the_document_of_the_api_tells_of_it(client: FlaskClient) -> None:
    document = client.get("/api/v1/openapi.json").json
    assert document is not None
    assert document["components"]["schemas"]["Problem"]["properties"]["request_id"]["type"] == "string"


def test_scripts_of_other_origins_may_read_it(tmp_path: Path, database_url: str) -> None:
    app = create_app(make_settings(tmp_path, database_url, cors_origins=("https://app.example.org",)))
    answer = app.test_client().get("/api/v1/courses", headers={"Origin": "https://app.example.org"})
    assert HEADER in answer.headers["Access-Control-Expose-Headers"].split(", ")
    components.of(app).close()
