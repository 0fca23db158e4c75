"""schemathesis reads the OpenAPI document and tries to prove it wrong, with all its checks, against the real server.

On PostgreSQL in `make test`, which refuses more than SQLite does; `make faults` tries both.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.conftest import ENGINES
from tests.faults.completions import FULL
from tests.one_engine import strictest  # noqa: F401  (a fixture)
from tests.server import ROOT, Server

CASES_AN_OPERATION = 60 if FULL else 20
SCOPES = ["profile:read", "profile:write", "learning:read", "learning:write", "rewards:read"]
ADA = {"email": "ada@example.org", "password": "seven quiet otters", "display_name": "Ada", "birth_date": "2010-12-10"}


@pytest.fixture
def server(tmp_path, database_url, catalogue):
    # Longer request lines than gunicorn's limit never reach the application.
    with Server(tmp_path, database_url, "--limit-request-line", "0") as server:
        yield server


def run_schemathesis(server: Server, folder: Path, *arguments: str) -> int:
    """Run it as somebody who is signed in, fail with what it found, and return the number of its cases."""
    browser = requests.Session()
    assert browser.post(f"{server.url}/api/v1/auth/register", json=ADA, timeout=30).status_code in (201, 409)
    account = {name: ADA[name] for name in ("email", "password")}
    browser.post(f"{server.url}/api/v1/auth/login", json=account, timeout=30).raise_for_status()
    browser.headers["X-CSRF-Token"] = browser.cookies["codyverse-csrf"]
    token = browser.post(f"{server.url}/api/v1/auth/tokens", json={"name": "fuzz", "scopes": SCOPES}, timeout=30).json()["token"]
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(ROOT / "tests/http/schemathesis.toml")),
            *("run", f"{server.url}/api/v1/openapi.json", "--checks", "all", "--continue-on-failure", "--no-color"),
            *(
                "--max-examples",
                str(CASES_AN_OPERATION),
                "--header",
                f"X-CSRF-Token: {browser.headers['X-CSRF-Token']}",
                *arguments,
            ),
        ],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.http.schemathesis_hooks",
            "API_TOKEN": token,
            "SESSION": browser.cookies["codyverse"],
        },
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-20_000:] + ended.stderr[-2000:]
    cases = re.search(r"([\d,]+) generated", ended.stdout)
    assert cases, ended.stdout
    return int(cases[1].replace(",", ""))


@pytest.mark.parametrize("engine_name", ENGINES if FULL else [None], indirect=True)
def test_no_case_breaks_the_document(server, tmp_path):
    # Signing out and ending sessions would end the one that the others run in; the second run tries them.
    cases = run_schemathesis(server, tmp_path, "--exclude-path-regex", "/auth/logout|/auth/sessions/")
    print(f"\n{cases} cases")
    assert cases >= 2000
    run_schemathesis(server, tmp_path, "--include-path-regex", "/auth/logout|/auth/sessions/", "--phases", "coverage")
    assert requests.get(f"{server.url}/readyz", timeout=30).status_code == 200
