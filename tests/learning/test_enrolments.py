import pytest

from codyverse.learning.models import enrolments
from tests.parallel import in_parallel

PATH = "/api/v1/courses/machines/enrolment"


def test_it_works(learner, catalogue, rows):
    first = learner.client.post(PATH)
    assert first.status_code == 201
    assert first.json == {"course_slug": "machines", "enrolled_at": "2026-11-24T12:00:00Z"}
    assert learner.client.get(first.headers["Location"]).json["enrolled_at"] == "2026-11-24T12:00:00Z"
    assert [(row["user_id"], row["left_at"]) for row in rows(enrolments)] == [(learner.id, None)]


def test_joining_again_changes_nothing(learner, catalogue, rows, clock):
    first = learner.client.post(PATH)
    clock.advance(days=1)
    again = learner.client.post(PATH)
    assert (again.status_code, again.json) == (200, first.json)
    assert len(rows(enrolments)) == 1


def test_many_at_once_join_once(learner, catalogue, rows):
    answers = in_parallel(8, lambda: learner.again().client.post(PATH))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len(rows(enrolments)) == 1


def test_leaving_keeps_progress_and_coming_back_finds_it(learner, catalogue, rows):
    lesson = catalogue.lesson("machines/what-is-a-guess")
    learner.client.post(f"/api/v1/lessons/{lesson}/completions")  # joins by itself
    assert learner.client.delete(PATH).status_code == 204
    assert rows(enrolments)[0]["left_at"] is not None
    assert learner.client.get("/api/v1/me/progress").json["items"] == []
    left = learner.client.get("/api/v1/me/progress/machines").json
    assert (left["enrolled_at"], left["lessons_completed"]) == (None, 1)
    assert learner.client.post(PATH).status_code == 200
    assert learner.client.get("/api/v1/me/progress").json["items"][0]["lessons_completed"] == 1


def test_leaving_twice_is_the_same(learner, catalogue, rows, clock):
    learner.client.post(PATH)
    learner.client.delete(PATH)
    left_at = rows(enrolments)[0]["left_at"]
    clock.advance(hours=1)
    assert learner.client.delete(PATH).status_code == 204
    assert rows(enrolments)[0]["left_at"] == left_at


@pytest.mark.parametrize("slug", ["nothing", "No%20Slug", "%00"])
def test_an_unknown_course_is_404(learner, catalogue, slug, rows):
    path = f"/api/v1/courses/{slug}/enrolment"
    for answer in (learner.client.post(path), learner.client.delete(path)):
        assert answer.status_code == 404
        assert answer.content_type == "application/problem+json"
    assert rows(enrolments) == []


def test_another_learner_is_not_joined(learner, make_learner, catalogue):
    learner.client.post(PATH)
    assert make_learner().client.get("/api/v1/me/progress").json["items"] == []
