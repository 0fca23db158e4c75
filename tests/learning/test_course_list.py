from __future__ import annotations

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from codyverse.database import Database
from codyverse.learning.models import courses
from tests.conftest import ImportedCatalogue
from tests.learning.test_courses import get


def slugs(client: FlaskClient, query: str = "") -> list[str]:
    return [item["slug"] for item in get(client, f"/courses{query}")["items"]]


def test_the_list_of_courses(client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    assert get(client, "/courses") == {
        "items": [
            {
                "slug": "machines",
                "title": "Machines that guess",
                "summary": "A short course that only the tests take.",
                "difficulty": "beginner",
                "locale": "en",
                "lesson_count": 5,
                "minutes": 53,
                "xp": 130,
            },
            {
                "slug": "counting",
                "title": "Counting",
                "summary": "A course of one lesson, in French by its label.",
                "difficulty": "advanced",
                "locale": "fr",
                "lesson_count": 1,
                "minutes": 1,
                "xp": 5,
            },
        ],
        "next_cursor": None,
    }


def test_an_empty_catalogue_is_an_empty_list(client: FlaskClient) -> None:
    assert get(client, "/courses") == {"items": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?difficulty=advanced", ["counting"]),
        ("?difficulty=intermediate", []),
        ("?locale=en", ["machines"]),
        ("?locale=fr&difficulty=advanced", ["counting"]),
        ("?locale=fr&difficulty=beginner", []),
        ("?q=GUESS", ["machines"]),
        ("?q=sort%20by%20hand", ["machines"]),
        ("?q=course", ["machines", "counting"]),
        ("?q=", ["machines", "counting"]),
        ("?q=%25", []),
        ("?q=_", []),
        ("?q=/", []),
        ("?q=%5C", []),
        ("?q=%27%3B--", []),
    ],
)
def test_the_list_is_narrowed(client: FlaskClient, catalogue: ImportedCatalogue, query: str, found: list[str]) -> None:
    assert slugs(client, query) == found


@pytest.mark.parametrize("query", ["100%25", "a_b", "straße", "STRASSE", "c:%5C", "and/or"])
def test_every_character_of_a_search_means_itself(
    client: FlaskClient, database: Database, catalogue: ImportedCatalogue, query: str
) -> None:
    with database.transaction() as tx:
        text = "100% of a_b on the straße, c:\\ and/or".casefold()
        tx.execute(courses.update().where(courses.c.slug == "counting").values(search_text=text))

    assert slugs(client, f"?q={query}") == ["counting"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("difficulty=easy", "difficulty"),
        ("difficulty=%00", "difficulty"),
        ("locale=", "locale"),
        ("locale=e%00", "locale"),
        ("locale=" + "e" * 36, "locale"),
        ("q=a%00b", "q"),
        ("q=" + "a" * 101, "q"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("limit=%00", "limit"),
        ("limit=99999999999999999999999", "limit"),
        ("cursor=made-up", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=" + "a" * 501, "cursor"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(
    client: FlaskClient, catalogue: ImportedCatalogue, query: str, field: str
) -> None:
    problem = get(client, f"/courses?{query}", 422)

    assert problem["type"] == "urn:codyverse:problem:invalid-input"
    assert list(problem["errors"]) == [field]


def test_the_list_comes_in_pages(client: FlaskClient, database: Database, catalogue: ImportedCatalogue) -> None:
    with database.transaction() as tx:
        (row,) = (dict(row._mapping) for row in tx.execute(sa.select(courses).where(courses.c.slug == "counting")))
        del row["id"]
        for number in range(5):  # all at the same position, so that the id decides
            tx.execute(courses.insert().values(row | {"slug": f"empty-{number}"}))
    everything = ["machines", "counting", *(f"empty-{number}" for number in range(5))]

    seen, query = [], "?limit=3"
    for expected in (3, 3, 1):
        page = get(client, f"/courses{query}")
        assert len(page["items"]) == expected
        seen += [item["slug"] for item in page["items"]]
        query = f"?limit=3&cursor={page['next_cursor']}"

    assert page["next_cursor"] is None
    assert seen == everything == slugs(client)
    assert get(client, "/courses?limit=7")["next_cursor"] is None
    assert get(client, "/courses")["items"][-1] | {"slug": "", "title": "", "summary": ""} == {
        "slug": "",
        "title": "",
        "summary": "",
        "difficulty": "advanced",
        "locale": "fr",
        "lesson_count": 0,
        "minutes": 0,
        "xp": 0,
    }
