"""Write the reference documents from the code, or with --check say which of them are not what the code says."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
sys.path.insert(0, str(ROOT))

import config  # noqa: E402  (found by way of the line above)
from codyverse import create_app, errors  # noqa: E402
from codyverse.operations import components, metrics  # noqa: E402
from codyverse.operations.doctor import checklist  # noqa: E402
from codyverse.operations.doctor import registry as doctor_registry  # noqa: E402
from config import base  # noqa: E402

NOTICE = "<!-- Written by docs/generate.py (`make docs`) from the code. -->\n"


def settings_document() -> str:
    """Return the table of settings."""
    lines = [
        "# Settings",
        NOTICE,
        "Every setting is an environment variable. `CODYVERSE_ENV` chooses among "
        + ", ".join(f"`{name}`" for name in config.ENVIRONMENTS)
        + "; what one of them has instead of the default stands under elsewhere. A variable that is not listed here stops the",
        "start.",
        "",
        "| variable | type | default | elsewhere | what it is |",
        "|---|---|---|---|---|",
    ]
    environments = {
        name: importlib.import_module(f"config.{name}").DIFFERENT for name in config.ENVIRONMENTS if name != "testing"
    }
    for field in dataclasses.fields(base.Settings):
        if field.name == "environment":
            continue
        value = field.default
        default = f"`{value.relative_to(ROOT) if isinstance(value, Path) else value}`" if value != "" else ""
        elsewhere = ", ".join(f"{name} `{values[field.name]}`" for name, values in environments.items() if field.name in values)
        name = f"`{config.PREFIX}{field.name.upper()}`"
        lines.append(f"| {name} | {field.type} | {default} | {elsewhere} | {field.metadata['help']} |")
    return "\n".join(lines) + "\n"


def problems_document() -> str:
    """Return the table of error types."""
    lines = [
        "# Problems",
        NOTICE,
        "Every error of the API is `application/problem+json` (RFC 9457) with `type`, `title`, `status`, and where it helps",
        "`detail` and `errors`, which names fields. A type never changes its meaning; errors without one have `about:blank`.",
        "",
        "| type | status | meaning |",
        "|---|---|---|",
    ]
    for kind in sorted(_subclasses(errors.CodyverseError), key=lambda kind: (kind.status, kind.type)):
        lines.append(f"| `{errors.PROBLEM_TYPE}{kind.type}` | {kind.status} | {(kind.__doc__ or '').splitlines()[0]} |")
    return "\n".join(lines) + "\n"


def _subclasses(kind: type[errors.CodyverseError]) -> Iterator[type[errors.CodyverseError]]:
    for below in kind.__subclasses__():
        yield below
        yield from _subclasses(below)


def commands_document(app: object) -> str:
    """Return the help of every command of ours."""
    lines = ["# Commands", NOTICE]
    for name, group in sorted(app.cli.commands.items()):  # type: ignore[attr-defined]
        if name == "flask":
            continue
        lines += [f"## `flask {name}`", "", *([group.help or "", ""] if isinstance(group, click.Group) else [])]
        for command_name, command in _commands(group):
            context = click.Context(command, info_name=f"flask {name} {command_name}".rstrip())
            lines += ["```text", command.get_help(context), "```", ""]
    return "\n".join(lines)


def checklist_document(app: object) -> str:
    """Return the list to go through before a deployment."""
    checks = doctor_registry.of(app)  # type: ignore[arg-type]
    lines = [
        "# Before a deployment",
        NOTICE,
        "`flask doctor` looks at all of this, `flask doctor --only GROUP` at a part, with `--url https://HOST` also at the site",
        "as visitors meet it. Run it as the account of the service, with its environment. It exits 1 when something has to be",
        "mended, and changes nothing. Settings that cannot be used end any command with one line and code 2.",
        "",
    ]
    return "\n".join([*lines, checklist.document(checks)])


def _commands(group: click.Command, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield the commands of a group, and of the groups in it, with their names behind the group's; or a command on its own."""
    if not isinstance(group, click.Group):
        yield prefix, group
        return
    for name, command in sorted(group.commands.items()):
        yield f"{prefix}{name}", command
        if isinstance(command, click.Group):
            yield from _commands(command, f"{prefix}{name} ")


def metrics_document(app: object) -> str:
    """Return the table of figures."""
    lines = [
        "# Figures",
        NOTICE,
        "What `GET /metrics` tells, for all workers of a host together. A `worker` is the number of a slot, not of a process.",
        "",
        "| name | type | labels | what it is |",
        "|---|---|---|---|",
    ]
    counted = metrics.of(app)  # type: ignore[arg-type]
    for family in sorted(counted.registry.collect(), key=lambda family: family.name) if counted else []:
        labels = ", ".join(f"`{label}`" for label in family._labelnames)  # type: ignore[attr-defined]
        name = f"{family.name}_total" if family.type == "counter" else family.name
        lines.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    return "\n".join(lines) + "\n"


def openapi_document(app: object) -> str:
    """Return the OpenAPI document."""
    answer = app.test_client().get("/api/v1/openapi.json")  # type: ignore[attr-defined]
    return json.dumps(answer.json, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the documents, or check them; returns the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(config.load(environment="testing", instance_path=Path(folder)))
        documents = {
            "settings.md": settings_document(),
            "problems.md": problems_document(),
            "commands.md": commands_document(app),
            "openapi.json": openapi_document(app),
            "metrics.md": metrics_document(app),
            "../operations/checklist.md": checklist_document(app),
        }
        components.of(app).close()
    stale = [
        name for name, text in documents.items() if not (FOLDER / name).exists() or (FOLDER / name).read_text("utf-8") != text
    ]
    if "--check" in sys.argv[1:]:
        for name in stale:
            path = (FOLDER / name).resolve().relative_to(ROOT)
            click.echo(f"{path} is not what the code says: run `make docs`", err=True)
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (FOLDER / name).write_text(documents[name], "utf-8")
    click.echo(f"written: {', '.join(stale) or 'nothing, all were current'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
