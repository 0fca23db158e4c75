import random
from collections import Counter
from functools import partial

import pytest
import sqlalchemy as sa

from codyverse.learning import questions as q
from codyverse.learning.models import answers, attempts, lesson_versions
from tests.parallel import in_parallel

HIDDEN = ("correct", "right_answer", "explanation", "accepted", "tolerance", "points_awarded")


def start(learner, lesson_id):
    begun = learner.client.post(f"/api/v1/lessons/{lesson_id}/attempts")
    assert begun.status_code == 201, begun.json
    return begun.json


def right_answers(database, attempt):
    """Return the right answer of every question, from the database, as the browser cannot."""
    with database.read() as reader:
        row = reader.execute(
            sa.select(attempts.c.layout, lesson_versions.c.questions)
            .join(
                lesson_versions,
                sa.and_(lesson_versions.c.lesson_id == attempts.c.lesson_id, lesson_versions.c.number == attempts.c.version),
            )
            .where(attempts.c.id == attempt["id"])
        ).one()
    return {one["id"]: q.right_answer(one, row.layout[one["id"]]) for one in row.questions}


def answer(learner, attempt, question_id, value):
    return learner.client.put(f"/api/v1/attempts/{attempt['id']}/answers/{question_id}", json={"answer": value})


def submit(learner, attempt, **headers):
    return learner.client.post(f"/api/v1/attempts/{attempt['id']}/submission", headers=headers)


def pass_quiz(learner, lesson_id, database, wrong=0):
    """Take the quiz with all answers right but the first few, which are left out; returns the result."""
    attempt = start(learner, lesson_id)
    for question_id, right in list(right_answers(database, attempt).items())[wrong:]:
        assert answer(learner, attempt, question_id, right).status_code == 200
    result = submit(learner, attempt)
    assert result.status_code == 201
    return result.json


@pytest.fixture
def quiz(catalogue) -> int:
    return catalogue.lesson("machines/machines-quiz")


@pytest.fixture
def unlimited(catalogue) -> int:
    return catalogue.lesson("machines/open-quiz")


def test_it_works(learner, quiz, database, rows):
    attempt = start(learner, quiz)
    assert attempt["status"] == "open"
    assert attempt["number"] == 1
    assert attempt["attempts_left"] == 2
    assert attempt["expires_at"] == "2026-11-24T12:10:00Z"
    assert {one["kind"] for one in attempt["questions"]} == set(q.KINDS)
    for question_id, right in right_answers(database, attempt).items():
        kept = answer(learner, attempt, question_id, right)
        assert kept.status_code == 200
        assert kept.json == {"question_id": question_id, "answer": kept.json["answer"], "answered_at": "2026-11-24T12:00:00Z"}
    result = submit(learner, attempt)
    assert result.status_code == 201
    assert result.json["score"] == 100
    assert result.json["passed"] is True
    assert all(one["correct"] and one["explanation_html"] for one in result.json["questions"])
    assert result.json == learner.client.get(result.headers["Location"]).json
    row = rows(attempts)[0]
    assert (row["points"], row["points_possible"], row["passed"]) == (result.json["points"],) * 2 + (True,)


def test_location_leads_to_the_attempt(learner, quiz):
    begun = learner.client.post(f"/api/v1/lessons/{quiz}/attempts")
    assert learner.client.get(begun.headers["Location"]).json == begun.json


def test_no_answer_is_told_before_submission(learner, quiz, client):
    attempt = start(learner, quiz)
    told = [
        learner.client.get(f"/api/v1/attempts/{attempt['id']}").get_data(as_text=True),
        client.get(f"/api/v1/lessons/{quiz}").get_data(as_text=True),
        client.get(f"/lessons/{quiz}").get_data(as_text=True),
        client.get("/api/v1/courses/machines").get_data(as_text=True),
        client.get("/api/v1/courses/machines/lessons").get_data(as_text=True),
    ]
    for text in told:
        assert not [word for word in HIDDEN if f'"{word}' in text]
    assert "score" not in attempt and "passed" not in attempt


