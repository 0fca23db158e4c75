"""One lesson: front matter, text, and what its kind must have."""

from __future__ import annotations

import re
from collections.abc import Mapping

from codyverse.learning.content import questions, text, yaml
from codyverse.learning.content.faults import File
from codyverse.learning.content.fields import Fields
from codyverse.learning.content.model import KeyConcept, Lesson, Question
from codyverse.learning.content.text import Found
from codyverse.learning.models import LESSON_KINDS

THEORY_WORDS = 500
QUIZ_WORDS = 150
LEAST_QUESTIONS = 6
MOST_QUESTIONS = 50
PASS_SCORE = 70
LONGEST_TERM = 80
LONGEST_MEANING = 400

_FRONT_MATTER = re.compile(r"---\n(.*?)^---[ ]*(?:\n|\Z)", re.S | re.M)

# Block, how many, and what the author learns about it.
_BLOCKS: Mapping[str, tuple[str, int]] = {"theory": ("example", 1), "interactive": ("reveal", 2), "lab": ("task", 1)}
_LEAST_CONCEPTS: Mapping[str, int] = {"theory": 2, "interactive": 2}


def read(source: str, slug: str, file: File, course: str, found: Found) -> Lesson | None:
    """Return a lesson, None when its front matter cannot be read; notes faults in `file`, links and images in `found`."""
    match = _FRONT_MATTER.match(source)
    if not match:
        file.fault(1, "the file must begin with front matter: a line `---`, keys and values, a line `---`")
        return None
    root = yaml.read(match[1], file, first_line=2)
    if root is None:
        return None
    root.line = 1
    fields = Fields(root, file, "the front matter")
    body = source[match.end() :]
    body_line = source.count("\n", 0, match.end()) + 1
    text.check(body, body_line, file, course, found)
    words = found.words  # those of questions are not counted
    kind = fields.choice("kind", LESSON_KINDS)
    quiz = kind == "quiz"
    lesson = Lesson(
        slug=slug,
        title=fields.text("title", 80),
        kind=kind,
        summary=fields.text("summary", 200),
        minutes=fields.integer("minutes", 1, 120) or 1,
        xp=fields.integer("xp", 5, 200) or 5,
        key_concepts=_key_concepts(fields, file, _LEAST_CONCEPTS.get(kind, 0)),
        pass_score=fields.integer("pass_score", 1, 100, default=PASS_SCORE, required=False) if quiz else None,
        max_attempts=fields.integer("max_attempts", 1, 100, required=False) if quiz else None,
        time_limit_minutes=fields.integer("time_limit_minutes", 1, 240, required=False) if quiz else None,
        questions=_questions(fields, file, course, found) if quiz else (),
        body=body,
        source=source,
    )
    _only_in_quizzes(fields, file, kind)
    fields.close()
    _check_kind(kind, words, found, file, body_line)
    return lesson


def _key_concepts(fields: Fields, file: File, least: int) -> tuple[KeyConcept, ...]:
    concepts: dict[str, KeyConcept] = {}
    for node in fields.items("key_concepts", max(least, 1), 12, required=least > 0):
        inner = Fields(node, file, "the key concept")
        concept = KeyConcept(inner.text("term", LONGEST_TERM), inner.text("meaning", LONGEST_MEANING))
        inner.close()
        if concept.term and concept.term.casefold() in concepts:
            file.fault(node.line, f"the key concept `{concept.term}` stands twice")
        concepts[concept.term.casefold()] = concept
    return tuple(concepts.values())


def _questions(fields: Fields, file: File, course: str, found: Found) -> tuple[Question, ...]:
    reader = questions.Reader(file, course, found)
    return tuple([reader.read(node) for node in fields.items("questions", LEAST_QUESTIONS, MOST_QUESTIONS)])


def _only_in_quizzes(fields: Fields, file: File, kind: str) -> None:
    for key in ("pass_score", "max_attempts", "time_limit_minutes", "questions"):
        node = fields.node(key, required=False)
        if node and kind not in ("quiz", ""):
            file.fault(node.line, f"`{key}` belongs to a quiz, and this is a lesson of kind {kind}")


def _check_kind(kind: str, words: int, found: Found, file: File, body_line: int) -> None:
    if kind == "theory" and words < THEORY_WORDS:
        file.fault(body_line, f"the text has {words} words; a theory lesson has {THEORY_WORDS} or more")
    if kind == "quiz" and words > QUIZ_WORDS:
        file.fault(body_line, f"the text has {words} words; a quiz has an introduction of {QUIZ_WORDS} at the most")
    if kind in _BLOCKS:
        block, least = _BLOCKS[kind]
        if found.blocks[block] < least:
            has = found.blocks[block] or "no"
            file.fault(body_line, f"a lesson of kind {kind} has {least} `::: {block}` or more; this one has {has}")
