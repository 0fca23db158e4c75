"""The log of a process: what the settings choose, and that nothing fails with it."""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient

import config
from codyverse import create_app
from codyverse.operations import components, metrics, tallies
from codyverse.operations import logging as logs
from tests.conftest import make_settings
from tests.one_engine import cheapest  # noqa: F401  (a fixture)
from tests.server import ROOT, Server, wait_until

log = logging.getLogger("codyverse.security")


def lines(folder: Path) -> list[dict[str, Any]]:
    logs.end()
    return [orjson.loads(line) for line in (folder / "codyverse.log").read_bytes().splitlines()]


@pytest.fixture
def chosen() -> dict[str, Any]:
    return {}


@pytest.fixture
def settings(chosen: dict[str, Any], tmp_path: Path, database_url: str) -> config.Settings:
    return make_settings(tmp_path, database_url, log_path=str(tmp_path / "logs"), slow_request_ms=60_000.0, **chosen)


@pytest.fixture(autouse=True)
def as_before(tmp_path: Path) -> Iterator[None]:
    yield
    logs.begin(make_settings(tmp_path, ""))


def test_it_works(app: Flask, tmp_path: Path) -> None:
    log.warning("it happened", extra={"route": "/courses"})
    [line] = lines(tmp_path / "logs")
    assert (line["event"], line["category"], line["route"], line["request_id"]) == ("it happened", "security", "/courses", "-")


def test_of_others_only_warnings_are_logged(app: Flask, tmp_path: Path) -> None:
    logging.getLogger("urllib3.connectionpool").warning("retrying")
    logging.getLogger("sqlalchemy.engine").info("INSERT INTO users")
    assert [(line["category"], line["event"]) for line in lines(tmp_path / "logs")] == [("other", "retrying")]


@pytest.mark.parametrize("chosen", [{"log_level": "ERROR"}])
def test_the_level_is_chosen(app: Flask, tmp_path: Path) -> None:
    log.warning("not this")
    log.error("this")
    assert [line["event"] for line in lines(tmp_path / "logs")] == ["this"]


@pytest.mark.parametrize(
    ("environment", "level", "form", "texts"),
    [
        ("development", "DEBUG", "console", True),
        ("staging", "INFO", "json", False),
        ("production", "WARNING", "json", False),
    ],
)
def test_environments_differ(tmp_path: Path, environment: str, level: str, form: str, texts: bool) -> None:
    settings = config.load(environment=environment, instance_path=tmp_path, secret_key="x" * 40)
    assert (settings.log_level, settings.log_format, settings.log_exception_texts) == (level, form, texts)


@pytest.mark.parametrize("chosen", [{"log_format": "console"}])
def test_a_console_is_for_people(app: Flask, tmp_path: Path) -> None:
    log.warning("it happened")
    logs.end()
    assert "[warning  ] it happened" in (tmp_path / "logs/codyverse.log").read_text("utf-8")


@pytest.mark.parametrize(("chosen", "told"), [({}, "ValueError"), ({"log_exception_texts": True}, "ValueError: what is wrong")])
def test_errors_of_requests_have_their_id(app: Flask, client: FlaskClient, tmp_path: Path, told: str) -> None:
    def fail() -> None:
        raise ValueError("what is wrong")

    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.add_url_rule("/api/raise", "raise", fail)
    answer = client.get("/api/raise")
    [line] = lines(tmp_path / "logs")
    assert (line["category"], line["event"]) == ("errors", "unexpected error")
    assert line["request_id"] == answer.headers["X-Request-ID"] == answer.json["request_id"]  # type: ignore[index]
    assert line["exception"].splitlines()[0] == told


def test_the_same_settings_keep_what_is_there_and_others_replace_it(settings: config.Settings) -> None:
    first = logs.begin(settings)
    assert logs.begin(settings) is first
    second = logs.begin(dataclasses.replace(settings, log_path=""))
    assert second is not first
    assert [each for each in logging.getLogger().handlers if isinstance(each, logs.Handler)] == [second]


def test_a_line_that_cannot_be_made_is_lost_and_counted(app: Flask, settings: config.Settings) -> None:
    logs.begin(settings).emit(logging.makeLogRecord({"msg": "%d were lost", "args": ("three",), "levelno": logging.WARNING}))
    assert tallies.of(app).totals(logs.LOST) == {logs.LOST: 1}