def test_options_are_shuffled_for_each_attempt(learner, unlimited, monkeypatch):
    monkeypatch.setattr("codyverse.learning.service.attempts._chance", random.Random(3))
    seen = Counter()
    for _ in range(12):
        attempt = start(learner, unlimited)
        single = next(one for one in attempt["questions"] if one["kind"] == "single")
        assert [option["id"] for option in single["options"]] == list("abcdefgh")[: len(single["options"])]
        seen[tuple(option["html"] for option in single["options"])] += 1
    assert len(seen) > 1


def test_an_answer_can_be_changed_until_submission(learner, quiz, database, rows):
    attempt = start(learner, quiz)
    right = right_answers(database, attempt)
    question = next(one for one in attempt["questions"] if one["kind"] == "true_false")
    answer(learner, attempt, question["id"], not right[question["id"]])
    answer(learner, attempt, question["id"], right[question["id"]])
    assert len(rows(answers)) == 1
    result = submit(learner, attempt).json
    assert next(one for one in result["questions"] if one["id"] == question["id"])["correct"] is True
    late = answer(learner, attempt, question["id"], not right[question["id"]])
    assert late.status_code == 409
    assert late.json["type"] == "urn:codyverse:problem:attempt-closed"
    assert rows(answers)[0]["answer"] == right[question["id"]]


def test_submitting_again_answers_the_same(learner, quiz, clock, rows):
    attempt = start(learner, quiz)
    first = submit(learner, attempt)
    clock.advance(minutes=1)
    again = submit(learner, attempt)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json == first.json
    assert first.json["score"] == 0 and first.json["passed"] is False


def test_submitting_again_under_the_key_answers_201_again(learner, quiz):
    attempt = start(learner, quiz)
    first = submit(learner, attempt, **{"Idempotency-Key": "s"})
    again = submit(learner, attempt, **{"Idempotency-Key": "s"})
    assert (again.status_code, again.data) == (201, first.data)


def test_the_server_keeps_the_time(learner, quiz, database, clock):
    attempt = start(learner, quiz)
    right = list(right_answers(database, attempt).items())
    clock.advance(minutes=10)  # the last moment still counts
    assert answer(learner, attempt, *right[0]).status_code == 200
    clock.advance(seconds=1)
    late = answer(learner, attempt, *right[1])
    assert late.status_code == 409
    assert late.json["type"] == "urn:codyverse:problem:attempt-expired"
    assert learner.client.get(f"/api/v1/attempts/{attempt['id']}").json["status"] == "expired"
    result = submit(learner, attempt)
    assert result.status_code == 201
    assert [one["correct"] for one in result.json["questions"]].count(True) == 1


def test_the_maximum_of_attempts_holds(learner, quiz, rows):
    for _ in range(3):
        start(learner, quiz)
    refused = learner.client.post(f"/api/v1/lessons/{quiz}/attempts")
    assert refused.status_code == 409
    assert refused.json["type"] == "urn:codyverse:problem:attempts-exhausted"
    assert sorted(row["number"] for row in rows(attempts)) == [1, 2, 3]


def test_50_parallel_starts_begin_exactly_as_many_as_are_allowed(learner, quiz, rows):
    begun = in_parallel(50, lambda: learner.again().client.post(f"/api/v1/lessons/{quiz}/attempts"))
    assert Counter(one.status_code for one in begun) == {201: 3, 409: 47}
    assert sorted(row["number"] for row in rows(attempts)) == [1, 2, 3]


def test_parallel_starts_without_a_maximum_all_begin(learner, unlimited, rows):
    begun = in_parallel(12, lambda: learner.again().client.post(f"/api/v1/lessons/{unlimited}/attempts"))
    assert {one.status_code for one in begun} == {201}
    assert sorted(row["number"] for row in rows(attempts)) == list(range(1, 13))


