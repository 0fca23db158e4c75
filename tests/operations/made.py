"""Applications with settings of a test's choice, on its database; they are closed after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from codyverse import create_app
from codyverse.operations import components
from tests.conftest import make_settings

Make = Callable[..., Flask]


@pytest.fixture
def make(tmp_path: Path, database_url: str) -> Iterator[Make]:
    made: list[Flask] = []

    def make(**chosen: Any) -> Flask:
        made.append(create_app(make_settings(tmp_path, database_url, **chosen)))
        return made[-1]

    yield make
    for app in made:
        components.of(app).close()
