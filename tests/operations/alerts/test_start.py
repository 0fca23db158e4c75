"""A server that is told to start with rules that cannot be used says so and ends, as for any other setting."""

from __future__ import annotations

import os
import subprocess
import sys

from config import ROOT


def test_gunicorn_refuses_rules_that_cannot_be_used(tmp_path):
    path = tmp_path / "alerts.yaml"
    path.write_text("rules: [{name: Nothing}]")
    environment = {
        "PATH": os.environ["PATH"],
        "CODYVERSE_ENV": "testing",
        "CODYVERSE_INSTANCE_PATH": str(tmp_path),
        "CODYVERSE_ALERTS_PATH": str(path),
    }
    found = subprocess.run(
        [sys.executable, "-m", "gunicorn"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 2
    line = f"codyverse: CODYVERSE_ALERTS_PATH: {path}: rules.0.severity: Missing data for required field.\n"
    assert found.stderr == line
