"""Questions of a quiz: how they are shown, what can be answered, what is right. Pure functions over the normal form.

A question in its normal form, as `lesson_versions.questions` keeps it:

    {"id", "kind", "points", "text_html", "explanation_html", …} and
    single, multiple   "options": [{"html", "correct"}]
    ordering           "items": [html, …]                     in the right order
    true_false         "answer": bool
    short_text         "accepted": [text, …]
    numeric            "answer": number, "tolerance": number, "unit": text or None

A layout is the order in which an attempt shows options or items: position in the attempt → index in the normal form. To the
learner they are "a", "b", "c" … by position, so that nothing about the right one can be learned from another attempt.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from codyverse.errors import InvalidInput

KINDS = ("single", "multiple", "true_false", "ordering", "short_text", "numeric")
LONGEST_TEXT = 200
LARGEST_NUMBER = 1e15  # beyond it a JSON number no longer holds every whole number

Question = Mapping[str, Any]
Layout = Sequence[int]


def layout(question: Question, chance: random.Random) -> list[int]:
    """Return a fresh order of the question's options; items to be ordered never stand in the right order."""
    order = list(range(len(_choices(question))))
    chance.shuffle(order)
    if question["kind"] == "ordering" and order == sorted(order):
        order = order[1:] + order[:1]
    return order


def shown(question: Question, order: Layout) -> dict[str, Any]:
    """Return what a learner sees before submitting: no answer, no explanation."""
    seen = {name: question[name] for name in ("id", "kind", "points", "text_html")}
    choices = _choices(question)
    if choices:
        seen["options"] = [{"id": _name(position), "html": choices[index]} for position, index in enumerate(order)]
    if question["kind"] == "numeric":
        seen["unit"] = question["unit"]
    return seen


def read_answer(question: Question, order: Layout, answer: Any) -> Any:
    """Return the answer as it is kept. Raises InvalidInput when it cannot be an answer of this question."""
    kind = question["kind"]
    names = [_name(position) for position in range(len(order))]
    if kind == "single":
        return answer if isinstance(answer, str) and answer in names else _refuse(f"Must be one of {', '.join(names)}.")
    if kind == "multiple":
        if _distinct_texts(answer) and answer and set(answer) <= set(names):
            return sorted(answer)
        return _refuse(f"Must be a list of one or more of {', '.join(names)}.")
    if kind == "ordering":
        if _distinct_texts(answer) and sorted(answer) == names:
            return answer
        return _refuse(f"Must be a list of {', '.join(names)} in an order.")
    if kind == "true_false":
        return answer if isinstance(answer, bool) else _refuse("Must be true or false.")
    if kind == "short_text":
        if isinstance(answer, str) and 0 < len(answer.strip()) <= LONGEST_TEXT:
            return answer.strip()
        return _refuse(f"Must be a text of 1 to {LONGEST_TEXT} characters.")
    is_number = isinstance(answer, int | float) and not isinstance(answer, bool)
    return answer if is_number and abs(answer) <= LARGEST_NUMBER else _refuse("Must be a number.")


def is_right(question: Question, order: Layout, answer: Any) -> bool:
    """Say whether a kept answer is right; None, not answered, is not."""
    if answer is None:
        return False
    if question["kind"] == "short_text":
        return _comparable(answer) in {_comparable(text) for text in question["accepted"]}
    if question["kind"] == "numeric":
        # In decimals, as they were written: 0.3 lies within 0.1 of 0.2, which binary fractions would deny.
        difference = abs(Decimal(str(answer)) - Decimal(str(question["answer"])))
        return difference <= Decimal(str(question["tolerance"]))
    return bool(answer == right_answer(question, order))


def right_answer(question: Question, order: Layout) -> Any:
    """Return the right answer in the form in which a learner would send it; of several accepted texts the first."""
    kind = question["kind"]
    if kind in ("single", "multiple"):
        right = sorted(_name(position) for position, index in enumerate(order) if question["options"][index]["correct"])
        return right[0] if kind == "single" else right
    if kind == "ordering":
        return [_name(position) for position in sorted(range(len(order)), key=lambda position: order[position])]
    if kind == "short_text":
        return question["accepted"][0]
    return question["answer"]


def _choices(question: Question) -> list[str]:
    if question["kind"] == "ordering":
        return list(question["items"])
    return [option["html"] for option in question.get("options", ())]


def _name(position: int) -> str:
    return "abcdefgh"[position]


def _distinct_texts(answer: Any) -> bool:
    return isinstance(answer, list) and all(isinstance(one, str) for one in answer) and len(set(answer)) == len(answer)


def _comparable(text: str) -> str:
    """Fold what does not make an answer wrong: case, compatible characters, white space, a full stop at the end."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).removesuffix(".").rstrip()


def _refuse(reason: str) -> Any:
    raise InvalidInput("This cannot be an answer of this question.", {"answer": [reason]})
