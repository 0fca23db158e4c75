"""A check: one thing about a deployment that is as it should be, or not; why that matters, and how to mend it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from codyverse.operations.doctor.deployment import Deployment

OK, WARNING, FAULT, SKIPPED = "ok", "warning", "fault", "skipped"
WITHIN_S = 5.0  # that a check may take, unless it says otherwise


class Finding(NamedTuple):
    """What a check found, in a sentence, which never shows a secret."""

    status: str
    what: str


def ok(what: str = "") -> Finding:
    """Return that all is well."""
    return Finding(OK, what)


def warning(what: str) -> Finding:
    """Return what should be looked into, and does not keep a deployment from serving."""
    return Finding(WARNING, what)


def fault(what: str) -> Finding:
    """Return what has to be mended."""
    return Finding(FAULT, what)


def skipped(what: str) -> Finding:
    """Return why there is nothing to look at."""
    return Finding(SKIPPED, what)


Look = Callable[[Deployment], Finding]


@dataclass(frozen=True, slots=True)
class Check:
    """One check; `title` says how things should be, `needs` names a check without which there is nothing to look at."""

    group: str
    name: str
    title: str
    why: str
    mend: str
    look: Look
    needs: str
    not_here: Callable[[Deployment], str]
    within_s: float


def _always(_: Deployment) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Group:
    """Checks of one part. `not_here` says why a deployment has no such part, nothing for one that has; names may be shared."""

    name: str
    not_here: Callable[[Deployment], str] = _always
    checks: list[Check] = field(default_factory=list)

    def check(
        self, name: str, title: str, *, why: str, mend: str, needs: str = "", within_s: float = WITHIN_S
    ) -> Callable[[Look], Look]:
        """Add a check: the function below it, which returns what it found. What it raises is a fault, too."""

        def add(look: Look) -> Look:
            self.checks.append(Check(self.name, name, title, why, mend, look, needs, self.not_here, within_s))
            return look

        return add


class Result(NamedTuple):
    """A check, what it found and how long it took."""

    check: Check
    finding: Finding
    seconds: float


def examine(deployment: Deployment, checks: Iterable[Check], only: Iterable[str] = ()) -> list[Result]:
    """Return what the checks of the named groups found, of all groups when none is named."""
    by_name = {check.name: check for check in checks}
    results: dict[str, Result] = {}

    def result_of(check: Check) -> Result:
        if check.name not in results:
            began = time.monotonic()
            found = _why_not(check) or _look(check, deployment)
            results[check.name] = Result(check, found, time.monotonic() - began)
        return results[check.name]

    def _why_not(check: Check) -> Finding | None:
        reason = check.not_here(deployment)
        if reason:
            return skipped(reason)
        if check.needs and result_of(by_name[check.needs]).finding.status in (FAULT, SKIPPED):
            return skipped(f"Not looked at, since it does not hold that: {by_name[check.needs].title}.")
        return None

    wanted = set(only)
    return [result_of(check) for check in by_name.values() if not wanted or check.group in wanted]


def _look(check: Check, deployment: Deployment) -> Finding:
    """Return what a check found within its time; one that hangs is left behind, in a thread that ends with the process."""
    found: list[Finding] = []

    def run() -> None:
        try:
            found.append(check.look(deployment))
        except (Exception, SystemExit) as error:
            found.append(fault(f"It could not be checked: {_cause(error)}."))

    thread = threading.Thread(target=run, name=f"doctor-{check.name}", daemon=True)
    thread.start()
    thread.join(check.within_s)
    return found[0] if found else fault(f"It could not be checked within {check.within_s:g} s.")


def _cause(error: BaseException) -> str:
    """Return what an error is called: its text might hold an address with a password, or what somebody wrote."""
    name = type(error).__name__
    return f"{name}, {error.strerror}" if isinstance(error, OSError) and error.strerror else name
