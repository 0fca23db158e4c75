import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import config
from codyverse.operations.deploy import haproxy, runtime
from tests.deploy.files import ROOT, settings_in

FOLDER = ROOT / "deploy/systemd"
SERVICES = sorted(FOLDER.glob("*.service"))
TIMERS = sorted(FOLDER.glob("*.timer"))
MOST_EXPOSED = 3.0
INSTALLED = "/opt/codyverse/"

without_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze: install Debian's systemd")


@pytest.fixture
def engine_name() -> str:
    """Nothing here depends on the engine."""
    return "sqlite"


def values(unit: Path, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit.read_text("utf-8"), re.MULTILINE)


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_there_are_units():
    assert {unit.stem for unit in SERVICES} >= {"codyverse", "codyverse-migrate", "codyverse-daily", "codyverse-haproxy"}
    assert TIMERS and {timer.stem for timer in TIMERS} <= {unit.stem for unit in SERVICES}


@without_systemd
@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_a_service_is_hardly_exposed(unit):
    told = analyze("security", "--offline=true", str(unit))
    exposure = re.search(r"exposure level for \S+: ([0-9.]+)", told.stdout)
    assert exposure, told.stdout + told.stderr
    assert float(exposure[1]) < MOST_EXPOSED, told.stdout


@without_systemd
def test_what_is_not_hardened_is_found(tmp_path):
    """The limit is one that a bare service does not meet."""
    (tmp_path / "bare.service").write_text("[Service]\nExecStart=/bin/true\n", "ascii")
    told = analyze("security", "--offline=true", str(tmp_path / "bare.service"))
    exposure = re.search(r"exposure level for \S+: ([0-9.]+)", told.stdout)
    assert exposure and float(exposure[1]) > MOST_EXPOSED


@without_systemd
@pytest.mark.parametrize("unit", [*SERVICES, *TIMERS], ids=lambda unit: unit.name)
def test_systemd_understands_every_line(unit, tmp_path):
    """With programs that are there in place of ours, which are not installed where tests run."""
    for each in (*SERVICES, *TIMERS):
        text = re.sub(r"^(Exec\w+=)\S+", r"\1/bin/true", each.read_text("utf-8"), flags=re.MULTILINE)
        (tmp_path / each.name).write_text(text.replace("Documentation=file:///opt/codyverse", "Documentation=file://"), "utf-8")
    told = analyze("verify", "--man=no", str(tmp_path / unit.name))
    ours = [line for line in told.stderr.splitlines() if "codyverse" in line]
    assert not ours and told.returncode == 0, told.stderr


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_what_a_unit_names_is_there(unit, app):
    for address in values(unit, "Documentation"):
        assert (ROOT / address.removeprefix(f"file://{INSTALLED}")).is_file(), address
    for command in values(unit, "ExecStart"):
        program, *words = command.split()
        if program == f"{INSTALLED}.venv/bin/flask":
            found = app.cli
            for word in words:
                found = found.get_command(None, word)
                assert found, command
        else:
            assert program in (f"{INSTALLED}.venv/bin/gunicorn", "/usr/sbin/haproxy")


def test_what_runs_our_code_has_one_account_and_one_environment():
    for unit in SERVICES:
        if unit.stem != "codyverse-haproxy":
            assert values(unit, "User") == values(unit, "Group") == ["codyverse"]
            assert values(unit, "EnvironmentFile") == ["/etc/codyverse/environment"]
            assert (
                f"/var/lib/{values(unit, 'StateDirectory')[0]}"
                == settings_in(FOLDER / "environment.example")["CODYVERSE_INSTANCE_PATH"]
            )


def test_the_environment_is_that_of_production_and_starts_nothing_as_it_is(monkeypatch, tmp_path):
    example = settings_in(FOLDER / "environment.example")
    for name, value in example.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CODYVERSE_INSTANCE_PATH", str(tmp_path))
    with pytest.raises(config.SettingsError, match="SECRET_KEY is missing"):
        config.load()
    monkeypatch.setenv("CODYVERSE_SECRET_KEY", "x" * 48)
    assert config.load().environment == "production"
    commented = settings_in(FOLDER / "environment.example", commented=True)
    monkeypatch.setenv("CODYVERSE_REDIS_URL", commented["CODYVERSE_REDIS_URL"])
    assert config.load().redis_url and config.load().trusted_proxies == 1


def test_a_stop_has_the_time_that_the_server_takes():
    (unit,) = (unit for unit in SERVICES if unit.stem == "codyverse")
    graceful = re.search(r"^graceful_timeout = (\d+)", (ROOT / "gunicorn.conf.py").read_text("utf-8"), re.MULTILINE)
    assert graceful
    assert float(values(unit, "TimeoutStopSec")[0]) > float(graceful[1]) + config.base.Settings.drain_s
    assert values(unit, "KillMode") == ["mixed"]


def test_the_balancer_is_where_the_commands_look_for_it():
    (unit,) = (unit for unit in SERVICES if unit.stem == "codyverse-haproxy")
    assert str(Path(runtime.SOCKET).parent) == f"/run/{values(unit, 'RuntimeDirectory')[0]}"
    assert values(unit, "ExecStart") == ["/usr/sbin/haproxy -Ws -f /etc/haproxy/codyverse.cfg"]
    assert haproxy.BALANCE  # the generator that writes it


def answers(path):
    """Wait for the answer to a request, which a worker gives once it has begun."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.")


def test_gunicorn_tells_systemd_that_it_is_there(tmp_path):
    """What Type=notify waits for: without it the service would be ended as one that did not start."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(30)
        (tmp_path / "tiny.py").write_text("def app(environ, start):\n    start('200 OK', [])\n    return [b'']\n", "ascii")
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "PATH": "/usr/bin:/bin"}
        command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--bind", f"unix:{tmp_path}/http", "tiny:app"]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        try:
            assert notified.recv(4096).startswith(b"READY=1"), (tmp_path / "log").read_text("utf-8")
            answers(tmp_path / "http")  # a worker that was only just begun does not hear that it is to end
        finally:
            process.terminate()
            process.wait(30)