def test_one_key_starts_one_attempt(learner, quiz, rows):
    headers = {"Idempotency-Key": "tab"}
    begun = [learner.client.post(f"/api/v1/lessons/{quiz}/attempts", headers=headers) for _ in range(2)]
    assert begun[0].data == begun[1].data
    assert len(rows(attempts)) == 1


def test_an_answer_beside_a_submission_counts_or_is_refused(learner, unlimited, database):
    """Two tabs: whatever was acknowledged with 200 is in the score, and nothing else is."""
    for _ in range(10):
        attempt = start(learner, unlimited)
        question_id, right = next(iter(right_answers(database, attempt).items()))
        calls = [
            partial(answer, learner.again(), attempt, question_id, right),
            partial(submit, learner.again(), attempt),
        ]
        answered, submitted = sorted(in_parallel(2, lambda calls=calls: calls.pop()()), key=lambda one: one.request.path)
        assert answered.status_code in (200, 409)
        assert submitted.json["questions"][0]["correct"] is (answered.status_code == 200)


def test_another_learners_attempt_does_not_exist(learner, make_learner, quiz, rows):
    attempt = start(learner, quiz)
    other = make_learner()
    question_id = attempt["questions"][0]["id"]
    assert other.client.get(f"/api/v1/attempts/{attempt['id']}").status_code == 404
    assert answer(other, attempt, question_id, "a").status_code == 404
    assert submit(other, attempt).status_code == 404
    assert rows(answers) == []
    assert rows(attempts)[0]["submitted_at"] is None


def test_a_lesson_without_questions_has_no_attempts(learner, catalogue, rows):
    refused = learner.client.post(f"/api/v1/lessons/{catalogue.lesson('machines/what-is-a-guess')}/attempts")
    assert refused.status_code == 409
    assert refused.json["type"] == "urn:codyverse:problem:not-a-quiz"
    assert rows(attempts) == []


@pytest.mark.parametrize("body", [{}, {"answer": {"a": 1}}, {"answer": None}, {"answer": "a", "extra": 1}, {"answer": [["a"]]}])
def test_what_is_no_answer_names_the_field_and_writes_nothing(learner, quiz, rows, body):
    attempt = start(learner, quiz)
    single = next(one for one in attempt["questions"] if one["kind"] == "single")
    refused = learner.client.put(f"/api/v1/attempts/{attempt['id']}/answers/{single['id']}", json=body)
    assert refused.status_code == 422
    assert set(refused.json["errors"]) & {"answer", "extra"}
    assert rows(answers) == []


def test_an_unknown_question_is_404(learner, quiz):
    attempt = start(learner, quiz)
    for question_id in ("nothing", "%00", "x" * 500, "%ff"):
        assert answer(learner, attempt, question_id, "a").status_code == 404


@pytest.mark.parametrize(("pass_score", "passed"), [(57, True), (58, False)])
def test_the_pass_mark_itself_passes(learner, quiz, database, pass_score, passed):
    """4 of 7 points are 57.14 per cent."""
    with database.transaction() as tx:
        tx.execute(lesson_versions.update().values(pass_score=pass_score))
    assert four_of_seven(learner, quiz, database)["passed"] is passed


def test_exactly_the_pass_mark_passes(learner, quiz, database):
    with database.transaction() as tx:
        tx.execute(lesson_versions.update().values(pass_score=100))
    result = pass_quiz(learner, quiz, database)
    assert (result["score"], result["passed"]) == (100, True)


def four_of_seven(learner, quiz, database):
    attempt = start(learner, quiz)
    right = right_answers(database, attempt)
    for question_id in ("narrow", "always-right", "steps", "name-it"):
        answer(learner, attempt, question_id, right[question_id])
    result = submit(learner, attempt).json
    assert (result["points"], result["points_possible"]) == (4, 7)
    return result


def test_attempts_left_follow_the_present_maximum(learner, quiz, database):
    attempt = start(learner, quiz)
    with database.transaction() as tx:
        tx.execute(lesson_versions.update().values(max_attempts=10))
    assert learner.client.get(f"/api/v1/attempts/{attempt['id']}").json["attempts_left"] == 9
