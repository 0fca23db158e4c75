"""A catalogue as it was written: free of faults, not yet rendered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

QUESTION_KINDS = ("single", "multiple", "true_false", "ordering", "short_text", "numeric")


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a question of the kinds single and multiple; `text` is Markdown."""

    text: str
    correct: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question with its answer: which fields hold it depends on the kind. `text`, `explanation` and `items` are Markdown."""

    id: str
    kind: str
    points: int
    text: str
    explanation: str
    options: tuple[Option, ...] = ()  # single, multiple
    items: tuple[str, ...] = ()  # ordering: in the right order
    truth: bool | None = None  # true_false
    accepted: tuple[str, ...] = ()  # short_text
    number: int | float = 0  # numeric
    tolerance: int | float = 0
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class KeyConcept:
    """A term and what it means, both plain text."""

    term: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """A lesson; `source` is its whole file, `body` the Markdown behind the front matter."""

    slug: str
    title: str
    kind: str
    summary: str
    minutes: int
    xp: int
    key_concepts: tuple[KeyConcept, ...]
    questions: tuple[Question, ...]
    pass_score: int | None
    max_attempts: int | None
    time_limit_minutes: int | None
    body: str
    source: str


@dataclass(frozen=True, slots=True)
class Module:
    """A part of a course; `lessons` are slugs, in order."""

    id: str
    title: str
    lessons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a course, byte for byte."""

    name: str
    media_type: str
    content: bytes

    @property
    def digest(self) -> str:
        """Return 16 characters that stand for the bytes: 64 bits of their SHA-256."""
        return hashlib.sha256(self.content).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A course; `source` is its course.yaml, `description` Markdown."""

    slug: str
    title: str
    summary: str
    description: str
    difficulty: str
    locale: str
    position: int
    modules: tuple[Module, ...]
    lessons: dict[str, Lesson] = field(default_factory=dict)  # by slug
    images: dict[str, Image] = field(default_factory=dict)  # by name
    source: str

    def ordered(self) -> Iterator[tuple[Module, Lesson]]:
        """Yield the lessons in the order of the course, each with its module."""
        for module in self.modules:
            for slug in module.lessons:
                yield module, self.lessons[slug]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All courses, by their slugs in order."""

    courses: tuple[Course, ...]
