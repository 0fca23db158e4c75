import shutil
from collections import Counter
from pathlib import Path

import pytest

from codyverse.learning import content
from codyverse.learning.models import completions, enrolments
from codyverse.learning.service.catalogue import import_catalogue
from codyverse.rewards.models import ledger_entries, wallets
from codyverse.rewards.rules import reward_for_quiz
from tests.learning.test_attempts import answer as answer_question
from tests.learning.test_attempts import pass_quiz, right_answers, start, submit
from tests.parallel import in_parallel


def path(lesson_id: int) -> str:
    return f"/api/v1/lessons/{lesson_id}/completions"


@pytest.fixture
def theory(catalogue) -> int:
    return catalogue.lesson("machines/what-is-a-guess")


@pytest.fixture
def quiz(catalogue) -> int:
    return catalogue.lesson("machines/machines-quiz")


def test_it_works(learner, theory, rows, client):
    xp = client.get(f"/api/v1/lessons/{theory}").json["xp"]
    first = learner.client.post(path(theory), json={"time_spent_seconds": 90})
    assert first.status_code == 201
    assert learner.client.get(first.headers["Location"]).json["lessons_completed"] == 1
    assert first.json == {
        "course_slug": "machines",
        "lesson_id": theory,
        "completed_at": "2026-11-24T12:00:00Z",
        "time_spent_seconds": 90,
        "xp_awarded": xp,
        "coins_awarded": xp // 5,
        "xp": xp,
        "coins": xp // 5,
        "level": 1,
        "level_up": False,
        "next_level_at_xp": 100,
    }
    assert [(row["user_id"], row["xp"], row["coins"]) for row in rows(wallets)] == [(learner.id, xp, xp // 5)]
    entries = {(row["currency"], row["amount"], row["balance_after"], row["source"]) for row in rows(ledger_entries)}
    source = f"completion:{rows(completions)[0]['id']}"
    assert entries == {("xp", xp, xp, source), ("coins", xp // 5, xp // 5, source)}
    assert len(rows(enrolments)) == 1


def test_the_second_time_answers_200_with_the_first_body_and_rewards_nothing(learner, theory, catalogue, rows, clock):
    first = learner.client.post(path(theory), json={"time_spent_seconds": 90})
    clock.advance(hours=1)
    learner.client.post(path(catalogue.lesson("machines/sort-by-hand")), json={})
    again = learner.client.post(path(theory), json={"time_spent_seconds": 5})
    assert (again.status_code, again.json) == (200, first.json)
    assert len(rows(ledger_entries)) == 4


def test_the_body_may_be_left_out(learner, theory):
    assert learner.client.post(path(theory)).json["time_spent_seconds"] is None


def test_the_same_key_gives_the_same_answer_and_status(learner, theory, rows):
    headers = {"Idempotency-Key": "one"}
    first = learner.client.post(path(theory), json={}, headers=headers)
    again = learner.client.post(path(theory), json={}, headers=headers)
    assert (again.status_code, again.data) == (201, first.data)
    other = learner.client.post(path(theory), json={"time_spent_seconds": 1}, headers=headers)
    assert other.status_code == 422
    assert other.json["type"] == "urn:codyverse:problem:idempotency-mismatch"
    assert len(rows(completions)) == 1


def test_50_parallel_completions_reward_once(app, learner, theory, rows, engine_name):
    answers = in_parallel(50, lambda: learner.again().client.post(path(theory), json={}))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 49}
    assert len({answer.data for answer in answers}) == 1
    assert len(rows(completions)) == 1
    assert len(rows(ledger_entries)) == 2


def test_a_quiz_needs_a_passed_attempt(learner, quiz, rows):
    refused = learner.client.post(path(quiz), json={})
    assert refused.status_code == 409
    assert refused.json["type"] == "urn:codyverse:problem:quiz-not-passed"
    assert rows(completions) == []
    assert rows(ledger_entries) == []


def test_a_quiz_rewards_by_its_score(learner, quiz, rows, database, client):
    result = pass_quiz(learner, quiz, database, wrong=1)
    answer = learner.client.post(path(quiz), json={})
    assert answer.status_code == 201
    xp = client.get(f"/api/v1/lessons/{quiz}").json["xp"]
    reward = reward_for_quiz(xp, result["points"], result["points_possible"])
    assert (answer.json["xp_awarded"], answer.json["coins_awarded"]) == reward
    assert reward.xp > xp
    assert rows(completions)[0]["attempt_id"] == result["id"]


def test_the_best_passed_attempt_counts(learner, quiz, database, rows):
    best = pass_quiz(learner, quiz, database, wrong=0)
    pass_quiz(learner, quiz, database, wrong=1)
    learner.client.post(path(quiz), json={})
    assert rows(completions)[0]["attempt_id"] == best["id"]


def edited(tmp_path, *edits):
    """The tests' catalogue with texts replaced in its course `machines`; None removes the lesson's file."""
    folder = tmp_path / "edited"
    shutil.copytree(Path(__file__).parents[1] / "content", folder)
    for slug, old, new in edits:
        file = folder / "machines" / f"{slug}.md"
        if new is None:
            file.unlink()
            course = folder / "machines" / "course.yaml"
            course.write_text(course.read_text().replace(f", {slug}", "").replace(f"{slug}, ", ""))
        else:
            assert old in file.read_text()
            file.write_text(file.read_text().replace(old, new, 1))
    return content.read(folder)


def test_a_quiz_counts_by_the_version_that_was_passed(learner, quiz, database, tmp_path, rows):
    pass_quiz(learner, quiz, database)
    import_catalogue(database, edited(tmp_path, ("machines-quiz", "xp: 40", "xp: 200")))
    answer = learner.client.post(path(quiz), json={})
    assert answer.json["xp_awarded"] == 60
    assert rows(completions)[0]["version"] == 1


def test_a_quiz_passed_while_it_was_retired_is_still_rewarded(learner, catalogue, database, tmp_path, rows):
    quiz = catalogue.lesson("machines/open-quiz")
    attempt = start(learner, quiz)
    right = right_answers(database, attempt)
    import_catalogue(database, edited(tmp_path, ("open-quiz", "", None)))
    for question_id, value in right.items():
        assert answer_question(learner, attempt, question_id, value).status_code == 200
    assert submit(learner, attempt).json["passed"] is True
    first = learner.client.post(path(quiz), json={})
    again = learner.client.post(path(quiz), json={})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json["xp_awarded"] == 38
    assert again.json == first.json


def test_a_completion_answers_the_same_after_its_lesson_was_retired(learner, catalogue, database, tmp_path):
    lesson = catalogue.lesson("machines/next-word")
    first = learner.client.post(path(lesson), json={})
    import_catalogue(database, edited(tmp_path, ("next-word", "", None)))
    again = learner.client.post(path(lesson), json={})
    assert (again.status_code, again.json) == (200, first.json)


def test_a_retired_lesson_is_neither_begun_nor_completed(learner, catalogue, database, tmp_path, rows):
    retired = [catalogue.lesson("machines/next-word"), catalogue.lesson("machines/open-quiz")]
    import_catalogue(database, edited(tmp_path, ("next-word", "", None), ("open-quiz", "", None)))
    for lesson in retired:
        assert learner.client.post(path(lesson), json={}).status_code == 404
    assert learner.client.post(f"/api/v1/lessons/{retired[1]}/attempts").status_code == 404
    assert rows(completions) == []


def test_a_level_is_reached_by_the_completion_that_crosses_it(learner, catalogue, database):
    """Two quizzes without a fault give 60 and 38 XP, a lesson 20: the third brings the 100 of level 2."""
    answers = []
    for quiz in ("machines/machines-quiz", "machines/open-quiz"):
        pass_quiz(learner, catalogue.lesson(quiz), database)
        answers.append(learner.client.post(path(catalogue.lesson(quiz)), json={}).json)
    answers.append(learner.client.post(path(catalogue.lesson("machines/what-is-a-guess")), json={}).json)
    assert [(one["xp"], one["level"], one["level_up"]) for one in answers] == [(60, 1, False), (98, 1, False), (118, 2, True)]
    assert learner.client.get("/api/v1/me/wallet").json == {
        "xp": 118,
        "coins": 12 + 8 + 4,
        "level": 2,
        "level_began_at_xp": 100,
        "next_level_at_xp": 300,
    }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"time_spent_seconds": -1}, "time_spent_seconds"),
        ({"time_spent_seconds": 86_401}, "time_spent_seconds"),
        ({"time_spent_seconds": "90"}, "time_spent_seconds"),
        ({"time_spent_seconds": 1.5}, "time_spent_seconds"),
        ({"time_spent_seconds": True}, "time_spent_seconds"),
        ({"xp": 1000}, "xp"),
        ([], "body"),
        ("text", "body"),
    ],
)
def test_bad_input_names_the_field_and_writes_nothing(learner, theory, rows, body, field):
    refused = learner.client.post(path(theory), json=body)
    assert refused.status_code == 422
    assert field in refused.json["errors"]
    assert rows(completions) == []


@pytest.mark.parametrize("lesson_id", ["999999", "0", "-1", "abc", "9" * 30, "1.5", "%00", "١"])
def test_an_unknown_lesson_is_404(learner, lesson_id):
    answer = learner.client.post(f"/api/v1/lessons/{lesson_id}/completions", json={})
    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"
