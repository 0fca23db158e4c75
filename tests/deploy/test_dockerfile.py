import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.deploy.files import ROOT, settings_in
from tests.server import Server


@dataclass(frozen=True)
class Instruction:
    name: str
    text: str

    def words(self) -> list[str]:
        """The words of the exec form, which runs without a shell, or of the line."""
        return json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)


@pytest.fixture
def engine_name() -> str:
    """Nothing here depends on the engine."""
    return "sqlite"


def instructions() -> list[Instruction]:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in lines if line.strip()]


def last_stage() -> list[Instruction]:
    found = instructions()
    return found[max(number for number, one in enumerate(found) if one.name == "FROM") :]


def environment() -> dict[str, str]:
    words = [word for one in last_stage() if one.name == "ENV" for word in one.words()]
    return dict(word.split("=", 1) for word in words)


def copied() -> list[str]:
    """What comes from the folder of the project."""
    commands = [one.words() for one in instructions() if one.name == "COPY"]
    return [source for words in commands if not words[0].startswith("--from") for source in words[:-1]]


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets a path through: the last line that matches it, or a folder it is in, decides."""
    sent = True
    parents = ["/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 2)]
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        pattern = line.removeprefix("!").strip()
        if line and not line.startswith("#"):
            matches = any(fnmatch.fnmatchcase(parent, pattern) and parent.count("/") == pattern.count("/") for parent in parents)
            matches |= pattern.startswith("**/") and any(
                fnmatch.fnmatchcase(parent.rpartition("/")[2], pattern[3:]) for parent in parents
            )
            sent = line.startswith("!") if matches else sent
    return sent


def test_two_stages_stand_on_one_pinned_base():
    bases = [one.words()[0] for one in instructions() if one.name == "FROM"]
    assert len(bases) == 2 and len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", bases[0])


def test_packages_come_by_their_hashes():
    installs = [one.text for one in instructions() if one.name == "RUN" and "pip install" in one.text]
    assert len(installs) == 1 and "--require-hashes -r /requirements.txt" in installs[0]
    assert "--hash=sha256:" in (ROOT / "requirements.txt").read_text("utf-8")


def test_what_is_copied_is_there_and_is_sent():
    assert copied()
    for source in copied():
        assert (ROOT / source).exists(), source
        assert is_sent(source), source


@pytest.mark.parametrize(
    "path",
    [
        ".git",
        ".venv",
        "instance",
        "instance/secret_key",
        "deploy/compose",
        "deploy/compose/.env",
        "tests",
        "codyverse/__pycache__",
    ],
)
def test_what_the_image_does_not_need_is_not_sent(path):
    assert not is_sent(path)


def test_everything_that_the_application_imports_and_reads_is_copied(tmp_path):
    """The image's folder, made without Docker, loads the application by itself."""
    app = tmp_path / "app"
    for one in last_stage():
        if one.name == "COPY" and not one.words()[0].startswith("--from"):
            *sources, target = one.words()
            for source in sources:
                to = app / target / (Path(source).name if target == "./" else "")
                to.parent.mkdir(parents=True, exist_ok=True)
                copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                copy(ROOT / source, to)  # a link would lead back to everything else that is here
    values = {
        "CODYVERSE_ENV": "testing",
        "CODYVERSE_INSTANCE_PATH": str(tmp_path),
        "PATH": environment()["PATH"],
        "FLASK_APP": "wsgi.py",
    }
    told = subprocess.run(
        [sys.executable, "-m", "flask", "deploy", "haproxy", "--server", "app1:8000", "--dns"],
        cwd=app,
        env=values,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 0 and "app1:8000" in told.stdout, told.stderr


def test_it_runs_without_root():
    names = [one.name for one in last_stage()]
    (user,) = (one.text for one in last_stage() if one.name == "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "a number, so that a cluster can tell that it is not root"
    assert names.index("USER") < names.index("CMD")
    assert "RUN" not in names[names.index("USER") :]


def test_gunicorn_accepts_its_configuration(tmp_path):
    (command,) = (one for one in last_stage() if one.name == "CMD")
    assert command.text.startswith("["), "with a shell in between SIGTERM would not reach gunicorn"
    own = environment()
    values = own | {
        "CODYVERSE_INSTANCE_PATH": str(tmp_path),
        "CODYVERSE_SECRET_KEY": "x" * 48,
        "CODYVERSE_DATABASE_URL": f"sqlite:///{tmp_path}/database",
    }
    program, *arguments = command.words()
    told = subprocess.run(
        [sys.executable, "-m", program, *arguments, "--check-config"],
        cwd=ROOT,
        env=values,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    values["GUNICORN_CMD_ARGS"] += " --print-config"
    printed = subprocess.run(
        [sys.executable, "-m", program, *arguments], cwd=ROOT, env=values, capture_output=True, text=True, timeout=60, check=False
    ).stdout
    (port,) = (one.text for one in last_stage() if one.name == "EXPOSE")
    assert re.search(rf"^bind\s+= \['0\.0\.0\.0:{port}'\]$", printed, re.MULTILINE), printed


def test_without_a_secret_it_does_not_start(tmp_path):
    values = environment() | {"CODYVERSE_INSTANCE_PATH": str(tmp_path)}
    told = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--check-config"],
        cwd=ROOT,
        env=values,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode != 0 and "SECRET_KEY is missing" in told.stderr


def test_its_health_is_that_of_the_server(database_url, tmp_path):
    (check,) = (one.text for one in last_stage() if one.name == "HEALTHCHECK")
    program, *arguments = json.loads(check[check.index("CMD ") + 4 :])
    assert program == "python"
    with Server(tmp_path, database_url, "--workers", "1", env="production", secret_key="x" * 48) as server:
        here = [argument.replace(":8000/", f":{server.port}/") for argument in arguments]
        assert here != arguments
        assert subprocess.run([sys.executable, *here], timeout=30, check=False).returncode == 0
        with requests.get(f"{server.url}/livez", timeout=10) as answer:
            assert answer.status_code == 200
    assert subprocess.run([sys.executable, *here], timeout=30, stderr=subprocess.DEVNULL, check=False).returncode != 0


def test_the_image_and_the_units_have_the_same_instance_folder():
    assert (
        environment()["CODYVERSE_INSTANCE_PATH"]
        == settings_in(ROOT / "deploy/systemd/environment.example")["CODYVERSE_INSTANCE_PATH"]
    )
