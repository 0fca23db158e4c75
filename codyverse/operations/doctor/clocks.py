"""What is said of clocks that differ; who has one to compare adds a check of his own."""

from __future__ import annotations

from collections.abc import Callable

from codyverse.operations.doctor.check import Finding, fault, ok, warning

WARNING_S, FAULT_S = 2.0, 30.0

WHY = "Sessions, limits and streaks are dated by both."
MEND = "Have both machines keep time by NTP (systemd-timesyncd, chrony)."


def compare(theirs: Callable[[], float], ours: Callable[[], float]) -> Finding:
    """Return what is to be said of two clocks (s), of which the first is read by way of a network."""
    before = ours()
    ahead_s = theirs() - (before + ours()) / 2
    told = f"Ours is {abs(ahead_s):.1f} s {'behind' if ahead_s > 0 else 'ahead'}."
    if abs(ahead_s) > FAULT_S:
        return fault(told)
    return warning(told) if abs(ahead_s) > WARNING_S else ok(f"{ahead_s:+.3f} s")
