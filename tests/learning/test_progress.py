from pathlib import Path

import pytest

from codyverse.learning import content
from codyverse.learning.models import lessons
from codyverse.learning.service.catalogue import import_catalogue
from tests.learning.test_attempts import pass_quiz, start, submit


@pytest.fixture
def halfway(learner, catalogue, database, clock):
    """A learner who read one lesson, failed one quiz, and passed the other without completing it."""
    lesson = catalogue.lesson("machines/what-is-a-guess")
    learner.client.post(f"/api/v1/lessons/{lesson}/completions")
    clock.advance(hours=1)
    submit(learner, start(learner, catalogue.lesson("machines/machines-quiz")))
    pass_quiz(learner, catalogue.lesson("machines/open-quiz"), database, wrong=1)
    return learner


def test_it_works(halfway):
    progress = halfway.client.get("/api/v1/me/progress").json
    assert progress["next_cursor"] is None
    [course] = progress["items"]
    assert course == {
        "course_slug": "machines",
        "title": "Machines that guess",
        "enrolled_at": "2026-11-24T12:00:00Z",
        "lessons_total": 5,
        "lessons_completed": 1,
        "percent": 20,
        "last_completed_at": "2026-11-24T12:00:00Z",
    }


def test_a_course_lesson_by_lesson(halfway, catalogue):
    course = halfway.client.get("/api/v1/me/progress/machines").json
    assert (course["lessons_completed"], course["lessons_total"], course["percent"]) == (1, 5, 20)
    lessons = {lesson["slug"]: lesson for lesson in course["lessons"]}
    order = ["what-is-a-guess", "next-word", "sort-by-hand", "machines-quiz", "open-quiz"]
    assert [lesson["slug"] for lesson in course["lessons"]] == order
    assert lessons["what-is-a-guess"]["status"] == "completed"
    assert lessons["what-is-a-guess"]["xp_awarded"] == 20
    assert lessons["next-word"]["status"] == "not_started"
    assert lessons["next-word"]["best_score"] is None
    failed, passed = lessons["machines-quiz"], lessons["open-quiz"]
    assert (failed["status"], failed["attempts_used"], failed["max_attempts"], failed["best_score"]) == ("in_progress", 1, 3, 0)
    assert (passed["status"], passed["attempts_used"], passed["max_attempts"]) == ("in_progress", 1, None)
    assert passed["best_score"] == 85.71  # 6 of 7 points
    assert passed["lesson_id"] == catalogue.lesson("machines/open-quiz")


def test_100_per_cent_means_that_nothing_is_left(learner, catalogue):
    learner.client.post(f"/api/v1/lessons/{catalogue.lesson('counting/one-two-three')}/completions")
    assert learner.client.get("/api/v1/me/progress/counting").json["percent"] == 100


def test_before_the_first_lesson_there_is_nothing(learner, catalogue):
    assert learner.client.get("/api/v1/me/progress").json == {"items": [], "next_cursor": None}
    course = learner.client.get("/api/v1/me/progress/machines").json
    assert (course["enrolled_at"], course["percent"], course["last_completed_at"]) == (None, 0, None)
    assert {lesson["status"] for lesson in course["lessons"]} == {"not_started"}


def test_pages_follow_each_other(learner, catalogue):
    for slug in ("machines", "counting"):
        learner.client.post(f"/api/v1/courses/{slug}/enrolment")
    first = learner.client.get("/api/v1/me/progress?limit=1").json
    second = learner.client.get(f"/api/v1/me/progress?limit=1&cursor={first['next_cursor']}").json
    assert len(first["items"]) == len(second["items"]) == 1
    assert {first["items"][0]["course_slug"], second["items"][0]["course_slug"]} == {"machines", "counting"}
    assert second["next_cursor"] is None


def test_it_is_one_s_own(halfway, make_learner):
    other = make_learner()
    assert other.client.get("/api/v1/me/progress/machines").json["lessons_completed"] == 0
    assert other.client.get("/api/v1/me/progress").json["items"] == []


def test_a_retired_lesson_no_longer_counts_and_what_it_earned_stays(halfway, database, tmp_path, client):
    source = content.read(Path(__file__).parents[1] / "content")
    machines = next(course for course in source.courses if course.slug == "machines")
    assert any(lesson.slug == "what-is-a-guess" for _, lesson in machines.ordered())
    # The catalogue without its course retires every lesson of it.
    import_catalogue(database, type(source)([course for course in source.courses if course is not machines]))
    assert halfway.client.get("/api/v1/me/progress").json["items"] == []
    assert halfway.client.get("/api/v1/me/progress/machines").status_code == 404
    assert halfway.client.get("/api/v1/me/wallet").json["xp"] == 20


def test_an_unknown_course_is_404(learner, catalogue):
    assert learner.client.get("/api/v1/me/progress/nothing").status_code == 404


def test_a_retired_lesson_counts_in_neither_number_of_the_list(halfway, catalogue, database):
    with database.transaction() as tx:
        retired = lessons.c.id == catalogue.lesson("machines/what-is-a-guess")
        tx.execute(lessons.update().where(retired).values(retired_at=tx.now))
    [course] = halfway.client.get("/api/v1/me/progress").json["items"]
    assert (course["lessons_completed"], course["lessons_total"]) == (0, 4)
