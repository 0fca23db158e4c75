"""What `flask doctor` looks at in the catalogue."""

from __future__ import annotations

import sqlalchemy as sa

from codyverse.learning import content
from codyverse.learning.models import courses
from codyverse.operations.doctor.check import Finding, Group, fault, ok, warning
from codyverse.operations.doctor.database import CURRENT
from codyverse.operations.doctor.deployment import Deployment

group = Group("content")


@group.check(
    "catalogue-files",
    "The catalogue's files have no faults",
    why="The next import would be refused, and with it every correction.",
    mend="`flask content lint` names file and line; the format is docs/authors/lessons.md.",
    within_s=30.0,
)
def catalogue_files(it: Deployment) -> Finding:
    """Read all of them."""
    folder = it.settings.content_path
    if not folder.is_dir():
        return fault(f"There is no folder {folder}.")
    found = content.lint(folder)
    return fault(f"{found[0].path}:{found[0].line}: {found[0].message}, {len(found)} in all.") if found else ok()


@group.check(
    "catalogue",
    "Learners see courses",
    why="There is nothing to learn.",
    mend="flask content import",
    needs=CURRENT,
)
def catalogue(it: Deployment) -> Finding:
    """Look for one."""
    with it.database.read() as reader:
        has_one = reader.execute(sa.select(courses.c.id).where(courses.c.retired_at.is_(None)).limit(1)).scalar()
    return ok() if has_one else warning("There is no course.")