def test_without_a_disk_lines_are_lost_and_counted_and_no_request(app: Flask, client: FlaskClient, tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("no folder")
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.add_url_rule("/api/raise", "raise", lambda: 1 / 0)
    for _ in range(20):
        assert client.get("/api/v1/courses").status_code == 200
        assert client.get("/api/raise").status_code == 500
    logs.end()
    assert tallies.of(app).totals(logs.LOST)[logs.LOST] >= 20
    assert {sample.name: sample.value for sample in metrics.samples(app)}["codyverse_log_lines_lost_total"] >= 20


def test_the_end_of_the_application_writes_what_waits(settings: config.Settings, tmp_path: Path) -> None:
    app = create_app(settings)
    log.warning("the last one")
    components.of(app).close()
    assert b"the last one" in (tmp_path / "logs/codyverse.log").read_bytes()


class TestSlowRequests:
    @pytest.fixture
    def settings(self, tmp_path: Path, database_url: str) -> config.Settings:
        return make_settings(tmp_path, database_url, log_path=str(tmp_path / "logs"), slow_request_ms=0.0)

    def test_they_are_told_with_their_route(self, client: FlaskClient, tmp_path: Path) -> None:
        answer = client.get("/courses/of-ada?q=mine")
        [line] = lines(tmp_path / "logs")
        assert (line["event"], line["level"], line["category"]) == ("slow request", "warning", "performance")
        assert (line["method"], line["route"], line["status"]) == ("GET", "/courses/<slug:slug>", 404)
        assert line["ms"] >= 0
        assert line["request_id"] == answer.headers["X-Request-ID"]

    def test_a_path_of_no_route_is_not_told(self, client: FlaskClient, tmp_path: Path) -> None:
        client.get("/nothing/of/ada")
        assert [line["route"] for line in lines(tmp_path / "logs")] == ["-"]


def test_others_are_not_slow(app: Flask, client: FlaskClient, tmp_path: Path) -> None:
    client.get("/courses/of-ada")
    log.warning("it happened")
    assert [line["event"] for line in lines(tmp_path / "logs")] == ["it happened"]


# ---- Processes


def run(tmp_path: Path, database_url: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "CODYVERSE_ENV": "testing",
        "CODYVERSE_INSTANCE_PATH": str(tmp_path),
        "CODYVERSE_DATABASE_URL": database_url,
        **{f"CODYVERSE_{name.upper()}": value for name, value in settings.items()},
    }
    return subprocess.run(
        [sys.executable, *arguments], check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )


def test_a_command_answers_on_standard_output_and_logs_beside_it(database_url: str, tmp_path: Path) -> None:
    ended = run(
        tmp_path, database_url, "-m", "flask", "cache", "stats", "--json", slow_statement_ms="0", log_path=str(tmp_path / "l")
    )
    assert ended.returncode == 0, ended.stderr
    assert orjson.loads(ended.stdout)["tiers"]
    assert all(orjson.loads(line)["category"] for line in ended.stderr.splitlines())
    assert not (tmp_path / "l").exists()


def test_the_end_of_a_process_writes_what_waits(database_url: str, tmp_path: Path) -> None:
    code = "import logging, wsgi; logging.getLogger('codyverse.security').warning('the last one')"
    ended = run(tmp_path, database_url, "-c", code)
    assert ended.returncode == 0, ended.stderr
    assert [orjson.loads(line)["event"] for line in ended.stdout.splitlines()] == ["the last one"]


def test_the_server_logs_json_and_nothing_else(database_url: str, tmp_path: Path) -> None:
    with Server(tmp_path, database_url, log_level="INFO", log_path=str(tmp_path / "logs")) as server:
        workers = server.workers()
        os.kill(workers[0], 9)
        wait_until(lambda: len(server.workers()) == 2 and server.workers() != workers)
    told = (tmp_path / "server.log").read_bytes()
    found = [orjson.loads(line) for line in told.splitlines()]
    events = " ".join(line["event"] for line in found)
    assert "Booting worker with pid" in events and "was sent SIGKILL" in events and "ready" in events
    assert all(line["category"] and line["time"] and line["request_id"] for line in found)
    assert sorted((tmp_path / "logs/codyverse.log").read_bytes().splitlines()) == sorted(told.splitlines())
