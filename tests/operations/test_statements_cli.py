from __future__ import annotations

from typing import Any

import orjson
import pytest
import requests
from click.testing import Result
from flask import Flask

from codyverse.database import Database
from tests.conftest import ImportedCatalogue, Learner
from tests.server import Server


@pytest.fixture
def slow(app: Flask) -> Any:
    def run(*arguments: str) -> Result:
        return app.test_cli_runner().invoke(args=["db", "slow", *arguments])

    return run


def test_it_works(slow: Any, learner: Learner) -> None:
    learner.client.get("/api/v1/me")
    head, *lines = slow().output.splitlines()

    assert " ".join(head.split()) == "calls total ms p95 ms max ms rows errors slow fingerprint statement"
    assert any("FROM sessions" in line for line in slow("--limit", "500").output.splitlines())
    assert 0 < len(lines) <= 20
    assert len(slow("--limit", "2").output.splitlines()) == 3


def test_the_table_fits_the_terminal(slow: Any, learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    learner.client.get("/api/v1/me")
    monkeypatch.setenv("COLUMNS", "120")
    lines = slow("--limit", "500").output.splitlines()
    assert max(len(line) for line in lines) <= 120
    assert any(line.endswith("…") for line in lines)


def test_json_and_order(slow: Any, learner: Learner) -> None:
    for _ in range(20):
        learner.client.get("/api/v1/me/ledger")
    for by, figure in (("calls", "calls"), ("total", "total_ms"), ("max", "max_ms"), ("p95", "p95_ms")):
        found = orjson.loads(slow("--json", "--by", by, "--limit", "500").output)
        assert [one[figure] for one in found] == sorted((one[figure] for one in found), reverse=True)
    ledger = next(one for one in found if "FROM ledger_entries" in one["statement"])
    assert ledger["calls"] == 20
    assert set(ledger) == {"fingerprint", "statement", "calls", "total_ms", "p95_ms", "max_ms", "rows", "errors", "slow"}


def test_reset(slow: Any, learner: Learner) -> None:
    assert slow("--reset").output == "Every figure begins anew.\n"
    assert slow().output == "No statement has run.\n"
    learner.client.get("/api/v1/me")
    assert "FROM sessions" in slow("--json").output


@pytest.mark.parametrize("arguments", [["--by", "rows"], ["--limit", "0"], ["--limit", "x"]])
def test_what_cannot_be_chosen(slow: Any, arguments: list[str]) -> None:
    assert slow(*arguments).exit_code == 2


def test_a_shell_sees_what_the_workers_did(
    tmp_path: Any, database_url: str, database: Database, catalogue: ImportedCatalogue, slow: Any
) -> None:
    slow("--reset")
    with Server(tmp_path, database_url, "--workers", "2") as server:
        for _ in range(20):
            assert requests.get(f"{server.url}/readyz", timeout=10).status_code == 200
    found = [one for one in orjson.loads(slow("--json", "--limit", "500").output) if "alembic_version" in one["statement"]]
    assert sum(one["calls"] for one in found) >= 20
