"""The catalogue's folder: which files may lie where, what they refer to in each other, and all faults at once."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from codyverse.learning.content import courses, images, lessons
from codyverse.learning.content.faults import Fault, File
from codyverse.learning.content.fields import LONGEST_SLUG, is_slug
from codyverse.learning.content.model import Catalogue, Course, Image
from codyverse.learning.content.text import Found

MAX_TEXT_BYTES = 256 * 1024
LONGEST_IMAGE_NAME = 80

# Line separators of other systems would shift every line number, the rest has no business in a text.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_SLUG_RULE = f"lower case letters, digits and single hyphens, at most {LONGEST_SLUG}"


class Faulty(Exception):
    """A catalogue has faults, in the order of files and lines."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults


def read(folder: Path) -> Catalogue:
    """Return the catalogue in a folder; raises Faulty."""
    catalogue, faults = _read(folder)
    if faults:
        raise Faulty(faults)
    return catalogue


def lint(folder: Path) -> list[Fault]:
    """Return every fault of the catalogue in a folder, in the order of files and lines."""
    return _read(folder)[1]


@dataclass(slots=True)
class _Shelf:
    """What has been read so far: what files hold and refer to is checked when all of it is known."""

    faults: list[Fault] = field(default_factory=list)
    courses: dict[str, Course] = field(default_factory=dict)
    lessons: dict[tuple[str, str], Found | None] = field(default_factory=dict)  # None: is there and cannot be read
    texts: list[tuple[File, str, Found]] = field(default_factory=list)  # with the course each belongs to

    def file(self, *parts: str) -> File:
        # A name that is not UTF-8 must not keep the fault about it from being printed.
        return File(os.fsencode("/".join(parts)).decode("utf-8", "backslashreplace"), self.faults)


def _read(folder: Path) -> tuple[Catalogue, list[Fault]]:
    shelf = _Shelf()
    for entry in _entries(folder, shelf.file(".")):
        if not entry.is_dir():
            shelf.file(entry.name).fault(1, "only folders of courses may lie here")
        elif not is_slug(entry.name):
            shelf.file(entry.name).fault(1, f"the folder's name must be a slug: {_SLUG_RULE}")
        else:
            _course(entry, shelf)
    if not shelf.courses and not shelf.faults:
        # An import of nothing would retire everything, which is hardly what somebody means who mistypes a folder.
        shelf.file(".").fault(1, "there is no course in this folder")
    for file, course, found in shelf.texts:
        _check_references(file, course, found, shelf)
    for slug, course_read in shelf.courses.items():
        _check_use(slug, course_read, shelf)
    in_order = sorted(shelf.courses.values(), key=lambda course: (course.position, course.slug))
    return Catalogue(tuple(in_order)), sorted(set(shelf.faults))


def _entries(folder: Path, file: File) -> list[Path]:
    """Return what lies in a folder, by name; hidden files are nobody's business."""
    try:
        return sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        file.fault(1, f"cannot be read: {error.strerror}")
        return []


def _course(folder: Path, shelf: _Shelf) -> None:
    slug = folder.name
    parts = courses.Parts({}, {})
    source = None
    for entry in _entries(folder, shelf.file(slug)):
        file = shelf.file(slug, entry.name)
        if entry.name == courses.FILE_NAME:
            source = _text(entry, file)
        elif entry.name == "images" and entry.is_dir():
            _images(entry, slug, parts, shelf)
        elif entry.suffix != ".md":
            file.fault(1, f"only {courses.FILE_NAME}, lessons (*.md) and the folder images may lie here")
        elif not is_slug(entry.stem):
            file.fault(1, f"a lesson's name must be a slug: {_SLUG_RULE}")
        else:
            _lesson(entry, file, slug, parts, shelf)
    if not (folder / courses.FILE_NAME).exists():
        shelf.file(slug).fault(1, f"there is no {courses.FILE_NAME}")
    if source is None:
        return
    found = Found()
    file = shelf.file(slug, courses.FILE_NAME)
    course = courses.read(source, slug, file, parts, found)
    shelf.texts.append((file, slug, found))
    if course is not None:
        shelf.courses[slug] = course


