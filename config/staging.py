"""A rehearsal of production."""

from typing import Any

DIFFERENT: dict[str, Any] = {"log_level": "INFO"}
