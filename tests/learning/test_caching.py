"""What learners see is never older than what was committed, though it comes from the cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from codyverse.learning import content
from codyverse.learning.models import completions, courses, lessons
from codyverse.learning.service import courses as service
from codyverse.learning.service.catalogue import import_catalogue
from codyverse.operations import cache
from codyverse.operations.cache.reading import reading

CONTENT = Path(__file__).parent.parent / "content"


@pytest.fixture
def statements(database):
    seen: list[str] = []

    def see(connection, cursor, statement, *rest):
        seen.append(statement)

    sa.event.listen(database.engine, "before_cursor_execute", see)
    yield seen
    sa.event.remove(database.engine, "before_cursor_execute", see)


def copied(folder: Path, old: str, new: str) -> content.Catalogue:
    for source in CONTENT.rglob("*"):
        if source.is_file():
            target = folder / source.relative_to(CONTENT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes().replace(old.encode(), new.encode()))
    return content.read(folder)


def test_an_import_touches_what_it_changes_and_no_more(database, catalogue, tmp_path, monkeypatch):
    touched = []
    monkeypatch.setattr(database._changes, "end", lambda tags: touched.append(set(tags)))
    import_catalogue(database, content.read(CONTENT))
    assert touched == []
    import_catalogue(database, copied(tmp_path / "title", "Guess the next word", "Guess the next words"))
    assert touched.pop() == {"course:machines", "catalogue"}, "the titles of lessons are searched in"
    with database.transaction() as tx:
        tx.execute(courses.update().values(retired_at=tx.now))
    import_catalogue(database, copied(tmp_path / "back", "", ""))
    assert touched.pop() >= {"course:machines", "catalogue"}


def test_a_second_read_runs_no_statement(app, database, catalogue, statements):
    made = cache.of(app)
    lesson_id = catalogue.lesson("machines/next-word")

    def read() -> list[object]:
        return [
            service.list_courses(database, made, limit=5),
            service.course(database, made, "machines"),
            service.list_lessons(database, made, "machines", limit=5),
            service.lesson(database, made, lesson_id),
        ]

    first = read()
    before = len(statements)
    assert read() == first
    assert len(statements) == before
    assert made.sizes()["l2"].entries == 4


def test_a_completion_is_seen_at_once(catalogue, learner):
    lesson_id = catalogue.lesson("machines/what-is-a-guess")
    paths = ("/api/v1/me/wallet", "/api/v1/me/progress", "/api/v1/me/progress/machines")
    before = [learner.client.get(path).json for path in paths]
    assert learner.client.post(f"/api/v1/lessons/{lesson_id}/completions", json={}).status_code == 201
    wallet, listed, course = [learner.client.get(path).json for path in paths]
    assert before[0]["xp"] == 0
    assert wallet["xp"] > 0
    assert listed["items"][0]["lessons_completed"] == course["lessons_completed"] == 1
    assert listed["items"][0]["last_completed_at"] == course["last_completed_at"]
    assert course["last_completed_at"].endswith("Z")
    assert learner.client.delete("/api/v1/courses/machines/enrolment").status_code == 204
    assert learner.client.get("/api/v1/me/progress").json["items"] == []


def test_every_public_read_says_what_it_depends_on(app, catalogue, client):
    made, database = cache.of(app), app.extensions["codyverse.database"]
    lesson_id = catalogue.lesson("machines/next-word")

    def tags(read):
        with reading() as noted:
            read()
        return noted.tags

    for _ in range(2):
        assert tags(lambda: service.list_courses(database, made, limit=5)) == {"catalogue"}
        assert tags(lambda: service.list_courses(database, made, limit=5, query="guess")) == {"catalogue"}
        assert tags(lambda: service.course(database, made, "machines")) == {"course:machines"}
        assert tags(lambda: service.list_lessons(database, made, "machines", limit=5)) == {"course:machines"}
        assert tags(lambda: service.list_lessons(database, made, "machines", limit=5, after=[0, 0])) == {"course:machines"}
        assert tags(lambda: service.lesson(database, made, lesson_id)) == {"course:machines"}


def test_texts_that_are_looked_for_do_not_fill_the_cache(app, catalogue, client):
    made = cache.of(app)
    for number in range(30):
        assert client.get(f"/api/v1/courses?q=word{number}").status_code == 200
        assert client.get(f"/api/v1/courses?locale=x{number}").status_code == 200
    assert made.sizes()["l2"].entries == 0


def test_a_lesson_that_is_edited_shows_its_new_text(database, catalogue, client, tmp_path):
    lesson_id = catalogue.lesson("machines/next-word")
    for path in (f"/api/v1/lessons/{lesson_id}", "/api/v1/courses/machines", f"/lessons/{lesson_id}"):
        assert "Guess the next words" not in client.get(path).text
    import_catalogue(database, copied(tmp_path / "title", "Guess the next word", "Guess the next words"))
    for path in (f"/api/v1/lessons/{lesson_id}", "/api/v1/courses/machines", f"/lessons/{lesson_id}"):
        assert "Guess the next words" in client.get(path).text
    with database.transaction() as tx:
        tx.execute(lessons.update().where(lessons.c.id == lesson_id).values(retired_at=tx.now))
        tx.touch("course:machines")
    assert client.get(f"/api/v1/lessons/{lesson_id}").status_code == 404


def test_no_reward_is_decided_by_what_is_outdated(database, catalogue, learner, make_learner, rows, monkeypatch):
    """The one read of the lesson fails, and what is kept of it says that it can still be completed."""
    address = f"/api/v1/lessons/{catalogue.lesson('machines/what-is-a-guess')}/completions"
    assert make_learner().client.post(address, json={}).status_code == 201  # so it is kept
    assert learner.client.get("/api/v1/me").status_code == 200  # and the caller remembered
    with database.transaction() as tx:
        tx.execute(lessons.update().values(retired_at=tx.now))
        tx.touch("course:machines")
    usual = database.read

    def fail_once():
        monkeypatch.setattr(database, "read", usual)
        raise sa.exc.OperationalError("reading the lesson", None, Exception())

    monkeypatch.setattr(database, "read", fail_once)
    assert learner.client.post(address, json={}).status_code == 503
    assert rows(completions, completions.c.user_id == learner.id) == []
    assert learner.client.post(address, json={}).status_code == 404