def _lesson(path: Path, file: File, course: str, parts: courses.Parts, shelf: _Shelf) -> None:
    parts.lessons[path.stem] = None
    shelf.lessons[course, path.stem] = None
    source = _text(path, file)
    if source is None:
        return
    found = Found()
    lesson = lessons.read(source, path.stem, file, course, found)
    shelf.texts.append((file, course, found))
    if lesson is not None:
        parts.lessons[path.stem] = lesson
        shelf.lessons[course, path.stem] = found


def _images(folder: Path, course: str, parts: courses.Parts, shelf: _Shelf) -> None:
    for entry in _entries(folder, shelf.file(course, "images")):
        file = shelf.file(course, "images", entry.name)
        suffix = entry.suffix.removeprefix(".")
        if suffix not in images.MEDIA_TYPES:
            file.fault(1, f"an image's name must end in {', '.join('.' + known for known in images.MEDIA_TYPES)}")
        elif not is_slug(entry.stem) or len(entry.name) > LONGEST_IMAGE_NAME:
            file.fault(1, f"an image's name must be a slug and its type: {_SLUG_RULE}")
        else:
            content = _bytes(entry, images.MAX_BYTES, file)
            if content is not None:
                images.check(content, suffix, file)
                parts.images[entry.name] = Image(entry.name, images.MEDIA_TYPES[suffix], content)


def _bytes(path: Path, limit: int, file: File) -> bytes | None:
    """Return a file's content, None after a fault."""
    try:
        if not path.is_file():  # a pipe would keep us waiting for ever
            file.fault(1, "not a file")
            return None
        if path.stat().st_size > limit:
            file.fault(1, f"the file has {path.stat().st_size} bytes, {limit} are allowed")
            return None
        return path.read_bytes()
    except OSError as error:
        file.fault(1, f"cannot be read: {error.strerror}")
        return None


def _text(path: Path, file: File) -> str | None:
    """Return a file's text, None after a fault."""
    content = _bytes(path, MAX_TEXT_BYTES, file)
    if content is None:
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        file.fault(content.count(b"\n", 0, error.start) + 1, "the file is not UTF-8")
        return None
    match = _CONTROL.search(text)
    if match:
        line = text.count("\n", 0, match.start()) + 1
        if match[0] == "\r":
            file.fault(line, "lines must end in LF alone, not in CR LF")
        else:
            file.fault(line, f"the character U+{ord(match[0]):04X} is not allowed")
        return None
    return text


def _check_references(file: File, course: str, found: Found, shelf: _Shelf) -> None:
    """Note the links and images of one file that lead nowhere."""
    for line, link in found.lesson_links:
        if (link.course, link.lesson) not in shelf.lessons:
            file.fault(line, f"dead link: there is no lesson {link.course}/{link.lesson}.md")
            continue
        target = shelf.lessons[link.course, link.lesson]
        if target and link.anchor and unquote(link.anchor) not in target.anchors:
            file.fault(line, f"dead link: {link.course}/{link.lesson}.md has no heading `#{link.anchor}`")
    for line, name in found.anchor_links:
        if name not in found.anchors:
            file.fault(line, f"dead link: there is no heading `#{name}` in this text")
    for line, name in found.images:
        if course in shelf.courses and name not in shelf.courses[course].images:
            file.fault(line, f"the image images/{name} is not there")


def _check_use(slug: str, course: Course, shelf: _Shelf) -> None:
    """Note the lessons that stand in no module and the images that nobody shows."""
    placed = {lesson for module in course.modules for lesson in module.lessons}
    for lesson in course.lessons:
        if lesson not in placed:
            shelf.file(slug, f"{lesson}.md").fault(1, f"the lesson stands in no module of {courses.FILE_NAME}")
    if any(found is None for (of, _), found in shelf.lessons.items() if of == slug):
        return  # a lesson that cannot be read may show any image
    shown = {name for _, of, found in shelf.texts if of == slug for _, name in found.images}
    for name in course.images:
        if name not in shown:
            shelf.file(slug, "images", name).fault(1, "no text of the course shows this image")
