"""Applications with production's limits, and some of them chosen; time that a test moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import time_machine

import config
from tests.conftest import make_settings

PRODUCTION = {field.name: field.default for field in fields(config.Settings) if field.name.startswith("limit_")}
START = 1_795_521_600.0


@pytest.fixture
def chosen() -> dict[str, Any]:
    return {}


@pytest.fixture
def settings(database_url: str, tmp_path: Path, chosen: dict[str, Any]) -> config.Settings:
    return make_settings(tmp_path, database_url, **PRODUCTION | chosen)


@pytest.fixture
def time() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


def choose(**settings: str | bool) -> pytest.MarkDecorator:
    """Choose limits, and other settings by their whole name: `choose(endpoint="3 per minute", feature_rate_limit=False)`."""
    return pytest.mark.parametrize(
        "chosen", [{f"limit_{name}" if isinstance(v, str) else name: v for name, v in settings.items()}]
    )
