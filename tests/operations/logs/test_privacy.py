"""No log holds a password, token, cookie, e-mail address, name or text of a learner: marked ones are sent everywhere."""

from __future__ import annotations

import re
import socket
import sqlite3
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

import config
from codyverse.operations import logging as logs
from tests.conftest import IMAGE_DIGEST, ImportedCatalogue, make_settings
from tests.one_engine import cheapest  # noqa: F401  (a fixture)
from tests.server import Server

MARK = re.compile(rb"(?i)markk|1987-06-05")
EMAIL, PASSWORD, NAME, BORN = "markk.ada@markk.example", "markk quiet otters", "Markk Quill", "1987-06-05"
TOKEN, SECRET = f"cv_{'Markk7xQ' * 5}abc", f"{'Markk7xQ' * 5}abc"  # as those of ours
TEXT = "what markk thinks"
PATHS = (EMAIL, EMAIL.replace("@", "%40"), TOKEN, SECRET)  # what somebody might paste into an address

# One value for every name that any body of the API has, and some that none has.
BODY: dict[str, Any] = {
    **{"email": EMAIL, "password": PASSWORD, "current_password": PASSWORD, "new_password": PASSWORD, "token": TOKEN},
    **{"display_name": NAME, "name": NAME, "birth_date": BORN, "answer": TEXT, "text": TEXT, "locale": TEXT, "timezone": TEXT},
    **{"scopes": [TEXT], "events": [{"kind": "lesson_viewed", "lesson_id": 1, "note": TEXT}], "seconds": TEXT},
    **{"operations": [{"method": "POST", "path": f"/api/v1/me?q={TOKEN}", "body": {"email": EMAIL}}]},
}
HEADERS = {
    "Authorization": f"Bearer {TOKEN}",
    "Cookie": f"codyverse={SECRET}; codyverse-csrf={SECRET}; other={TEXT}",
    "X-CSRF-Token": SECRET,
    "Idempotency-Key": f"markk-{SECRET}",
    "X-Request-ID": "markk-id",
    "X-Forwarded-For": EMAIL,
    "If-None-Match": f'"{SECRET}"',
    "Referer": f"https://markk.example/?token={TOKEN}",
    "From": EMAIL,
    "User-Agent": f"Browser/1.0 ({EMAIL}; {TOKEN})",
    "Accept-Language": "markk",
    "X-Anything": TEXT,
}
REGISTRATION = {"email": EMAIL, "password": PASSWORD, "display_name": NAME, "birth_date": BORN}


@pytest.fixture
def app_rules(app: Flask, catalogue: ImportedCatalogue) -> Callable[..., Iterator[tuple[str, str]]]:
    """Return method and address of every rule, with texts in the place of texts."""
    known = {
        "course_slug": "machines",
        "slug": "machines",
        "digest": IMAGE_DIGEST,
        "name": "three-dots.svg",
        "filename": "app.css",
    }

    def addresses(texts: dict[str, str] | str) -> Iterator[tuple[str, str]]:
        def value(found: re.Match[str]) -> str:
            if found[1] == "id":
                return str(catalogue.lesson("machines/machines-quiz"))
            return texts if isinstance(texts, str) else texts.get(found[2], "name-it")

        for rule in app.url_map.iter_rules():
            path = re.sub(r"<(?:(\w+):)?(\w+)>", value, rule.rule)
            for method in sorted(_methods(rule)):
                yield method, path

    return lambda texts=None: addresses(texts or known)


def _methods(rule: Rule) -> set[str]:
    return set(rule.methods or ()) - {"OPTIONS"}


def bodies() -> list[dict[str, Any]]:
    form = {name: value for name, value in BODY.items() if isinstance(value, str)}
    return [
        {"json": BODY},
        {"data": form},
        {"data": orjson.dumps(BODY)[:-9], "headers": {"Content-Type": "application/json"}},
        {"data": orjson.dumps({"csp-report": BODY}), "headers": {"Content-Type": "application/csp-report"}},
    ]


