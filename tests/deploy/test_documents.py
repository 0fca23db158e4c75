"""What the documents for operators tell to do can be done: commands, files, settings and modules that they name are there."""

import dataclasses
import importlib
import re

import pytest

import config
from tests.deploy.files import ROOT, assert_is_a_command, flask_commands

FOLDER = ROOT / "docs/operations"
DOCUMENTS = [FOLDER / "install.md", FOLDER / "scaling.md"]
TOP = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".") and path.name != "instance"}


@pytest.fixture
def engine_name() -> str:
    """Nothing here depends on the engine."""
    return "sqlite"


@pytest.fixture(params=DOCUMENTS, ids=lambda path: path.name)
def text(request):
    return request.param.read_text("utf-8")


def commands(text):
    """Those of `flask`, by its name or that of the shell function that calls it, with a command behind it."""
    written = re.sub(r"`[^`\n]*?(flask [^`\n]+)`", r"\n\1\n", text)
    written = re.sub(r"^(?:AS=root )?codyverse ", "flask ", written, flags=re.MULTILINE)
    return [[word for word in words if word != "`"] for words in flask_commands(written.replace("|", "\n"))]


def test_the_commands_are_there(text, app):
    found = commands(text)
    assert found
    for words in found:
        assert_is_a_command(app, words)


def test_a_command_that_is_not_there_is_found(app):
    with pytest.raises(AssertionError):
        assert_is_a_command(app, ["db", "elevate"])
    with pytest.raises(AssertionError):
        assert_is_a_command(app, ["deploy", "haproxy", "--sever", "app1:8000"])


def test_the_files_are_there(text):
    named = re.findall(rf"(?<![\w/.])((?:{'|'.join(TOP)})/[\w./*-]+[\w*])", text)
    assert named or "benchmarks" in text
    for name in named:
        assert list(ROOT.glob(name)), name
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (FOLDER / link).is_file(), link
    for unit in re.findall(r"`(codyverse[\w-]*\.(?:service|timer))`", text):
        assert (ROOT / "deploy/systemd" / unit).is_file(), unit


def test_the_units_that_are_started_are_there():
    text = (FOLDER / "install.md").read_text("utf-8")
    started = re.findall(r"systemctl (?:start|restart|reload|enable --now) ((?:codyverse[\w.-]*\s?)+)", text)
    units = {unit for units in started for unit in units.split()}
    assert {"codyverse", "codyverse-migrate", "codyverse-daily.timer", "codyverse-haproxy"} <= units
    for unit in units:
        assert (ROOT / "deploy/systemd" / (unit if unit.endswith(".timer") else f"{unit}.service")).is_file(), unit


def test_the_settings_are_there(text):
    known = {f"CODYVERSE_{field.name.upper()}" for field in dataclasses.fields(config.Settings)}
    assert set(re.findall(r"CODYVERSE_\w+", text)) <= known


def test_the_benchmarks_are_there(text):
    for module in re.findall(r"`(?:python -m )?(benchmarks\.\w+)", text):
        importlib.import_module(module)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert set(re.findall(r"`make (\w+)", text)) <= set(targets)


def test_the_worked_example_is_what_the_command_prints_today(capsys):
    """Of its lines, for the figures change with every measurement."""
    text = (FOLDER / "scaling.md").read_text("utf-8")
    (arguments,) = re.findall(r"^`python -m benchmarks\.capacity (--learners[^`]+)`", text, re.MULTILINE)
    (shown,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    importlib.import_module("benchmarks.capacity").main(arguments.split())

    def names(lines):
        return [re.sub(r"[\d,.]+$", "", line).strip() for line in lines.splitlines()[1:]]

    shown_names, printed_names = names(shown), names(capsys.readouterr().out)
    assert [name.split("  ")[0] for name in shown_names] == [name.split("  ")[0] for name in printed_names]
