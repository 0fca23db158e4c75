"""`flask doctor`: print what is wrong with a deployment, why it matters, and how to mend it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import click
import orjson
from flask import Flask, current_app
from flask.cli import with_appcontext

from codyverse.operations.commands import CommandError
from codyverse.operations.doctor import registry
from codyverse.operations.doctor.check import FAULT, OK, SKIPPED, WARNING, Finding, Group, Result, examine
from codyverse.operations.doctor.checklist import groups
from codyverse.operations.doctor.deployment import Deployment
from codyverse.operations.proxies import is_host

MARKS = {OK: "ok", WARNING: "WARNING", FAULT: "FAULT", SKIPPED: "-"}
WORDS = {OK: ("ok", "ok"), WARNING: ("warning", "warnings"), FAULT: ("fault", "faults"), SKIPPED: ("not looked at",) * 2}


@click.command("doctor")
@click.option("--url", default="", metavar="https://HOST", help="Look at the site that visitors find there, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--only", multiple=True, metavar="GROUP", help="Look at one group, or at several.")
@with_appcontext
def command(url: str, as_json: bool, only: tuple[str, ...]) -> None:
    """Look whether this deployment is as it should be; exits 1 when something has to be mended.

    Run it as the account of the service, with its environment, before a deployment and whenever something is odd. It changes
    nothing. What there is to look at: docs/operations/checklist.md.
    """
    checks = registry.of(current_app)
    unknown = [name for name in only if name not in groups(checks)]
    if unknown:
        raise CommandError(f"There is no group {unknown[0]!r}; there are {', '.join(groups(checks))}.")
    results = examine(Deployment.of(_app(), _checked(url)), checks, only)
    if as_json:
        click.echo(orjson.dumps(_plain(results), option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo("\n".join(_lines(results)))
    if any(result.finding.status == FAULT for result in results):
        raise SystemExit(1)


def _app() -> Flask:
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # threads have no context
    return app


def _checked(url: str) -> str:
    """Return the address that was given. Raises CommandError for what is no site's."""
    if url and not _is_site(url):
        raise CommandError(f"{url} is no address of a site such as https://learn.example.org.")
    return url


def _is_site(url: str) -> bool:
    try:
        scheme, host, path, *rest = urlsplit(url)
    except ValueError:
        return False
    return scheme == "https" and is_host(host) and path in ("", "/") and not any(rest)


def _lines(results: Sequence[Result]) -> Iterator[str]:
    for group in groups([result.check for result in results]):
        yield group
        of_group = [result for result in results if result.check.group == group]
        for check, finding, _ in of_group:
            if finding.status != SKIPPED:
                yield f"  {MARKS[finding.status]:8}{check.title}{_aside(finding)}"
            if finding.status in (WARNING, FAULT):
                yield from (f"          {line}" for line in (finding.what, f"Why: {check.why}", f"Mend: {check.mend}"))
        for reason, count in Counter(one.finding.what for one in of_group if one.finding.status == SKIPPED).items():
            yield f"  {MARKS[SKIPPED]:8}{reason} ({count} {'check' if count == 1 else 'checks'})"
        yield ""
    counts = Counter(result.finding.status for result in results)
    figures = (f"{counts[status]} {words[counts[status] != 1]}" for status, words in WORDS.items())
    yield f"{len(results)} checks: {', '.join(figures)}."


def _aside(finding: Finding) -> str:
    return f" ({finding.what})" if finding.status == OK and finding.what else ""


def _plain(results: Sequence[Result]) -> dict[str, Any]:
    counts = Counter(result.finding.status for result in results)
    return {
        "counts": {status: counts[status] for status in MARKS},
        "checks": [
            {
                "group": check.group,
                "name": check.name,
                "status": finding.status,
                "title": check.title,
                "what": finding.what,
                "why": check.why,
                "mend": check.mend,
                "seconds": round(seconds, 3),
            }
            for check, finding, seconds in results
        ],
    }


def init_app(app: Flask, more: Iterable[Group] = ()) -> None:
    """Register `flask doctor` with its checks and those of the domains."""
    registry.init_app(app, more)
    app.cli.add_command(command)
