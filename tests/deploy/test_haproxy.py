"""`flask deploy haproxy`: what it writes, and what it refuses."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from codyverse.operations.deploy import cli, haproxy
from codyverse.operations.deploy.haproxy import Shield
from tests.conftest import make_settings
from tests.haproxy import need_haproxy

SERVER = ("--server", "192.0.2.1:8000")
CHECKED = "HAProxy has checked the configuration."


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    app = Flask("balancer")
    app.config["CODYVERSE"] = make_settings(tmp_path, "sqlite:////nowhere/none.sqlite3", limit_address="100 per hour")
    cli.init_app(app)
    return app


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=["deploy", "haproxy", "--user", "", *arguments])


def test_it_works(app: Flask) -> None:
    need_haproxy()
    result = run(app, *SERVER, "--server", "[2001:DB8::0001]:8000", "--canary", "192.0.2.3:8000", "--strategy", "leastconn")
    assert result.exit_code == 0, result.output
    assert result.stderr.strip() == CHECKED
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert "balance leastconn" in lines
    for server in (
        "s1 192.0.2.1:8000 check",
        "s2 [2001:db8::1]:8000 check",
        "s1-spare 192.0.2.1:8000 backup",
        "c1 192.0.2.3:8000 ",
    ):
        assert sum(line.startswith(f"server {server}") for line in lines) == 1
    assert not any("c1-spare" in line for line in lines)
    assert "bind *:80" in lines


@pytest.mark.parametrize("strategy", haproxy.BALANCE)
@pytest.mark.parametrize("more", [(), ("--canary", "192.0.2.9:1"), ("--dns",), ("--user", "root"), ("--bind", "[::]:8080")])
def test_haproxy_takes_every_kind_without_a_warning(app: Flask, tmp_path: Path, strategy: str, more: tuple[str, ...]) -> None:
    need_haproxy()
    output = tmp_path / "haproxy.cfg"
    result = run(app, *SERVER, "--strategy", strategy, "--folder", str(tmp_path), "--output", str(output), *more)
    assert result.exit_code == 0, result.output
    checked = subprocess.run(["haproxy", "-c", "-f", str(output)], capture_output=True, text=True, check=True)
    assert "WARNING" not in checked.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "No server is named"),
        (("--server", "192.0.2.1"), "has no port"),
        (("--server", "192.0.2.1:0"), "has no port"),
        (("--server", "192.0.2.1:65536"), "has no port"),
        (("--server", "192.0.2.1:٣"), "has no port"),
        (("--server", ":80"), "names no host"),
        (("--server", "192.0.2:80"), "names no host"),
        (("--server", "2001:db8::1:80"), "names no host"),
        (("--server", "[fe80::1%eth0]:80"), "names no host"),
        (("--server", "*:80"), "names no host"),
        (("--server", "a b:80"), "names no host"),
        (("--server", "a\n    user root:80"), "names no host"),
        (("--server", "192.0.2.1:80,weight=0"), "from 1 to 256"),
        (("--server", "192.0.2.1:80,weight=257"), "from 1 to 256"),
        (("--server", "192.0.2.1:80,weight=1,weight=2"), "one weight=N"),
        (("--server", "192.0.2.1:80,maxconn=1"), "one weight=N"),
        (("--server", "192.0.2.1:80,weight=2"), "use weighted"),
        ((*SERVER, *SERVER), "named twice"),
        ((*SERVER, "--bind", "127.0.0.1:9000", "--metrics", "9000"), "Port 9000 cannot be"),
        ((*SERVER, "--canary", "192.0.2.1:8000"), "named twice"),
        (("--server", "[::1]:80", "--server", "[0::1]:80"), "named twice"),
        ((*SERVER, "--strategy", "random"), "no strategy 'random'"),
        ((*SERVER, "--bind", "80"), "has no port"),
        ((*SERVER, "--plain", "*:80"), "beside a --certificate"),
        ((*SERVER, "--socket", "run/x"), "absolute path"),
        ((*SERVER, "--folder", "/a b"), "absolute path"),
        ((*SERVER, "--metrics", "x"), "from 1 to 65535"),
        ((*SERVER, "--concurrency", "0"), "from 1 to 10000"),
        ((*SERVER, "--host", "a b"), "no name of a host"),
        ((*SERVER, "--user", "a b"), "account"),
        ((*SERVER, "--output", "/nowhere/haproxy.cfg"), "/nowhere/haproxy.cfg cannot be written: No such file"),
    ],
)
def test_bad_input_is_one_line(app: Flask, arguments: tuple[str, ...], why: str) -> None:
    result = run(app, *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert why in result.stderr
    assert result.stderr.count("\n") == 1


def test_what_haproxy_refuses_is_not_written(app: Flask, tmp_path: Path) -> None:
    need_haproxy()
    output = tmp_path / "haproxy.cfg"
    output.write_text("old", "utf-8")
    result = run(app, *SERVER, "--certificate", "/nowhere/cert.pem", "--output", str(output))
    assert result.exit_code == 2
    assert "/nowhere/cert.pem" in result.stderr
    assert result.stderr.count("\n") == 1
    assert output.read_text("utf-8") == "old"


def test_where_there_is_no_haproxy_that_is_said(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haproxy, "find", lambda: None)
    result = run(app, *SERVER)
    assert result.exit_code == 0
    assert "not checked" in result.stderr
    assert "server s1 192.0.2.1:8000" in result.stdout


def test_a_file_is_replaced_whole_and_a_rollout_goes_on(app: Flask, tmp_path: Path) -> None:
    output, percentage = tmp_path / "haproxy.cfg", tmp_path / "canary.map"
    arguments = (*SERVER, "--canary", "192.0.2.2:80", "--folder", str(tmp_path), "--output", str(output))
    assert run(app, *arguments).exit_code == 0
    assert percentage.read_text("ascii") == "pct 0\n"
    percentage.write_text("pct 50\n", "ascii")
    output.chmod(0o640)
    before = output.stat().st_ino
    assert run(app, *arguments).exit_code == 0
    assert output.stat().st_ino != before
    assert output.stat().st_mode & 0o777 == 0o640
    assert percentage.read_text("ascii") == "pct 50\n"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["canary.map", "haproxy.cfg"]


def test_the_shield_is_well_above_what_the_application_allows(app: Flask) -> None:
    assert "{ sc0_http_req_rate(addresses) gt 200 }" in run(app, *SERVER).stdout
    assert haproxy.shield("30000 per 15 minutes") == Shield(60_000, 900)
    assert haproxy.shield("10 per 30 days") == Shield(20, 86_400)


def test_without_limits_there_is_no_shield(app: Flask, tmp_path: Path) -> None:
    app.config["CODYVERSE"] = make_settings(tmp_path, "sqlite:////nowhere/none.sqlite3", feature_rate_limit=False)
    assert "track-sc0" not in run(app, *SERVER).stdout


def test_haproxy_is_found_beside_the_path_too(monkeypatch: pytest.MonkeyPatch) -> None:
    found = haproxy.find()
    monkeypatch.setenv("PATH", "/nowhere")
    assert shutil.which("haproxy") is None
    assert haproxy.find() == found


def test_a_name_that_nobody_knows_yet_needs_the_dns(app: Flask) -> None:
    need_haproxy()
    assert "could not resolve" in run(app, "--server", "app1.invalid:8000").stderr
    result = run(app, "--server", "app1.invalid:8000", "--dns")
    assert result.exit_code == 0, result.output
