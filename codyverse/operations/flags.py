"""The report's feature flags (row R22): settings `feature_…`, each of which switches its part off cleanly.

A flag exists when its part does, so what `/health` shows is what can be switched.
"""

from __future__ import annotations

from dataclasses import fields

from config import Settings

PREFIX = "feature_"


def states(settings: Settings) -> dict[str, bool]:
    """Return every flag in the report's spelling, such as `rateLimit`, and whether it is on."""
    return {
        _report_name(field.name.removeprefix(PREFIX)): getattr(settings, field.name)
        for field in fields(settings)
        if field.name.startswith(PREFIX)
    }


def _report_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
