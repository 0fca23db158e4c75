from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from codyverse.database import Database
from codyverse.learning.models import courses, lesson_versions, lessons, modules
from tests.conftest import Clock, ImportedCatalogue

Rows = Callable[..., list[dict[str, Any]]]


def get(client: FlaskClient, path: str, status: int = 200) -> Any:
    response = client.get(f"/api/v1{path}")
    assert response.status_code == status, response.text
    return response.json


def retire(database: Database, clock: Clock, table: sa.Table, slug: str) -> None:
    with database.transaction() as tx:
        tx.execute(table.update().where(table.c.slug == slug).values(retired_at=clock.now))
        tx.touch("catalogue", "course:machines")


@contextmanager
def counted_statements(database: Database) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        seen.append(statement)

    sa.event.listen(database.engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(database.engine, "before_cursor_execute", note)


def test_a_course_with_its_modules_and_lessons(client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    course = get(client, "/courses/machines")

    assert course["description_html"].startswith("<p>Begin with <a ")
    assert {name: course[name] for name in ("slug", "difficulty", "lesson_count", "minutes", "xp")} == {
        "slug": "machines",
        "difficulty": "beginner",
        "lesson_count": 5,
        "minutes": 53,
        "xp": 130,
    }
    assert [
        (module["slug"], module["title"], [lesson["slug"] for lesson in module["lessons"]]) for module in course["modules"]
    ] == [
        ("reading", "Read and try", ["what-is-a-guess", "next-word", "sort-by-hand"]),
        ("checking", "Check what you know", ["machines-quiz", "open-quiz"]),
    ]
    assert course["modules"][0]["lessons"][1] == {
        "id": catalogue.lesson("machines/next-word"),
        "slug": "next-word",
        "title": "Guess the next word",
        "kind": "interactive",
        "summary": "You play the language model.",
        "minutes": 5,
        "xp": 15,
    }


def test_the_lessons_of_a_course_come_in_pages(client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    first = get(client, "/courses/machines/lessons?limit=3")
    second = get(client, f"/courses/machines/lessons?limit=3&cursor={first['next_cursor']}")

    assert [lesson["slug"] for lesson in first["items"]] == ["what-is-a-guess", "next-word", "sort-by-hand"]
    assert [lesson["slug"] for lesson in second["items"]] == ["machines-quiz", "open-quiz"]
    assert second["next_cursor"] is None
    assert first["items"] == get(client, "/courses/machines")["modules"][0]["lessons"]


def test_a_cursor_is_good_for_its_own_list_only(client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    cursor = get(client, "/courses/machines/lessons?limit=3")["next_cursor"]

    for path in ("/courses", "/courses/counting/lessons"):
        assert get(client, f"{path}?cursor={cursor}", 422)["errors"] == {"cursor": ["Not a cursor of this list."]}


def test_a_lesson(client: FlaskClient, rows: Rows, catalogue: ImportedCatalogue) -> None:
    lesson_id = catalogue.lesson("machines/what-is-a-guess")
    (version,) = rows(lesson_versions, lesson_versions.c.lesson_id == lesson_id)

    assert get(client, f"/lessons/{lesson_id}") == {
        "id": lesson_id,
        "course_slug": "machines",
        "slug": "what-is-a-guess",
        "title": "What is a guess?",
        "kind": "theory",
        "summary": "How a machine gets better by being wrong.",
        "minutes": 8,
        "xp": 20,
        "version": 1,
        "body_html": version["body_html"],
        "key_concepts": [
            {"term": "Error", "meaning": "The difference between the guess and the right answer."},
            {"term": "Training", "meaning": "Many small corrections."},
        ],
        "previous_lesson_id": None,
        "next_lesson_id": catalogue.lesson("machines/next-word"),
        "quiz": None,
    }


@pytest.mark.parametrize(
    ("slug", "asks"),
    [
        ("machines-quiz", {"pass_score": 70, "max_attempts": 3, "time_limit_seconds": 600}),
        ("open-quiz", {"pass_score": 70, "max_attempts": None, "time_limit_seconds": None}),
    ],
)
def test_a_quiz_says_what_it_asks_for(client: FlaskClient, catalogue: ImportedCatalogue, slug: str, asks: dict[str, Any]) -> None:
    lesson = get(client, f"/lessons/{catalogue.lesson(f'machines/{slug}')}")

    assert lesson["quiz"] == {"question_count": 6, "points_possible": 7, **asks}


def test_a_lesson_knows_its_neighbours(client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    ids = [lesson["id"] for lesson in get(client, "/courses/machines/lessons")["items"]]

    seen = [get(client, f"/lessons/{lesson_id}") for lesson_id in ids]

    assert [lesson["previous_lesson_id"] for lesson in seen] == [None, *ids[:-1]]
    assert [lesson["next_lesson_id"] for lesson in seen] == [*ids[1:], None]


def test_no_question_and_no_answer_is_public(client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    quiz = catalogue.lesson("machines/machines-quiz")
    addresses = ["/courses", "/courses/machines", "/courses/machines/lessons", f"/lessons/{quiz}"]

    for address in [*(f"/api/v1{address}" for address in addresses), "/", "/courses/machines", f"/lessons/{quiz}"]:
        text = client.get(address).text
        for secret in ("spam filter", "Which of these", "correct", "accepted", "tolerance", "400", "explanation_html"):
            assert secret.casefold() not in text.casefold(), address


def test_the_shown_version_is_the_lesson_s_own(
    client: FlaskClient, database: Database, rows: Rows, catalogue: ImportedCatalogue
) -> None:
    lesson_id = catalogue.lesson("machines/next-word")
    (version,) = rows(lesson_versions, lesson_versions.c.lesson_id == lesson_id)
    with database.transaction() as tx:
        tx.execute(lesson_versions.insert().values(version | {"number": 2, "title": "Guess again", "minutes": 6, "xp": 16}))
        assert get(client, f"/lessons/{lesson_id}")["title"] == "Guess the next word"
        tx.execute(lessons.update().where(lessons.c.id == lesson_id).values(version=2))
        tx.touch("catalogue", "course:machines")

    lesson = get(client, f"/lessons/{lesson_id}")
    assert (lesson["version"], lesson["title"], lesson["minutes"], lesson["xp"]) == (2, "Guess again", 6, 16)
    assert get(client, "/courses/machines/lessons")["items"][1]["title"] == "Guess again"
    assert get(client, "/courses/machines")["minutes"] == get(client, "/courses")["items"][0]["minutes"] == 54


def test_a_retired_lesson_is_gone(client: FlaskClient, database: Database, clock: Clock, catalogue: ImportedCatalogue) -> None:
    retire(database, clock, lessons, "next-word")

    get(client, f"/lessons/{catalogue.lesson('machines/next-word')}", 404)
    course = get(client, "/courses/machines")
    assert (course["lesson_count"], course["minutes"], course["xp"]) == (4, 48, 115)
    assert [lesson["slug"] for lesson in course["modules"][0]["lessons"]] == ["what-is-a-guess", "sort-by-hand"]
    assert len(get(client, "/courses/machines/lessons")["items"]) == 4
    assert get(client, "/courses")["items"][0]["lesson_count"] == 4
    first = get(client, f"/lessons/{catalogue.lesson('machines/what-is-a-guess')}")
    assert first["next_lesson_id"] == catalogue.lesson("machines/sort-by-hand")


def test_a_retired_module_is_gone(client: FlaskClient, database: Database, clock: Clock, catalogue: ImportedCatalogue) -> None:
    retire(database, clock, modules, "checking")

    assert [module["slug"] for module in get(client, "/courses/machines")["modules"]] == ["reading"]


def test_a_retired_course_is_gone(client: FlaskClient, database: Database, clock: Clock, catalogue: ImportedCatalogue) -> None:
    retire(database, clock, courses, "machines")

    assert [course["slug"] for course in get(client, "/courses")["items"]] == ["counting"]
    for path in ("/courses/machines", "/courses/machines/lessons", f"/lessons/{catalogue.lesson('machines/next-word')}"):
        assert get(client, path, 404)["type"] == "urn:codyverse:problem:not-found"


@pytest.mark.parametrize(
    "path",
    [
        "/courses/nothing",
        "/courses/Machines",
        "/courses/machines%00",
        "/courses/-",
        "/courses/a--b",
        "/courses/m%C3%A4chines",
        "/courses/%ff",
        "/courses/machines%0A",
        "/courses/" + "a" * 3000,
        "/courses/nothing/lessons",
        "/courses/a%00/lessons",
        "/lessons/0",
        "/lessons/-1",
        "/lessons/1.5",
        "/lessons/999999",
        "/lessons/9223372036854775807",
        "/lessons/9223372036854775808",
        "/lessons/one",
        "/lessons/1%00",
        "/lessons/%D9%A1",
    ],
)
def test_what_is_not_there_is_404(client: FlaskClient, catalogue: ImportedCatalogue, path: str) -> None:
    response = client.get(f"/api/v1{path}")

    assert (response.status_code, response.content_type) == (404, "application/problem+json")


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/courses", 1),
        ("/courses?q=a&difficulty=beginner", 1),
        ("/courses/machines", 2),
        ("/courses/machines/lessons", 2),
        ("lesson", 2),
    ],
)
def test_no_read_takes_more_statements_for_more_rows(
    client: FlaskClient, database: Database, catalogue: ImportedCatalogue, path: str, most: int
) -> None:
    if path == "lesson":
        path = f"/lessons/{catalogue.lesson('machines/next-word')}"
    with counted_statements(database) as seen:
        get(client, path)

    assert len(seen) == most, seen


@pytest.mark.parametrize("path", ["/courses", "/courses/machines", "/courses/machines/lessons", "lesson"])
def test_what_the_client_has_is_not_sent_again(
    client: FlaskClient, database: Database, catalogue: ImportedCatalogue, path: str
) -> None:
    if path == "lesson":
        path = f"/lessons/{catalogue.lesson('machines/next-word')}"
    path = f"/api/v1{path}"
    etag = client.get(path).headers["ETag"]

    response = client.get(path, headers={"If-None-Match": etag})
    assert (response.status_code, response.data, response.headers["ETag"]) == (304, b"", etag)

    with database.transaction() as tx:
        tx.execute(lesson_versions.update().values(minutes=lesson_versions.c.minutes + 1))
        tx.touch("catalogue", "course:machines")
    changed = client.get(path, headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != etag