class Sender:
    """Sends what is marked, as nobody and as somebody who is."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sent = 0
        self.nobody, self.learner = requests.Session(), requests.Session()
        self.learner.headers["User-Agent"] = HEADERS["User-Agent"]

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *error: object) -> None:
        self.nobody.close()
        self.learner.close()

    def register(self) -> None:
        answer = self.learner.post(f"{self.url}/api/v1/auth/register", json=REGISTRATION, timeout=30)
        assert answer.status_code == 201
        self.learner.headers["X-CSRF-Token"] = self.learner.cookies["codyverse-csrf"]
        created = self.learner.post(f"{self.url}/api/v1/auth/tokens", json={"name": NAME, "scopes": ["profile:read"]}, timeout=30)
        assert created.status_code == 201
        wrong = {"email": EMAIL, "password": f"{PASSWORD}!"}
        assert self.nobody.post(f"{self.url}/api/v1/auth/login", json=wrong, timeout=30).status_code == 401

    def send(self, method: str, path: str, body: dict[str, Any]) -> None:
        query = f"?email={EMAIL}&token={TOKEN}&q={TEXT}&cursor={SECRET}"
        for session, headers in ((self.nobody, HEADERS), (self.learner, {"Referer": HEADERS["Referer"]})):
            if session is self.learner and path.endswith("/logout"):
                continue
            sent = {**body, "headers": {**headers, **body.get("headers", {})}}
            session.request(method, f"{self.url}{path}{query}", timeout=30, allow_redirects=False, **sent)
            self.sent += 1


def everything(folder: Path) -> bytes:
    found = [folder / "server.log", *(path for path in (folder / "logs").iterdir() if path.is_file())]
    return b"\n".join(path.read_bytes() for path in found)


def assert_nothing_is_marked(told: bytes) -> None:
    marked = [line for line in told.splitlines() if MARK.search(line)]
    assert not marked, b"\n".join(marked[:10]).decode("utf-8", "replace")


def test_nothing_that_is_sent_is_logged(app_rules: Any, database_url: str, tmp_path: Path) -> None:
    settings = {"log_level": "DEBUG", "log_path": str(tmp_path / "logs"), "access_log": "-", "slow_request_ms": "1"}
    with Server(tmp_path, database_url, slow_statement_ms="0", **settings) as server, Sender(server.url) as sender:
        sender.register()
        for method, path in app_rules():
            sender.send(method, path, bodies()[0])
        for text, (method, path) in product(
            PATHS, [("GET", "/nothing/"), ("GET", "/courses/"), ("DELETE", "/api/v1/me/progress/")]
        ):
            sender.send(method, f"{path}{text}", {})
        for text in PATHS:
            for method, path in app_rules(text):
                if text in path:
                    sender.send(method, path, {})
        for body, method in product(bodies()[1:], ("POST", "PUT", "PATCH")):
            for path in ("/api/v1/auth/login", "/api/v1/auth/register", "/api/v1/me", "/api/v1/events", "/api/v1/csp-reports"):
                sender.send(method, path, body)
        broken = f"GET /{TOKEN} HTTP/1.1\r\nHost: x\r\nCookie : codyverse={SECRET}\r\n\r\n".encode()
        _send_raw(server.port, broken)
        _spoil(database_url)  # from here on every statement fails, and the driver's errors quote what was sent
        for method, path in app_rules():
            sender.send(method, path, bodies()[0])
    told = everything(tmp_path)
    access = [orjson.loads(line) for line in (tmp_path / "logs/access.log").read_bytes().splitlines()]
    assert len(access) >= sender.sent > 400
    assert sum("[left out]" in line["path"] for line in access) > 50
    events = {orjson.loads(line)["event"] for line in (tmp_path / "logs/codyverse.log").read_bytes().splitlines()}
    assert {"slow request", "Invalid request"} <= events
    assert any(event.startswith("the database cannot be used") for event in events)
    assert_nothing_is_marked(told)


def _send_raw(port: int, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), 30) as broken:
        broken.sendall(head)
        assert broken.recv(100).startswith(b"HTTP/1.1 400 ")


def _spoil(database_url: str) -> None:
    connection = sqlite3.connect(database_url.removeprefix("sqlite:///"), timeout=30)
    tables = [
        name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
    ]
    connection.execute("PRAGMA foreign_keys = OFF")
    for table in tables:
        connection.execute(f"DROP TABLE {table}")
    connection.commit()
    connection.close()


class TestErrors:
    """What nobody foresaw."""

    @pytest.fixture
    def settings(self, tmp_path: Path, database_url: str) -> config.Settings:
        return make_settings(tmp_path, database_url, log_level="DEBUG", log_path=str(tmp_path / "logs"))

    @pytest.fixture(autouse=True)
    def as_before(self, tmp_path: Path) -> Iterator[None]:
        yield
        logs.begin(make_settings(tmp_path, ""))

    def test_their_texts_and_locals_are_not_logged(self, app: Flask, client: FlaskClient, tmp_path: Path) -> None:
        def fail(**named: str) -> None:
            password = PASSWORD
            try:
                int(password)
            except ValueError as error:
                raise KeyError(EMAIL, named) from error

        app.config["PROPAGATE_EXCEPTIONS"] = False
        endpoints = [endpoint for endpoint in app.view_functions if endpoint != "static"]
        for endpoint in endpoints:
            app.view_functions[endpoint] = fail
        for rule in app.url_map.iter_rules():
            path = re.sub(r"<(?:(\w+):)?\w+>", lambda found: "7" if found[1] == "id" else "markk", rule.rule)
            for method in _methods(rule):
                client.open(path, method=method, headers=HEADERS, json=BODY, query_string={"q": TEXT})
        logs.end()
        told = (tmp_path / "logs/codyverse.log").read_bytes()
        assert told.count(b"unexpected error") > len(endpoints) // 2
        assert_nothing_is_marked(told)
