from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask

from tests.operations.backup.installation import Installation


@pytest.fixture
def installation(app: Flask, tmp_path: Path) -> Installation:
    """One with learners, who have earned something."""
    made = Installation(app, tmp_path)
    made.add_learners()
    return made
