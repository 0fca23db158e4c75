"""How the canary does, where HAProxy's runtime socket is named (`haproxy_socket`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from codyverse.operations.commands import CommandError
from codyverse.operations.deploy.canary import Canary, Track
from codyverse.operations.deploy.runtime import Runtime

TIMEOUT_S = 0.5  # everybody who looks at the page waits for as long


@dataclass(frozen=True, slots=True)
class Rollout:
    """What HAProxy says, or why it says nothing."""

    percent: int | None = None
    tracks: dict[str, Track] = field(default_factory=dict)
    fault: str = ""


def read(address: str) -> Rollout | None:
    """Return how both versions do, None where no HAProxy is named."""
    if not address:
        return None
    found = Canary(Runtime(address, TIMEOUT_S))
    try:
        return Rollout(found.percent(), found.tracks())
    except CommandError as error:
        return Rollout(fault=error.message)


def error_percent(track: Track) -> float | None:
    """Return the share of a version's answers that were errors."""
    return 100 * track.errors / track.requests if track.requests else None
