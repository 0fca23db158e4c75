"""What backup.md, upgrade.md and incident.md tell to do can be done: the commands, files, headings and settings are there."""

import dataclasses
import re

import pytest

import config
from tests.deploy.files import ROOT, assert_is_a_command
from tests.deploy.test_documents import FOLDER, commands
from tests.one_engine import cheapest

__all__ = ["cheapest"]

DOCUMENTS = ("backup.md", "incident.md", "upgrade.md")


@pytest.fixture(params=DOCUMENTS)
def text(request):
    return (FOLDER / request.param).read_text("utf-8")


def test_the_commands_are_there(text, app):
    found = commands(re.sub(r"`codyverse ", "`flask ", text).replace("`flask` ", ""))
    assert len(found) >= 5
    for words in found:
        assert_is_a_command(app, words)


def test_links_and_headings_are_there(text):
    for file, heading in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", text):
        target = (FOLDER / file).read_text("utf-8") if file else text
        headings = [re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in re.findall(r"^#+ (.*)$", target, re.M)]
        assert not heading or heading in headings, f"{file}#{heading}"


def test_the_units_are_there(text):
    units = set(re.findall(r"\bcodyverse-(?:backup|daily|migrate|haproxy)\b(?:\.timer)?", text))
    assert units
    for unit in units:
        assert (ROOT / "deploy/systemd" / (unit if unit.endswith(".timer") else f"{unit}.service")).is_file(), unit


def test_the_settings_are_there(text):
    known = {f"CODYVERSE_{field.name.upper()}" for field in dataclasses.fields(config.Settings)}
    named = set(re.findall(r"CODYVERSE_\w+", text))
    assert named and named <= known
