from __future__ import annotations

import gzip
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import brotli
import pytest
from flask import Flask, g, request
from flask.testing import FlaskClient
from flask_compress.compat import compression
from werkzeug.test import TestResponse

import config
from codyverse import create_app
from codyverse.database import Database
from codyverse.errors import Unavailable
from codyverse.http import counting, finishing
from codyverse.learning.models import courses
from codyverse.operations import components
from codyverse.operations.cache.generations import Generations
from codyverse.operations.cache.reading import used_outdated
from tests.conftest import IMAGE_DIGEST, ImportedCatalogue, Learner, make_settings
from tests.one_engine import cheapest  # noqa: F401  (a fixture)
from tests.operations.limited import PRODUCTION

DECODE = {"zstd": compression.zstd.decompress, "br": brotli.decompress, "gzip": gzip.decompress}
FRIEND = "https://app.example.org"
INIT_APP = finishing.init_app

Make = Callable[..., Flask]


@pytest.fixture
def make(tmp_path: Path, database_url: str) -> Iterator[Make]:
    """Make applications on the test's database."""
    made: list[Flask] = []

    def make(**chosen: Any) -> Flask:
        made.append(create_app(make_settings(tmp_path, database_url, **{"cors_origins": [FRIEND]} | chosen)))
        return made[-1]

    yield make
    for app in made:
        components.of(app).close()


@pytest.fixture
def app(make: Make) -> Flask:
    return make()


@pytest.fixture
def asked(app: Flask) -> list[str]:
    """The requests that the application itself answers."""
    asked: list[str] = []
    app.before_request(lambda: asked.append(request.path))
    return asked


def outdate(app: Flask, *tags: str) -> None:
    generations: Generations = app.extensions["codyverse.generations"]
    generations.begin(tags)
    generations.end(tags)


def fill(client: FlaskClient, path: str, **headers: str) -> None:
    for _ in range(2):
        client.get(path, headers=headers).close()


def public_paths(catalogue: ImportedCatalogue) -> list[str]:
    lesson, quiz = catalogue.lesson("machines/what-is-a-guess"), max(catalogue.ids.values())
    return [
        *("/", "/courses/machines", f"/lessons/{lesson}", f"/lessons/{quiz}", "/?from=mail"),
        *("/api/v1/courses", "/api/v1/courses?limit=1", "/api/v1/courses/machines", "/api/v1/courses/machines/lessons"),
        *(f"/api/v1/lessons/{lesson}", f"/api/v1/lessons/{quiz}", "/api/v1/openapi.json"),
        *(f"/media/machines/{IMAGE_DIGEST}/three-dots.svg", "/static/app.css", "/static/cody.svg"),
    ]


HEALTH = ["/livez", "/readyz", "/health"]
NEVER_KEPT = [
    *("/api/docs", "/api/v1/me", "/static/missing", "/courses/missing", "/api/v1/lessons/0"),
    *("/api/v1/courses?limit=0", "/api/v1/courses?unknown=1", "/?cursor=", "/static/swagger-ui/swagger-ui-bundle.js"),
]
ENCODINGS = [
    None, "", "identity", "gzip", "br", "zstd", "gzip, deflate, br, zstd", "gzip, br;q=0.5", "br;q=0, gzip", "br;q=0", "*",
    "*;q=0", "gzip;q=0, *;q=0.5", "identity;q=1, br;q=0.9", "GZIP", "deflate", "nonsense;;;q=x", "br;q=1.5,zstd;q=0.1",
]  # fmt: skip
MORE: list[dict[str, str]] = [
    *({} for _ in range(25)),
    {"Range": "bytes=0-9"},
    {"If-Modified-Since": "Tue, 24 Nov 2099 12:00:00 GMT"},
    {"If-Unmodified-Since": "Tue, 24 Nov 1999 12:00:00 GMT"},
    {"If-Match": '"nothing"'},
    {"Cookie": "codyverse=nobody's; other=1"},
    {"Cookie": 'a="; b'},
    {"Authorization": "Bearer nobody's"},
    {"Authorization": "Basic !"},
    {"Origin": FRIEND},
    {"Origin": FRIEND.upper()},
    {"Origin": f"{FRIEND}.evil.example"},
    {"Origin": FRIEND, "Access-Control-Request-Private-Network": "true"},
    {"Accept": "text/html"},
    {"Accept": "application/json;q=0"},
    {"Accept-Language": "de"},
    {"Cache-Control": "no-cache", "Pragma": "no-cache"},
    {"Content-Type": "application/x-www-form-urlencoded"},
    {"Content-Encoding": "gzip"},
    {"Host": "other.example.org"},
    {"Host": "<script>"},
    {"X-Forwarded-Proto": "https", "X-Forwarded-For": "6.6.6.6"},
    {"X-HTTP-Method-Override": "DELETE"},
    {"Upgrade": "h2c"},
]
METHODS = [*["GET"] * 8, *["HEAD"] * 4, "OPTIONS", "POST", "TRACE", "ODD"]
OF_REQUEST = re.compile(r"(date|x-request-id|(x-)?ratelimit.*)\Z")


