"""What stands before every view; tests/http/test_bombs.py tries the same, and what gunicorn refuses, on the real server."""

import socket
from io import BytesIO
from pathlib import Path

import pytest

from codyverse.accounts.models import users
from codyverse.http.json import MAX_VALUES
from tests.one_engine import strictest  # noqa: F401  (a fixture)
from tests.server import Server

LOGIN, REGISTER, ME = "/api/v1/auth/login", "/api/v1/auth/register", "/api/v1/me"


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate", "x-gzip", "gzip, identity", "GZIP", "nonsense", ""])
@pytest.mark.parametrize("path", [LOGIN, REGISTER])
def test_a_compressed_body_is_refused(client, path, coding, rows):
    answer = client.post(path, data=b"\x1f\x8b", content_type="application/json", headers={"Content-Encoding": coding})

    assert answer.status_code == 415
    assert answer.content_type == "application/problem+json"
    assert list(answer.json["errors"]) == ["Content-Encoding"]
    assert rows(users) == []


def test_a_body_may_say_that_it_is_not_compressed(learner):
    assert learner.client.patch(ME, json={"locale": "fr"}, headers={"Content-Encoding": "identity"}).status_code == 200


def test_a_body_that_is_too_large_is_named(learner, settings):
    answer = learner.client.patch(ME, json={"locale": "x" * settings.max_body_bytes})

    assert answer.status_code == 413
    assert answer.json["type"] == "urn:codyverse:problem:too-large"
    assert answer.json["errors"] == {"body": [f"Must not be larger than {settings.max_body_bytes} bytes."]}


@pytest.mark.parametrize(("size", "status"), [(-1, 200), (0, 413), (1, 413)])
def test_a_chunked_body_is_refused_and_not_cut(learner, settings, rows, size, status):
    body = b'{"locale": "fr"}'.ljust(settings.max_body_bytes + size)
    chunked = {"wsgi.input_terminated": True, "wsgi.input": BytesIO(body)}
    answer = learner.client.patch(ME, content_type="application/json", environ_overrides=chunked)

    assert answer.status_code == status
    assert rows(users)[0]["locale"] == ("fr" if status == 200 else "en")


def test_what_was_sent_with_a_refused_request_is_read(client):
    sent = BytesIO(b"x" * 3_000_000)
    gunicorn = {"wsgi.input_terminated": True, "wsgi.input": sent, "CONTENT_LENGTH": "3000000"}
    answer = client.post(LOGIN, content_type="application/json", environ_overrides=gunicorn)

    assert answer.status_code == 413
    assert sent.read() == b""


@pytest.mark.parametrize("charset", ["latin-1", "utf-16", "utf-7"])
def test_json_is_utf_8(learner, charset):
    answer = learner.client.patch(ME, data=b"{}", content_type=f"application/json; charset={charset}")

    assert answer.status_code == 415
    assert list(answer.json["errors"]) == ["Content-Type"]
    assert learner.client.patch(ME, data=b"{}", content_type="application/json; charset=UTF-8").status_code == 200


@pytest.mark.parametrize("query", ["limit=%ff", "limit=5&cursor=%c3", "%ff=1", "limit=%ed%a0%80"])
@pytest.mark.parametrize("path", ["/api/v1/courses", "/", "/livez", "/nothing"])
def test_a_query_that_is_not_utf_8_is_refused(client, path, query):
    answer = client.get(f"{path}?{query}", headers={"Accept": "application/json"})

    assert answer.status_code == 400
    assert list(answer.json["errors"]) == [query.split("&")[-1].split("=")[0]]


@pytest.mark.parametrize(
    "path", ["/api/v1/courses/%ff", "/courses/%c3%28", "/lessons/%ff", "/media/machines/%ff", "/static/%ff", "/%ff"]
)
def test_a_path_that_is_not_utf_8_leads_nowhere(client, catalogue, path):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("form", "status"),
    [("&".join(f"field{i}=x" for i in range(10_000)), 413), ("&" * 10_000, 413), ("a=" + "x" * 70_000, 413), ("a=%ff", 400)],
    ids=["fields", "empty fields", "bytes", "not UTF-8"],
)
@pytest.mark.parametrize("path", [LOGIN, "/", "/nothing"])
def test_forms_have_limits_of_their_own(client, path, form, status):
    headers = {"Accept": "application/json"}
    answer = client.post(path, data=form, content_type="application/x-www-form-urlencoded", headers=headers)

    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert answer.json["errors"]


def test_forms_of_many_parts_are_cut(app):
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    environment = {"method": "POST", "data": part * 10_000 + b"--x--\r\n", "content_type": "multipart/form-data; boundary=x"}
    environment["data"] = environment["data"][: app.config["MAX_CONTENT_LENGTH"]]
    with app.test_request_context("/", **environment) as context, pytest.raises(Exception, match="413"):
        len(context.request.form)


TWICE = [
    '{"locale": "fr", "locale": "de"}',
    '{"a": {"b": [{"c": 1, "c": 1}]}}',
    '{"\\u0061": 1, "a": 2}',
    '{"": 1, "": 2}',
]


@pytest.mark.parametrize("body", TWICE)
def test_a_name_that_occurs_twice_is_refused(learner, rows, body):
    answer = learner.client.patch(ME, data=body, content_type="application/json")

    assert answer.status_code == 400
    assert answer.json["errors"] == {"body": ["A name occurs twice in one object."]}
    assert rows(users)[0]["locale"] == "en"


@pytest.mark.parametrize("name", ["a: b", ':":', '\\":\\"', "\\\\", ":\\\\", "{:}", "é:", '"a": 1, "a": 2'])
def test_colons_in_texts_are_no_names(learner, rows, name):
    answer = learner.client.patch(ME, json={"display_name": name})

    assert answer.status_code == 200
    assert rows(users)[0]["display_name"] == name


@pytest.mark.parametrize(
    "body",
    [
        "[" + "1," * MAX_VALUES + "1]",
        "{" + ",".join(f'"f{i}":1' for i in range(10_000)) + "}",
        '{"' + "x" * 100_000 + '": [' + "1," * 70_000 + "1]}",  # a name that would be copied for each of the values below it
    ],
    ids=["values", "names", "values below a long name"],
)
def test_values_are_counted(learner, body):
    answer = learner.client.patch(ME, data=body, content_type="application/json")

    assert answer.status_code == 400
    assert answer.json["errors"] == {"body": ["Too many values."]}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"a": [1, {"b": "x\\u0000"}]}', "a.1.b"),
        ('["\\u0000"]', "0"),
        ('"\\u0000"', "body"),
        ('{"a": {"\\u0000": 1}}', "a"),
        ('{"a":' * 17 + "1" + "}" * 17, ".".join("a" * 16)),
    ],
)
def test_the_place_in_the_body_is_named(learner, body, field):
    answer = learner.client.patch(ME, data=body, content_type="application/json")

    assert (answer.status_code, list(answer.json["errors"])) == (400, [field])


BROKEN_BODIES = {
    "a size that is no number": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a negative size": b"Transfer-Encoding: chunked\r\n\r\n-5\r\n{}\r\n0\r\n\r\n",
    "a wrong end of a chunk": b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx\r\n0\r\n\r\n",
    "an early end": b"Content-Length: 90\r\n\r\n{}",
}


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_a_body_that_is_framed_wrongly_is_400(database_url: str, tmp_path: Path) -> None:
    with Server(tmp_path, database_url) as server:
        for name, rest in BROKEN_BODIES.items():
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
                head = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                connection.sendall(head + rest)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.makefile("rb").readline()
            assert answer.startswith(b"HTTP/1.1 400 "), (name, answer)
