import os
import re
import stat
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

import config
from config import Settings, SettingsError

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in list(os.environ):
        if name.startswith("CODYVERSE_"):
            monkeypatch.delenv(name)


@pytest.fixture
def load(monkeypatch, tmp_path):
    def load(**variables: str) -> Settings:
        for name, value in ({"INSTANCE_PATH": str(tmp_path / "instance")} | variables).items():
            monkeypatch.setenv(f"CODYVERSE_{name}", value)
        return config.load()

    return load


def test_it_works(load, tmp_path):
    settings = load()
    assert settings.environment == "development"
    assert settings.database_url == f"sqlite:///{tmp_path}/instance/codyverse.sqlite3"


def test_a_variable_wins_over_the_environment_and_that_over_the_default(load):
    assert load(ENV="development").log_level == "DEBUG"
    assert load(ENV="development", LOG_LEVEL="ERROR").log_level == "ERROR"
    assert load(ENV="production", LOG_LEVEL="", SECRET_KEY="s" * 40).log_level == "WARNING"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DATABASE_ULR", "x", "CODYVERSE_DATABASE_ULR is not a setting. Did you mean CODYVERSE_DATABASE_URL?"),
        ("QQQQQQ", "x", "CODYVERSE_QQQQQQ is not a setting."),
        ("SESSION_DAYS", "many", "CODYVERSE_SESSION_DAYS"),
        ("SESSION_DAYS", "0", "CODYVERSE_SESSION_DAYS"),
        ("SESSION_COOKIE_SECURE", "perhaps", "CODYVERSE_SESSION_COOKIE_SECURE"),
        ("LOG_LEVEL", "LOUD", "CODYVERSE_LOG_LEVEL"),
        ("ENV", "prod", "CODYVERSE_ENV is 'prod'; it must be one of development, staging, production, testing."),
        ("SECRET_KEY", "short", "CODYVERSE_SECRET_KEY is shorter than 32 characters."),
        ("DATABASE_URL", "nonsense", "CODYVERSE_DATABASE_URL"),
        ("DATABASE_URL", "mysql://localhost/x", "CODYVERSE_DATABASE_URL"),
        ("DATABASE_URL", "postgresql://u:p@host:port/x", "CODYVERSE_DATABASE_URL"),
        ("DATABASE_URL", "sqlite:///:memory:", "CODYVERSE_DATABASE_URL"),
        ("DATABASE_URL", "sqlite://", "CODYVERSE_DATABASE_URL"),
        ("DATABASE_URL", "sqlite:///x.db?foo=bar", "CODYVERSE_DATABASE_URL"),
        ("DATABASE_URL", "sqlite:///file:x?mode=memory&uri=true", "CODYVERSE_DATABASE_URL"),
        ("LIMIT_CLIENT", "5 per 99999999999999999999 years", "CODYVERSE_LIMIT_CLIENT"),
        ("LIMIT_CLIENT", "5 per 0 minutes", "CODYVERSE_LIMIT_CLIENT"),
        ("LIMIT_CLIENT", "0 per minute", "CODYVERSE_LIMIT_CLIENT"),
        ("LIMIT_SIGN_IN", "5 per minute; 10 per hour", "CODYVERSE_LIMIT_SIGN_IN"),
        ("CORS_ORIGINS", "https://app.example.org:443", "https://app.example.org:443 is no origin"),
        ("CORS_ORIGINS", "http://app.example.org:65536", "http://app.example.org:65536 is no origin"),
        ("CORS_ORIGINS", "https://*.com", "https://*.com is no origin"),
        ("CORS_ORIGINS", "https://*.localhost:8000", "https://*.localhost:8000 is no origin"),
        ("ALLOWED_HOSTS", "learn.example.org, *.example.org", "*.example.org is no host such as"),
        ("ALLOWED_HOSTS", "learn.example.org:8000", "learn.example.org:8000 is no host"),
        ("ALLOWED_HOSTS", "https://learn.example.org", "https://learn.example.org is no host"),
        ("ALLOWED_HOSTS", "..example.org", "..example.org is no host"),
        ("ALLOWED_HOSTS", ".", ". is no host"),
        ("ALLOWED_HOSTS", "Learn.example.org", "in lower case"),
        ("REDIS_URL", "redis://x:1/0?foo=bar", "CODYVERSE_REDIS_URL"),
        ("REDIS_URL", "redis://x:1/abc", "CODYVERSE_REDIS_URL"),
        ("INSTANCE_PATH", "~nosuchuser/x", "CODYVERSE_INSTANCE_PATH"),
        ("CONTENT_PATH", "~nosuchuser/x", "CODYVERSE_CONTENT_PATH"),
    ],
)
def test_a_wrong_variable_is_named_in_one_line(load, name, value, says):
    with pytest.raises(SettingsError) as refused:
        load(**{name: value})
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_production_refuses_a_missing_secret(load, tmp_path):
    with pytest.raises(SettingsError, match="CODYVERSE_SECRET_KEY is missing"):
        load(ENV="production")
    assert not (tmp_path / "instance").exists()


