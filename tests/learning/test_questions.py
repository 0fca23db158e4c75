import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codyverse.errors import InvalidInput
from codyverse.learning import questions as q

BASE = {"points": 1, "text_html": "?", "explanation_html": "because"}
SINGLE = BASE | {
    "id": "s",
    "kind": "single",
    "options": [{"html": "right", "correct": True}, {"html": "wrong", "correct": False}, {"html": "off", "correct": False}],
}
MULTIPLE = BASE | {
    "id": "m",
    "kind": "multiple",
    "options": [{"html": "1", "correct": True}, {"html": "2", "correct": False}, {"html": "3", "correct": True}],
}
TRUE_FALSE = BASE | {"id": "t", "kind": "true_false", "answer": False}
ORDERING = BASE | {"id": "o", "kind": "ordering", "items": ["first", "second", "third", "fourth"]}
SHORT_TEXT = BASE | {"id": "x", "kind": "short_text", "accepted": ["Hallucination", "made up"]}
NUMERIC = BASE | {"id": "n", "kind": "numeric", "answer": 0.2, "tolerance": 0.1, "unit": None}
ALL = [SINGLE, MULTIPLE, TRUE_FALSE, ORDERING, SHORT_TEXT, NUMERIC]

seeds = st.integers(0, 2**32).map(random.Random)


@pytest.mark.parametrize("question", ALL, ids=lambda one: one["kind"])
@given(chance=seeds)
def test_the_right_answer_is_accepted_and_right_however_it_is_shuffled(question, chance):
    order = q.layout(question, chance)
    right = q.right_answer(question, order)
    assert q.is_right(question, order, q.read_answer(question, order, right))


@pytest.mark.parametrize("question", ALL, ids=lambda one: one["kind"])
def test_what_is_shown_holds_no_answer(question):
    seen = q.shown(question, q.layout(question, random.Random(1)))
    assert set(seen) <= {"id", "kind", "points", "text_html", "options", "unit"}
    assert all(set(option) == {"id", "html"} for option in seen.get("options", []))


def test_single_has_one_right_option():
    order = [2, 0, 1]
    assert q.shown(SINGLE, order)["options"] == [
        {"id": "a", "html": "off"},
        {"id": "b", "html": "right"},
        {"id": "c", "html": "wrong"},
    ]
    assert [q.is_right(SINGLE, order, name) for name in "abc"] == [False, True, False]


@pytest.mark.parametrize(
    ("given_answer", "right"), [(["a", "c"], True), (["c", "a"], True), (["a"], False), (["a", "b", "c"], False)]
)
def test_multiple_needs_all_and_nothing_else(given_answer, right):
    order = [0, 1, 2]
    assert q.is_right(MULTIPLE, order, q.read_answer(MULTIPLE, order, given_answer)) is right


@given(chance=seeds)
def test_ordering_is_never_shown_in_the_right_order(chance):
    order = q.layout(ORDERING, chance)
    assert sorted(order) == [0, 1, 2, 3]
    assert order != [0, 1, 2, 3]
    assert not q.is_right(ORDERING, order, ["a", "b", "c", "d"])


@pytest.mark.parametrize("text", ["hallucination", "  HALLUCINATION. ", "Made   up", "ｍａｄｅ up"])
def test_short_text_forgives_case_space_and_a_full_stop(text):
    assert q.is_right(SHORT_TEXT, [], q.read_answer(SHORT_TEXT, [], text))


def test_short_text_does_not_forgive_another_word():
    assert not q.is_right(SHORT_TEXT, [], "hallucinations")


@pytest.mark.parametrize(("number", "right"), [(0.3, True), (0.1, True), (0.2, True), (0.31, False), (0.0999, False), (1, False)])
def test_numeric_includes_the_ends_of_its_tolerance(number, right):
    assert q.is_right(NUMERIC, [], q.read_answer(NUMERIC, [], number)) is right


@pytest.mark.parametrize("question", ALL, ids=lambda one: one["kind"])
def test_no_answer_is_wrong(question):
    assert not q.is_right(question, q.layout(question, random.Random(1)), None)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (SINGLE, "d"),
        (SINGLE, ["a"]),
        (SINGLE, None),
        (SINGLE, ""),
        (MULTIPLE, []),
        (MULTIPLE, ["a", "a"]),
        (MULTIPLE, ["z"]),
        (MULTIPLE, [1]),
        (MULTIPLE, "a"),
        (ORDERING, ["a", "b", "c"]),
        (ORDERING, ["a", "b", "c", "c"]),
        (ORDERING, [["a"], "b", "c", "d"]),
        (TRUE_FALSE, "true"),
        (TRUE_FALSE, 1),
        (SHORT_TEXT, "   "),
        (SHORT_TEXT, "x" * 201),
        (SHORT_TEXT, 5),
        (NUMERIC, True),
        (NUMERIC, "5"),
        (NUMERIC, 1e300),
        (NUMERIC, float("inf")),
    ],
)
def test_what_cannot_be_an_answer_is_refused(question, answer):
    with pytest.raises(InvalidInput) as refused:
        q.read_answer(question, q.layout(question, random.Random(1)), answer)
    assert "answer" in refused.value.errors
