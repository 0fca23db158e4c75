"""`flask doctor`, as an operator types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from codyverse.operations.doctor.deployment import Deployment, Plan
from tests.operations.doctor.deployments import Case
from tests.server import ROOT


@pytest.fixture
def doctor(on_sqlite: Case, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setattr(Deployment, "of", lambda app, url="": on_sqlite.deployment)
    return lambda *arguments: on_sqlite.deployment.app.test_cli_runner().invoke(args=["doctor", *arguments])


def test_all_is_well(doctor: Callable[..., Result]) -> None:
    result = doctor()
    assert result.exit_code == 0, result.output
    assert " 0 warnings, 0 faults, " in result.output.splitlines()[-1]
    assert "  ok      SQLite is new enough (" in result.output
    assert "  -       There is no Redis: CODYVERSE_REDIS_URL. (5 checks)" in result.output


def test_a_fault_is_told_with_why_it_matters_and_how_to_mend_it(doctor: Callable[..., Result], on_sqlite: Case) -> None:
    on_sqlite.choose(session_cookie_secure=False)
    result = doctor("--only", "settings")
    assert result.exit_code == 1
    assert result.output.splitlines()[5:9] == [
        "  FAULT   The session cookie travels over HTTPS only",
        "          CODYVERSE_SESSION_COOKIE_SECURE is off.",
        "          Why: One request over plain HTTP shows it to everybody on the way, and it is all that a session is.",
        "          Mend: CODYVERSE_SESSION_COOKIE_SECURE=1",
    ]


def test_warnings_alone_are_no_failure(doctor: Callable[..., Result], on_sqlite: Case) -> None:
    on_sqlite.choose(allowed_hosts=())
    result = doctor()
    assert " 1 warning, 0 faults, " in result.output
    assert result.exit_code == 0


def test_json(doctor: Callable[..., Result], on_sqlite: Case) -> None:
    on_sqlite.choose(https=False)
    result = doctor("--json", "--only", "settings", "--only", "cors")
    told = json.loads(result.output)
    assert result.exit_code == 1
    assert told["counts"]["fault"] == 1
    assert {check["group"] for check in told["checks"]} == {"settings", "cors"}
    found = next(check for check in told["checks"] if check["name"] == "https")
    assert found["status"] == "fault"
    assert found["what"] == "CODYVERSE_HTTPS is off."
    assert found["why"] and found["mend"] and found["seconds"] >= 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--only", "stars"], "codyverse: There is no group 'stars'; there are settings, cors, "),
        (["--url", "http://learn.example.org"], "codyverse: http://learn.example.org is no address of a site such as https://"),
        (["--url", "https://"], "codyverse: https:// is no address"),
        (["--url", "https://learn.example.org/path"], "codyverse: https://learn.example.org/path is no address"),
        (["--url", "https://learn.example.org:99999"], "codyverse: https://learn.example.org:99999 is no address"),
        (["--url", "https://ada@learn.example.org"], "codyverse: https://ada@learn.example.org is no address"),
        (["--url", "https://[::1"], "codyverse: https://[::1 is no address"),
        (["--url", "learn.example.org"], "codyverse: learn.example.org is no address"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(arguments: list[str], told: str, doctor: Callable[..., Result]) -> None:
    result = doctor(*arguments)
    assert result.exit_code == 2
    assert result.output.startswith(told)
    assert result.output.count("\n") == 1


def test_the_command_as_it_is_installed(tmp_path: Path, on_sqlite: Case) -> None:
    settings = on_sqlite.deployment.settings
    variables = {
        "PATH": os.environ["PATH"],
        "CODYVERSE_ENV": "production",
        "CODYVERSE_INSTANCE_PATH": str(settings.instance_path),
        "CODYVERSE_MEMORY_PATH": settings.memory_path,
        "CODYVERSE_SECRET_KEY": settings.secret_key,
        "CODYVERSE_CONTENT_PATH": str(settings.content_path),
        "GUNICORN_CMD_ARGS": "--workers 7 --threads 300",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "flask", "doctor", "--json", "--url", "https://localhost:1"],
        cwd=ROOT, env=variables, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    told = {check["name"]: check for check in json.loads(ended.stdout)["checks"]}
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert told["pool-threads"]["what"] == "300 threads share 20 connections."
    assert told["proxies"]["status"] == "fault"
    assert told["balances"]["status"] == "ok"
    assert told["site-reachable"]["what"] == "It does not answer: Connection refused."


def test_what_gunicorn_is_told_is_read_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "gunicorn.conf.py"
    file.write_text("port = 1 / 0\nworkers = 3\nthreads = 5\nbind = [f'127.0.0.1:{port}', 'unix:/run/site']\n", "utf-8")
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--threads 6 --backlog 99")
    assert Plan.read(file) == Plan(3, 6, 1000, 99, ("127.0.0.1:", "unix:/run/site"))


def test_a_file_that_cannot_be_read_is_a_fault_of_what_needs_it(on_sqlite: Case, tmp_path: Path) -> None:
    file = tmp_path / "gunicorn.conf.py"
    file.write_text("workers = 2 * cores()\n", "utf-8")
    on_sqlite.deployment.read_plan = lambda: Plan.read(file)
    assert on_sqlite.names("fault") == {"proxies", "pool-threads", "open-files", "backlog", "memory"}
