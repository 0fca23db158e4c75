"""A rehearsal of production."""

from typing import Any

DIFFERENT: dict[str, Any] = {"log_level": "INFO", "static_max_age_s": 86_400}
