"""`flask content`: check the catalogue's files, bring them to the learners, and back."""

from __future__ import annotations

from pathlib import Path

import click
from flask import Flask, current_app

from codyverse.extensions import database
from codyverse.learning import content
from codyverse.learning.service.catalogue import Report, import_catalogue
from codyverse.learning.service.export import Written, export_catalogue
from codyverse.operations.commands import CommandError, Group

group = Group("content", help="Check, import and export the catalogue.")

_folder = click.argument("folder", required=False, type=click.Path(path_type=Path))


@group.command()
@_folder
def lint(folder: Path | None) -> None:
    """Print every fault of the catalogue in FOLDER as path:line: message; exits 1 when there is one."""
    folder = _existing(folder)
    _exit_if_faulty(folder, content.lint(folder))
    click.echo("No faults.")


@group.command("import")
@_folder
def import_(folder: Path | None) -> None:
    """Make the catalogue in FOLDER the one that learners see, all of it or, with any fault in it, nothing."""
    folder = _existing(folder)
    try:
        read = content.read(folder)
    except content.Faulty as error:
        _exit_if_faulty(folder, error.faults)
        raise
    report = import_catalogue(database, read)
    returned = f"{report.returned} returned, " if report.returned else ""
    click.echo(
        f"{_courses(report)}: {report.new} new, {report.changed} changed, {returned}{report.retired} retired, "
        f"{report.unchanged} unchanged"
    )
    if report.rendered_anew:
        click.echo(f"{report.rendered_anew} of the unchanged rendered anew")
    if report.nothing_changed:
        click.echo("Nothing changed.")


@group.command()
@click.argument("folder", type=click.Path(path_type=Path))
def export(folder: Path) -> None:
    """Write the catalogue that learners see into FOLDER, which must be empty or missing, byte for byte as it was imported."""
    try:
        report = export_catalogue(database, folder)
    except OSError as error:
        raise CommandError(f"{click.format_filename(folder)} cannot be written: {error.strerror}") from None
    click.echo(f"{_courses(report)} written to {click.format_filename(folder)}")


def _existing(folder: Path | None) -> Path:
    found: Path = folder or current_app.config["CODYVERSE"].content_path
    if not found.is_dir():
        raise CommandError(f"There is no folder {click.format_filename(found)}.")
    return found


def _exit_if_faulty(folder: Path, faults: list[content.Fault]) -> None:
    for fault in faults:
        click.echo(f"{click.format_filename(folder / fault.path)}:{fault.line}: {fault.message}")
    if faults:
        click.echo(f"{len(faults)} {'fault' if len(faults) == 1 else 'faults'}.", err=True)
        raise SystemExit(1)


def _courses(report: Report | Written) -> str:
    return (
        f"{report.courses} {'course' if report.courses == 1 else 'courses'}, "
        f"{report.lessons} {'lesson' if report.lessons == 1 else 'lessons'}"
    )


def init_app(app: Flask) -> None:
    """Register `flask content`."""
    app.cli.add_command(group)