def _shape(answer: TestResponse) -> tuple[int, list[tuple[str, str]], bytes]:
    """What must be the same, whoever answers: all but the date, the id, the limits, and how hard the body was squeezed."""
    encoding = answer.headers.get("Content-Encoding")
    left_out = {"content-length"} if encoding else set()
    headers = [(name.lower(), value) for name, value in answer.headers]
    kept = sorted((name, value) for name, value in headers if name not in left_out and not OF_REQUEST.match(name))
    body = DECODE[encoding](answer.data) if encoding and answer.data else answer.data
    return answer.status_code, kept, body.replace(answer.headers["X-Request-ID"].encode(), b"its id")


def _tags(client: FlaskClient, path: str) -> list[str | None]:
    with client.get(path) as identity, client.get(path, headers={"Accept-Encoding": "br"}) as br:
        one, other = identity.headers.get("ETag", '"none"'), br.headers.get("ETag", '"none"')
    return [None, None, one, other, f"W/{one}", f'"x", {other}', "*", '"x"', "nonsense", one.strip('"'), ""]


def test_the_store_answers_as_flask_does(make: Make, catalogue: ImportedCatalogue) -> None:
    """Every public address, with what clients send and what only tests do: answers are equal, and most of them are hits."""
    with_store, without = make(), make(feature_optimization=False)
    by_flask: list[str] = []
    with_store.before_request(lambda: by_flask.append(request.path))
    ours, theirs = (each.test_client(use_cookies=False) for each in (with_store, without))  # they send what they are told
    chosen = random.Random(4)
    hits = 0
    for path in (*public_paths(catalogue), *NEVER_KEPT):
        fill(ours, path)
        everything = (ENCODINGS, _tags(theirs, path), MORE, METHODS)
        by_flask.clear()
        for _ in range(60):
            encoding, tag, more, method = (chosen.choice(each) for each in everything)
            headers = more | {name: v for name, v in (("Accept-Encoding", encoding), ("If-None-Match", tag)) if v is not None}
            shapes = []
            for client in (ours, theirs):
                with client.open(path, method=method, headers=headers) as answer:  # one streams at a time, as in a thread
                    shapes.append(_shape(answer))
            assert shapes[0] == shapes[1], (method, path, headers)
        hits += 60 - len(by_flask)
    assert hits > 0.5 * 60 * len(public_paths(catalogue))


