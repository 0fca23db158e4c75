"""Learners depend on it. The defaults in base.py are production's, so nothing differs."""

from typing import Any

DIFFERENT: dict[str, Any] = {}