def test_elsewhere_the_secret_is_made_once_and_only_its_owner_may_read_it(load, tmp_path):
    first = load().secret_key
    assert load().secret_key == first
    assert len(first) >= config.SHORTEST_SECRET
    assert stat.S_IMODE((tmp_path / "instance" / "secret_key").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "instance").iterdir()] == ["secret_key"]
    assert load(ENV="production").secret_key == first


@pytest.mark.parametrize("name", ["q?x=1", "p%41", "a b", "ü", "x#y"])
def test_the_instance_folder_may_have_any_name(load, tmp_path, name):
    settings = load(INSTANCE_PATH=str(tmp_path / name))
    assert make_url(settings.database_url).database == str(tmp_path / name / "codyverse.sqlite3")


def test_an_empty_secret_key_file_is_made_anew_and_a_broken_one_is_named(load, tmp_path):
    path = tmp_path / "instance" / "secret_key"
    path.parent.mkdir()
    path.write_text("")
    assert len(load().secret_key) >= config.SHORTEST_SECRET
    path.write_bytes(b"\xff" * 40)
    with pytest.raises(SettingsError, match="secret_key is no text"):
        load()


@pytest.mark.parametrize("port", ["99999", "-1", "0", "abc", "٣"])
def test_gunicorn_does_not_start_with_a_wrong_port(port, tmp_path):
    variables = {"PATH": os.environ["PATH"], "CODYVERSE_INSTANCE_PATH": str(tmp_path), "PORT": port, "PYTHONUTF8": "1"}
    ended = subprocess.run(
        [sys.executable, "-m", "gunicorn"], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr == f"codyverse: PORT is {port!r}; it must be a number from 1 to 65535.\n"


def test_processes_that_start_at_once_agree_on_the_secret(tmp_path):
    program = "import config; print(config.load().secret_key)"
    variables = {"PATH": os.environ["PATH"], "CODYVERSE_INSTANCE_PATH": str(tmp_path / "new")}
    started = [
        subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert len({process.communicate(timeout=60)[0] for process in started}) == 1


@pytest.mark.parametrize("command", [["-m", "flask", "db", "status"], ["-m", "gunicorn"]], ids=["flask", "gunicorn"])
def test_a_program_does_not_start_with_a_wrong_setting(command, tmp_path):
    variables = {"PATH": os.environ["PATH"], "CODYVERSE_INSTANCE_PATH": str(tmp_path), "CODYVERSE_SESION_DAYS": "3"}
    ended = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr == "codyverse: CODYVERSE_SESION_DAYS is not a setting. Did you mean CODYVERSE_SESSION_DAYS?\n"


def test_every_setting_has_help_and_something_reads_it():
    code = "\n".join(
        path.read_text("utf-8")
        for folder in ("codyverse", "config")
        for path in (ROOT / folder).rglob("*.py")
        if path != ROOT / "config" / "base.py"
    )
    for setting in fields(Settings):
        assert setting.name == "environment" or setting.metadata["help"].endswith(".")
        assert re.search(rf'(\.|\["){setting.name}\b', code), f"nothing reads {setting.name}"


def test_the_environment_is_read_in_two_places_only():
    readers = {
        str(path.relative_to(ROOT))
        for path in [*ROOT.glob("*.py"), *(ROOT / "codyverse").rglob("*.py"), *(ROOT / "config").rglob("*.py")]
        if re.search(r"os\.environ|os\.getenv", path.read_text("utf-8"))
    }
    assert readers == {"config/__init__.py", "gunicorn.conf.py"}
