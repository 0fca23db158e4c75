"""`course.yaml`: the course, its modules, and the order of its lessons."""

from __future__ import annotations

import re
from dataclasses import dataclass

from codyverse.learning.content import text, yaml
from codyverse.learning.content.faults import File
from codyverse.learning.content.fields import Fields, is_slug
from codyverse.learning.content.model import Course, Image, Lesson, Module
from codyverse.learning.content.text import Found
from codyverse.learning.models import DIFFICULTIES

FILE_NAME = "course.yaml"
LONGEST_DESCRIPTION = 4000

_LOCALE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?")


@dataclass(slots=True)
class Parts:
    """What else lies in the course's folder; None where a file is there and cannot be read."""

    lessons: dict[str, Lesson | None]  # by slug
    images: dict[str, Image]  # by name


def read(source: str, slug: str, file: File, parts: Parts, found: Found) -> Course | None:
    """Return a course, None when its file cannot be read; notes faults in `file`, links and images in `found`."""
    root = yaml.read(source, file)
    if root is None:
        return None
    root.line = 1
    fields = Fields(root, file, FILE_NAME)
    description = fields.node("description")
    written = fields.text("description", LONGEST_DESCRIPTION, one_line=False) if description else ""
    if description:
        text.check(written, description.text_line, file, slug, found)
    course = Course(
        slug=slug,
        title=fields.text("title", 80),
        summary=fields.text("summary", 200),
        description=written,
        difficulty=fields.choice("difficulty", DIFFICULTIES),
        locale=_locale(fields),
        position=fields.integer("position", 0, 1_000_000) or 0,
        modules=_modules(fields, file, parts),
        lessons={slug: lesson for slug, lesson in parts.lessons.items() if lesson},
        images=parts.images,
        source=source,
    )
    fields.close()
    return course


def _locale(fields: Fields) -> str:
    locale = fields.text("locale", 35)
    if locale and not _LOCALE.fullmatch(locale):
        fields.file.fault(fields.line_of("locale"), "`locale` must be a language tag such as en, pt-BR or zh-Hant-TW")
    return locale


def _modules(fields: Fields, file: File, parts: Parts) -> tuple[Module, ...]:
    modules: list[Module] = []
    ids: dict[str, int] = {}
    lines: dict[str, int] = {}
    for node in fields.items("modules", 1, 50):
        inner = Fields(node, file, "the module")
        id = inner.slug("id")
        if id in ids:
            file.fault(inner.line_of("id"), f"the id `{id}` stands twice, first in line {ids[id]}")
        elif id:
            ids[id] = inner.line_of("id")
        title = inner.text("title", 80)
        lessons = []
        for lesson in inner.items("lessons", 1, 100):
            slug = inner.text_of(lesson, "a lesson in `lessons`", 80)
            if slug in lines:
                file.fault(lesson.line, f"the lesson `{slug}` stands twice, first in line {lines[slug]}")
            elif slug and slug not in parts.lessons:
                near = f"{slug[:64]}.md" if is_slug(slug) else "such a file"
                file.fault(lesson.line, f"the lesson `{slug[:64]}` is not there: no {near}")
            lines.setdefault(slug, lesson.line)
            lessons.append(slug)
        inner.close()
        modules.append(Module(id, title, tuple(lessons)))
    return tuple(modules)
