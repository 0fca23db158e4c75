"""`flask alerts`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import Result
from flask import Flask

from codyverse import create_app
from codyverse.operations import alerts, components
from codyverse.operations.alerts.states import Standing
from codyverse.operations.alerts.store import AlertEvent, Change, Store
from codyverse.operations.journal import of as journal_of
from config import ROOT
from tests.conftest import make_settings
from tests.one_engine import cheapest  # noqa: F401  (a fixture)
from tests.receivers import Post, Web
from tests.server import free_port

NOW = 1_800_000_000.0

Run = Callable[..., Result]


@pytest.fixture
def run(app) -> Run:
    return runner(app)


def runner(app: Flask) -> Run:
    def run(*arguments: str) -> Result:
        return app.test_cli_runner().invoke(args=["alerts", *arguments])

    return run


@pytest.fixture
def make_app(tmp_path) -> Iterator[Callable[..., Flask]]:
    made: list[Flask] = []

    def make(**chosen: Any) -> Flask:
        made.append(create_app(make_settings(tmp_path, f"sqlite:///{tmp_path}/none.sqlite3", **chosen)))
        return made[-1]

    yield make
    for app in made:
        components.of(app).close()


@pytest.fixture
def fired(app) -> None:
    events = [AlertEvent(NOW, "ErrorsMany", "firing", 0.25), AlertEvent(NOW + 60, "NoWorker", "resolved", None)]
    standings = {"ErrorsMany": Standing("firing", NOW, 0.25), "BreakerOpen": Standing("pending", NOW + 1, 1)}
    Store(journal_of(app)).save(Change(standings, NOW, {}, 0, events))


def test_it_works(run, fired):
    result = run("list")
    assert result.exit_code == 0
    _, first, second, *others = result.output.splitlines()
    assert first.split() == ["ErrorsMany", "warning", "firing", "2027-01-15", "08:00:00", "0.25", "0.01"]
    assert second.split()[:3] == ["BreakerOpen", "critical", "pending"]
    assert all(line.split()[2:4] == ["inactive", "-"] for line in others)


def test_states_as_json(run, fired, app):
    found = orjson.loads(run("list", "--json").output)
    assert len(found) == len(alerts.states(app))
    assert found[0] == {
        "name": "ErrorsMany",
        "severity": "warning",
        "summary": "More than 1 % of the requests of each of the last five minutes failed.",
        "runbook": "docs/operations/alerts.md#errorsmany",
        "state": "firing",
        "since": NOW,
        "value": 0.25,
        "threshold": 0.01,
    }


def test_history(run, fired):
    assert [line.split() for line in run("history").output.splitlines()] == [
        ["2027-01-15", "08:01:00", "resolved", "NoWorker", "-"],
        ["2027-01-15", "08:00:00", "firing", "ErrorsMany", "0.25"],
    ]
    assert orjson.loads(run("history", "--limit", "1", "--json").output) == [
        {"at": NOW + 60, "name": "NoWorker", "state": "resolved", "value": None}
    ]


def test_an_empty_history(run, settings):
    assert run("history").output == "No alert has fired.\n"
    assert not (settings.instance_path / "operations.sqlite3").exists(), "who only reads makes no file"


def test_the_rules_for_prometheus(run, tmp_path):
    written = (ROOT / "deploy/prometheus/rules.yml").read_text("utf-8")
    assert run("rules").output == written
    result = run("rules", "--output", str(tmp_path / "rules.yml"))
    assert result.exit_code == 0
    assert (tmp_path / "rules.yml").read_text("utf-8") == written


def test_a_file_that_cannot_be_written(run, tmp_path):
    result = run("rules", "--output", str(tmp_path / "none" / "rules.yml"))
    assert result.exit_code == 2
    assert result.stderr == f"codyverse: {tmp_path}/none/rules.yml: No such file or directory.\n"


def test_everybody_is_told_of_a_test(make_app):
    with Web() as web, Post() as post:
        app = make_app(alerts_webhook_url=web.url, alerts_email_to=("a@example.org",), smtp_url=f"smtp://127.0.0.1:{post.port}")
        result = runner(app)("test", "MemoryHigh")
        assert (result.exit_code, result.output) == (0, "webhook: delivered\nemail: delivered\n")
        assert (web.posted[0].json["alert"], web.posted[0].json["state"]) == ("MemoryHigh", "test")
        assert "[test] MemoryHigh" in post.mails[0]


def test_a_test_that_nobody_hears(make_app):
    result = runner(make_app(alerts_webhook_url=f"http://127.0.0.1:{free_port()}/"))("test", "MemoryHigh")
    assert (result.exit_code, result.stderr) == (1, "webhook: not delivered: ConnectionRefusedError\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["test", "Nothing"], "There is no alert 'Nothing'; `flask alerts list` names them."),
        (["test", "MemoryHigh"], "Nobody hears of alerts: set CODYVERSE_ALERTS_WEBHOOK_URL, or CODYVERSE_SMTP_URL and"),
    ],
)
def test_what_cannot_be_done_is_one_line(run, arguments, line):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"codyverse: {line}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [["list"], ["rules"], ["test", "MemoryHigh"]])
def test_rules_that_cannot_be_used_are_one_line_and_the_service_serves(make_app, tmp_path: Path, command):
    path = tmp_path / "alerts.yaml"
    path.write_text("rules: []")
    app = make_app(alerts_path=path)
    assert app.test_client().get("/livez").status_code == 200
    assert components.of(app).health()["alerts"]["status"] == "unavailable"
    result = runner(app)(*command)
    assert result.exit_code == 2
    assert result.stderr == f"codyverse: CODYVERSE_ALERTS_PATH: {path}: rules: Length must be between 1 and 200.\n"


def test_a_worker_without_rules_resolves_nothing(make_app, tmp_path: Path):
    path = tmp_path / "alerts.yaml"
    path.write_text("rules: []")
    for rules, evaluates in ((path, False), (ROOT / "config/alerts.yaml", True)):
        parts = components.of(make_app(alerts_path=rules))
        parts.start()
        assert ("alerts" in {thread.name for thread in threading.enumerate()}) == evaluates
        parts.close()


def test_without_monitoring_nothing_is_evaluated(make_app):
    app = make_app(feature_monitoring=False)
    assert "alerts" not in components.of(app).health()
    assert {state.state for state in alerts.states(app)} == {"inactive"}
