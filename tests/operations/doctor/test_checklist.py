"""The checklist is made of the checks, and says all of it."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import fields
from typing import Any

import pytest
from flask import Flask

import config
from codyverse.operations.doctor import registry
from codyverse.operations.doctor.checklist import document, groups
from tests.one_engine import cheapest  # noqa: F401  (a fixture)
from tests.server import ROOT


@pytest.fixture
def checks(app: Flask) -> Any:
    return registry.of(app)


def test_there_are_enough(checks: Any) -> None:
    assert len(checks) >= 25
    assert groups(checks)[0] == "settings"
    assert groups(checks)[-1] == "site"


def test_every_check_says_why_it_matters_and_how_to_mend_it(checks: Any) -> None:
    for check in checks:
        assert check.why.endswith("."), check.name
        assert check.mend, check.name
        assert not check.title.endswith("."), check.name
        assert check.needs in ("", *(other.name for other in checks)), check.name


def test_the_document_is_what_the_checks_say(app: Flask, checks: Any) -> None:
    specification = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert specification and specification.loader
    generate = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(generate)
    written = (ROOT / "docs/operations/checklist.md").read_text("utf-8")
    assert written == generate.checklist_document(app), "run `make docs`"
    assert all(f"| `{check.name}` |" in written for check in checks)


def test_settings_documents_and_units_that_it_names_are_there(checks: Any) -> None:
    text = document(checks)
    known = {f"CODYVERSE_{field.name.upper()}" for field in fields(config.Settings)} | {"CODYVERSE_ENV"}
    assert set(re.findall(r"CODYVERSE_[A-Z_]+", text)) <= known
    for path in set(re.findall(r"(?:docs|deploy)/[\w/.-]*\w", text)):
        assert (ROOT / path).exists(), path
    for unit in set(re.findall(r"codyverse-[a-z]+\.(?:timer|service)", text)):
        assert (ROOT / "deploy/systemd" / unit).is_file(), unit
