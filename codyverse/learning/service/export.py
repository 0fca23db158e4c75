"""Writing the catalogue that is in the database into files, each byte for byte as it was imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa

from codyverse.database import Database
from codyverse.errors import Conflict
from codyverse.learning.models import course_images, courses, lesson_versions, lessons
from codyverse.learning.service.catalogue import IMPORT_CLAIM
from codyverse.operations.retry import repeatable

_COURSES = sa.select(courses.c.id, courses.c.slug, courses.c.source).where(courses.c.retired_at.is_(None))
_LESSONS = (
    sa.select(lessons.c.course_id, lessons.c.slug, lesson_versions.c.source)
    .join(lesson_versions, sa.and_(lesson_versions.c.lesson_id == lessons.c.id, lesson_versions.c.number == lessons.c.version))
    .where(lessons.c.retired_at.is_(None))
)
_IMAGES = sa.select(course_images.c.course_id, course_images.c.name, course_images.c.content).where(
    course_images.c.retired_at.is_(None)
)


@dataclass(slots=True)
class Written:
    """What an export wrote."""

    courses: int = 0
    lessons: int = 0


@repeatable
def export_catalogue(database: Database, folder: Path) -> Written:
    """Write the living catalogue into an empty or missing folder, each file as it was imported.

    Raises Conflict when the folder holds anything, OSError when it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} is not an empty folder; nothing was written.")
    written = Written()
    # A transaction, so that an import in between cannot give half of one catalogue and half of another.
    with database.transaction() as tx:
        database.take_turns(tx, IMPORT_CLAIM)
        living = list(tx.execute(_COURSES))
        slugs = {row.id: row.slug for row in living}
        files = [(f"{row.slug}/course.yaml", row.source.encode()) for row in living]
        written.courses = len(files)
        for row in tx.execute(_LESSONS):
            if row.course_id in slugs:
                files.append((f"{slugs[row.course_id]}/{row.slug}.md", row.source.encode()))
                written.lessons += 1
        for row in tx.execute(_IMAGES):
            if row.course_id in slugs:
                files.append((f"{slugs[row.course_id]}/images/{row.name}", row.content))
    if not files:
        raise Conflict("The catalogue is empty; nothing was written.")
    _write(folder.absolute(), files)
    return written


def _write(folder: Path, files: list[tuple[str, bytes]]) -> None:
    """Write them beside the folder first, so that a full disk leaves nothing that looks like a catalogue."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as beside:
        for name, content in files:
            path = Path(beside) / "catalogue" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (Path(beside) / "catalogue").rename(folder)