def test_every_public_address_is_kept(app: Flask, asked: list[str], client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    for path in public_paths(catalogue):
        fill(client, path)
        asked.clear()
        assert client.get(path).status_code == 200
        assert not asked, path
    for path in (*HEALTH, *NEVER_KEPT):
        for _ in range(3):
            asked.clear()
            client.get(path).close()
            assert asked, path


@pytest.mark.usefixtures("catalogue")
def test_a_change_is_seen_by_the_next_request(app: Flask, client: FlaskClient, asked: list[str]) -> None:
    fill(client, "/")
    outdate(app, "catalogue")
    asked.clear()
    client.get("/")
    client.get("/")
    assert asked == ["/"]


def test_without_generations_nothing_is_kept(make: Make, monkeypatch: pytest.MonkeyPatch, catalogue: ImportedCatalogue) -> None:
    monkeypatch.setattr(finishing, "init_app", lambda app, generations: INIT_APP(app, None))
    app = make()
    asked: list[str] = []
    app.before_request(lambda: asked.append(request.path))
    for _ in range(4):
        assert app.test_client().get("/").status_code == 200
    assert len(asked) == 4


def test_switched_off_there_is_no_layer_and_the_same_is_said(make: Make, catalogue: ImportedCatalogue) -> None:
    app = make(feature_optimization=False)
    assert "codyverse.responses" not in app.extensions
    assert app.test_client().get("/").headers["Cache-Control"] == "public, no-cache"


# What is said about keeping


def test_browsers_ask_before_they_use_what_they_kept(client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    lesson = catalogue.lesson("machines/what-is-a-guess")
    for path in ("/", f"/lessons/{lesson}", "/api/v1/courses", f"/api/v1/lessons/{lesson}"):
        for _ in range(3):
            answer = client.get(path)
            assert answer.headers["Cache-Control"] == "public, no-cache"
            again = client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
            assert (again.status_code, again.headers["Cache-Control"]) == (304, "public, no-cache")


def test_images_are_kept_for_ever(client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    for _ in range(3):
        answer = client.get(f"/media/machines/{IMAGE_DIGEST}/three-dots.svg")
        assert "immutable" in answer.headers["Cache-Control"]


def test_what_is_personal_is_not_kept(app: Flask, asked: list[str], learner: Learner) -> None:
    for _ in range(4):
        answer = learner.client.get("/api/v1/me")
        assert answer.headers["Cache-Control"] == "private, no-cache"
    assert asked.count("/api/v1/me") == 4


@pytest.mark.parametrize("path", HEALTH)
def test_health_is_always_asked_anew(client: FlaskClient, asked: list[str], path: str) -> None:
    for _ in range(3):
        assert client.get(path).headers["Cache-Control"] == "no-store"
    assert len(asked) == 3


@pytest.mark.usefixtures("catalogue")
def test_files_have_addresses_that_change_with_them(client: FlaskClient, settings: config.Settings) -> None:
    found = re.findall(r'(?:href|src)="(/static/[^"]+)"', client.get("/").text)
    assert found
    for address in found:
        for _ in range(3):
            with client.get(address) as answer:
                assert answer.status_code == 200
                assert answer.headers["Cache-Control"] == f"public, max-age={settings.static_max_age_s}, immutable"


@pytest.mark.parametrize("query", ["", "?v=", "?v=0123456789abcdef", "?v=x&v="])
def test_a_file_without_its_digest_is_asked_for_again(client: FlaskClient, query: str) -> None:
    for _ in range(3):
        with client.get(f"/static/app.css{query}") as answer:
            assert answer.headers["Cache-Control"] == "no-cache"


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    for folder, content in (("one", "a"), ("two", "b"), ("three", "a")):
        (tmp_path / folder / "in").mkdir(parents=True)
        (tmp_path / folder / "in/file.css").write_text(content)
    one, two, three = (finishing.files(tmp_path / folder)["in/file.css"].digest for folder in ("one", "two", "three"))
    assert one == three != two


def test_files_may_be_asked_for_each_time(make: Make) -> None:
    app = make(static_max_age_s=0)
    with app.test_request_context():
        address = app.url_for("static", filename="app.css")
    with app.test_client().get(address) as answer:
        assert answer.headers["Cache-Control"] == "no-cache"


# The database is away


@pytest.mark.usefixtures("catalogue")
def test_outdated_data_say_so_and_are_not_kept(app: Flask, client: FlaskClient, asked: list[str]) -> None:
    age_s: list[float] = [42.7]
    app.before_request(lambda: [used_outdated(age) for age in age_s] and None)
    for _ in range(4):
        answer = client.get("/api/v1/courses")
        assert (answer.status_code, answer.headers["Age"]) == (200, "42")
        assert answer.headers["Warning"] == '110 - "Response is Stale"'
    assert len(asked) == 4
    age_s.clear()
    assert "Age" not in client.get("/api/v1/courses").headers


def test_the_old_answer_is_sent_while_the_database_is_away(app: Flask, client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    away: list[bool] = []

    @app.before_request
    def fail() -> None:
        if away:
            raise Unavailable("The database is away.")

    fill(client, "/api/v1/courses/machines")
    fresh = client.get("/api/v1/courses/machines")
    outdate(app, "course:machines")
    away.append(True)
    for accepted in ("identity", "br"):
        old = client.get("/api/v1/courses/machines", headers={"Accept-Encoding": accepted})
        assert old.status_code == 200
        assert old.headers["Warning"] == '110 - "Response is Stale"'
        assert int(old.headers["Age"]) >= 0
        assert (DECODE["br"](old.data) if accepted == "br" else old.data) == fresh.data
        assert len(old.headers.getlist("RateLimit")) == 1
    assert client.get("/api/v1/courses").status_code == 503  # nobody has asked for it before
    away.clear()
    assert "Warning" not in client.get("/api/v1/courses/machines").headers


def test_what_was_withdrawn_does_not_come_back_while_the_database_is_away(
    app: Flask, client: FlaskClient, catalogue: ImportedCatalogue, database: Database
) -> None:
    away: list[bool] = []

    @app.before_request
    def fail() -> None:
        if away:
            raise Unavailable("The database is away.")

    fill(client, "/api/v1/courses/machines")
    with database.transaction() as tx:
        tx.execute(courses.update().values(retired_at=tx.now))
        tx.touch("course:machines")
    assert client.get("/api/v1/courses/machines").status_code == 404
    away.append(True)
    assert client.get("/api/v1/courses/machines").status_code == 503


# Counting


def _remaining(answer: TestResponse) -> tuple[str, int]:
    told = re.fullmatch(r'"(.+)";r=(\d+);t=\d+', answer.headers["RateLimit"])
    assert told
    return told[1], int(told[2])


def test_hits_count_like_other_requests(make: Make, catalogue: ImportedCatalogue) -> None:
    client = make(**PRODUCTION | {"limit_endpoint": "6 per minute"}).test_client()
    seen = [_remaining(client.get("/api/v1/courses")) for _ in range(6)]
    assert seen == [("endpoint", left) for left in (5, 4, 3, 2, 1, 0)]
    refused = client.get("/api/v1/courses")
    assert refused.status_code == 429
    assert refused.content_type == "application/problem+json"
    assert int(refused.headers["Retry-After"]) > 0
    assert client.get("/api/v1/courses/machines").status_code == 200


def test_a_refused_hit_is_refused_as_flask_would_and_counts_once(make: Make, catalogue: ImportedCatalogue) -> None:
    limits = PRODUCTION | {"limit_endpoint": "3 per minute", "limit_address": "40 per hour"}
    told = {}
    for on in (True, False):
        client = make(**limits, feature_optimization=on).test_client()
        address = {"REMOTE_ADDR": "192.0.2.7" if on else "192.0.2.8"}
        answers = [client.get("/api/v1/courses", environ_base=address) for _ in range(20)]
        told[on] = [(answer.status_code, _remaining(answer), answer.get_json().get("title", "")) for answer in answers]
        left = client.get("/api/v1/courses/machines", environ_base=address)
        told[on].append((left.status_code, _remaining(left), ""))
        counted = 0
        while client.get("/", environ_base=address).status_code == 200:
            counted += 1
        told[on].append((counted, ("", 0), ""))
    assert told[True] == told[False]
    assert [status for status, *_ in told[True][:5]] == [200, 200, 200, 429, 429]


def test_an_address_is_refused_for_pages_and_files(make: Make, catalogue: ImportedCatalogue) -> None:
    client = make(**PRODUCTION | {"limit_address": "5 per minute"}).test_client()
    for path in ("/static/app.css", "/"):
        address = {"REMOTE_ADDR": f"192.0.2.{len(path)}"}
        statuses = []
        for _ in range(7):
            with client.get(path, environ_base=address) as answer:
                statuses.append(answer.status_code)
        assert statuses == [200] * 5 + [429] * 2, path


def test_hits_of_somebody_signed_in_count_for_the_account(make: Make, catalogue: ImportedCatalogue) -> None:
    app = make(**PRODUCTION | {"limit_client": "10 per hour", "limit_address": "1000 per hour"})
    asked: list[str] = []
    app.before_request(lambda: asked.append(request.path))
    client = app.test_client()
    details = {"email": "ada@example.org", "password": "seven quiet otters", "display_name": "Ada", "birth_date": "1990-12-10"}
    assert client.post("/api/v1/auth/register", json=details).status_code == 201
    left = [_remaining(client.get("/api/v1/courses")) for _ in range(5)]
    assert left == [("client", count) for count in (9, 8, 7, 6, 5)]
    assert len(asked) == 3  # registering, and two that filled the store
    nobody = app.test_client()
    assert _remaining(nobody.get("/api/v1/courses")) == ("client", 9)


def test_who_somebody_is_is_asked_again_after_a_while() -> None:
    now = [0.0]
    known = counting.Clients(lambda: now[0])
    known.learn("Bearer x", "", "account:17")
    known.learn("", "a=b", counting.NOBODY)
    assert known.client("Bearer x", "") == "account:17"
    assert known.client("", "a=b") == counting.NOBODY
    assert known.client("", "Bearer x") is None
    now[0] += counting.KNOWN_S
    assert known.client("Bearer x", "") is None


def test_no_more_clients_are_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST", 3)
    known = counting.Clients()
    for number in range(5):
        known.learn(f"Bearer {number}", "", f"account:{number}")
    assert [known.client(f"Bearer {number}", "") for number in range(5)] == [None, None, "account:2", "account:3", "account:4"]


def test_who_was_not_looked_up_is_not_remembered(make: Make, catalogue: ImportedCatalogue) -> None:
    """The database could not be asked, so the address was counted; that must not stay so when it can be asked again."""
    app = make()

    @app.before_request
    def forget() -> None:
        g.pop("caller", None)

    asked: list[str] = []
    app.before_request(lambda: asked.append(request.path))
    for _ in range(5):
        app.test_client(use_cookies=False).get("/", headers={"Cookie": "codyverse=x"})
    assert len(asked) == 5
