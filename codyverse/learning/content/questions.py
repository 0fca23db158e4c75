"""The questions of a quiz."""

from __future__ import annotations

from codyverse.learning.content import text
from codyverse.learning.content.faults import File
from codyverse.learning.content.fields import LARGEST_NUMBER, Fields
from codyverse.learning.content.model import QUESTION_KINDS, Option, Question
from codyverse.learning.content.text import Found
from codyverse.learning.content.yaml import Node

LONGEST_TEXT = 1000
LONGEST_OPTION = 300
LONGEST_ACCEPTED = 100
LONGEST_UNIT = 30


class Reader:
    """Reads the questions of one lesson."""

    def __init__(self, file: File, course: str, found: Found) -> None:
        self._file = file
        self._course = course
        self._found = found
        self._lines: dict[str, int] = {}

    def read(self, node: Node) -> Question:
        """Return one question."""
        fields = Fields(node, self._file, "the question")
        id = fields.slug("id")
        if id in self._lines:
            self._file.fault(fields.line_of("id"), f"the id `{id}` stands twice, first in line {self._lines[id]}")
        elif id:
            self._lines[id] = fields.line_of("id")
        kind = fields.choice("kind", QUESTION_KINDS)
        question = Question(
            id=id,
            kind=kind,
            points=fields.integer("points", 1, 10, default=1, required=False) or 1,
            text=self._markdown(fields.node("text"), "`text`", LONGEST_TEXT, fields),
            explanation=self._markdown(fields.node("explanation"), "`explanation`", LONGEST_TEXT, fields),
            options=self._options(fields, kind) if kind in ("single", "multiple") else (),
            items=self._items(fields) if kind == "ordering" else (),
            truth=fields.boolean("answer") if kind == "true_false" else None,
            accepted=self._accepted(fields) if kind == "short_text" else (),
            number=fields.number("answer", -LARGEST_NUMBER) if kind == "numeric" else 0,
            tolerance=fields.number("tolerance", 0, required=False) if kind == "numeric" else 0,
            unit=fields.text("unit", LONGEST_UNIT, required=False) or None if kind == "numeric" else None,
        )
        if kind:  # which keys a question may have is known by its kind only
            fields.close()
        return question

    def _markdown(self, node: Node | None, name: str, longest: int, fields: Fields) -> str:
        if node is None:
            return ""
        written = fields.text_of(node, name, longest, one_line=False)
        text.check_inline(node, written, name, self._file, self._course, self._found)
        return written.strip()

    def _options(self, fields: Fields, kind: str) -> tuple[Option, ...]:
        options: list[Option] = []
        seen: set[str] = set()
        for node in fields.items("options", 2, 8):
            inner = Fields(node, self._file, "the option")
            written = self._markdown(inner.node("text"), "`text`", LONGEST_OPTION, inner)
            self._distinct(written, node, seen)
            options.append(Option(written, inner.boolean("correct", required=False) is True))
            inner.close()
        right = sum(option.correct for option in options)
        if options and right == 0:
            self._file.fault(fields.line_of("options"), "no option is `correct: true`")
        elif kind == "single" and right > 1:
            self._file.fault(
                fields.line_of("options"),
                f"{right} options are `correct: true`, a question of kind `single` has one; or make it `multiple`",
            )
        return tuple(options)

    def _items(self, fields: Fields) -> tuple[str, ...]:
        items: list[str] = []
        seen: set[str] = set()
        for node in fields.items("items", 3, 8):
            items.append(self._markdown(node, "an item", LONGEST_OPTION, fields))
            self._distinct(items[-1], node, seen)
        return tuple(items)

    def _accepted(self, fields: Fields) -> tuple[str, ...]:
        accepted: list[str] = []
        seen: set[str] = set()
        for node in fields.items("accepted", 1, 30):
            answer = fields.text_of(node, "an accepted answer", LONGEST_ACCEPTED)
            # Answers are compared without regard to these, so a second spelling of that kind is a mistake.
            self._distinct(answer.rstrip(".").strip(), node, seen)
            if answer and not answer.rstrip(".").strip():
                self._file.fault(node.line, "an accepted answer needs more than a full stop")
            accepted.append(answer)
        return tuple(accepted)

    def _distinct(self, written: str, node: Node, seen: set[str]) -> None:
        compared = " ".join(written.split()).casefold()
        if compared and compared in seen:
            self._file.fault(node.line, f"`{written[:60]}` stands twice")
        seen.add(compared)
