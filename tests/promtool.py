"""Prometheus' own tool: on the path, or where `make test` puts it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WHY_NOT = "no promtool: install Debian's prometheus, or run `make test` once"


def promtool(*arguments: str | Path) -> str:
    """Return what a command of the tool says; fails when it does. Skips where there is none."""
    program = shutil.which("promtool") or shutil.which("promtool", path=str(ROOT / "build"))
    if program is None:
        assert os.environ.get("CI") != "true", WHY_NOT
        pytest.skip(WHY_NOT)
    found = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, (found.stdout + found.stderr)[-5000:]
    return found.stdout
