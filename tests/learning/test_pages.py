from __future__ import annotations

import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from codyverse.database import Database
from codyverse.learning.models import course_images, courses, lesson_versions, lessons
from tests.conftest import Clock, ImportedCatalogue

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
IMAGE = Path(__file__).parents[1] / "content" / "machines" / "images" / "three-dots.svg"


class Page(HTMLParser):
    """What a page is made of, as far as tests ask."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def show(client: FlaskClient, path: str) -> str:
    response = client.get(path, headers=BROWSER)
    assert response.status_code == 200, response.text
    assert response.content_type == "text/html; charset=utf-8"
    return response.text


def every_page(catalogue: ImportedCatalogue) -> list[str]:
    return ["/", "/courses/machines", *(f"/lessons/{lesson_id}" for lesson_id in catalogue.ids.values())]


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_home_shows_the_courses(client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    html = show(client, "/")

    assert "Machines that guess" in html
    assert 'href="/courses/machines"' in html
    assert "Beginner" in words(html)
    assert "5 lessons 53 min 130 XP" in words(html)
    assert "1 lesson 1 min 5 XP" in words(html)
    assert "flask content import" not in html


def test_home_without_courses_says_how_to_get_some(client: FlaskClient) -> None:
    assert "<code>flask content import</code>" in show(client, "/")


def test_home_comes_in_pages(client: FlaskClient, database: Database, catalogue: ImportedCatalogue) -> None:
    with database.transaction() as tx:
        (row,) = (dict(row._mapping) for row in tx.execute(sa.select(courses).where(courses.c.slug == "counting")))
        del row["id"]
        tx.execute(courses.insert(), [row | {"slug": f"more-{number}"} for number in range(30)])

    first = show(client, "/")
    (following,) = re.findall(r'href="(/\?cursor=[^"]+)"', first)
    second = show(client, following.replace("#courses", ""))

    assert (first.count('<li class="card">'), second.count('<li class="card">')) == (30, 2)
    assert "cursor=" not in second


def test_a_made_up_cursor_is_refused(client: FlaskClient) -> None:
    response = client.get("/?cursor=made-up", headers=BROWSER)

    assert response.status_code == 422
    assert "The cursor was not given out for this list." in response.text


def test_a_course_lists_its_lessons_in_order(client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    html = show(client, "/courses/machines")

    assert "<title>Machines that guess · CodyVerse</title>" in html
    assert "end with <em>two</em> quizzes" in html
    links = [int(number) for number in re.findall(r'<h3><a href="/lessons/(\d+)">', html)]
    assert links == [
        catalogue.lesson(f"machines/{slug}")
        for slug in ("what-is-a-guess", "next-word", "sort-by-hand", "machines-quiz", "open-quiz")
    ]


def test_a_course_without_lessons_has_no_button(
    client: FlaskClient, database: Database, clock: Clock, catalogue: ImportedCatalogue
) -> None:
    with database.transaction() as tx:
        tx.execute(lessons.update().values(retired_at=clock.now))

    assert 'class="button"' not in show(client, "/courses/machines")


def test_a_lesson_shows_its_text_and_the_way_on(client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    html = show(client, f"/lessons/{catalogue.lesson('machines/next-word')}")

    assert "<title>Guess the next word · Machines that guess · CodyVerse</title>" in html
    assert '<meta name="description" content="You play the language model.">' in html
    assert "lesson 2 of 5" in html
    assert '<details class="reveal"><summary>The cat sat on the …?</summary>' in html
    assert "<dt>Token</dt><dd>A piece of a word.</dd>" in html
    assert f'rel="prev" href="/lessons/{catalogue.lesson("machines/what-is-a-guess")}"' in html
    assert f'rel="next" href="/lessons/{catalogue.lesson("machines/sort-by-hand")}"' in html
    assert "What awaits you" not in html


def test_a_quiz_says_what_awaits(client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    limited = words(show(client, f"/lessons/{catalogue.lesson('machines/machines-quiz')}"))
    unlimited = words(show(client, f"/lessons/{catalogue.lesson('machines/open-quiz')}"))

    assert "Questions 6 Points 7 To pass 70 % Time 10 min Attempts 3" in limited
    assert "Questions 6 Points 7 To pass 70 % Time no limit Attempts no limit" in unlimited
    assert "through the API" in limited


def test_every_link_and_image_of_a_page_leads_somewhere(client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    for path in every_page(catalogue):
        page = Page(show(client, path))
        ids = {str(attributes["id"]) for _, attributes in page.tags if "id" in attributes}
        addresses = {attributes.get("href") or attributes.get("src") for _, attributes in page.tags} - {None}
        for address in sorted(map(str, addresses)):
            target, _, fragment = address.partition("#")
            if target.startswith("https://"):
                continue
            if target:
                with client.get(target) as response:
                    assert response.status_code == 200, (path, address)
            elif fragment:
                assert fragment in ids, (path, address)


def test_pages_need_no_script_and_no_inline_style(client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    for path in every_page(catalogue):
        response = client.get(path)
        policy = response.headers["Content-Security-Policy"]
        page = Page(response.text)

        assert "default-src 'self'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert not page.all("script")
        assert not page.all("style")
        assert not [name for _, attributes in page.tags for name in attributes if name == "style" or name.startswith("on")]


def test_pages_have_one_heading_a_title_and_a_description(client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    titles = []
    for path in every_page(catalogue):
        html = show(client, path)
        page = Page(html)
        titles += re.findall("<title>(.+)</title>", html)

        assert len(page.all("h1")) == 1
        assert page.all("html")[0]["lang"]
        assert [tag["content"] for tag in page.all("meta") if tag.get("name") == "description"]
        assert all("alt" in image for image in page.all("img"))

    assert len(set(titles)) == len(every_page(catalogue))


def test_only_the_body_is_html(client: FlaskClient, database: Database, catalogue: ImportedCatalogue) -> None:
    evil = "<script>alert(1)</script>"
    lesson_id = catalogue.lesson("machines/next-word")
    with database.transaction() as tx:
        tx.execute(courses.update().values(title=evil, summary=evil))
        tx.execute(lesson_versions.update().values(title=evil, summary=evil, key_concepts=[{"term": evil, "meaning": evil}]))

    for path in ("/", "/courses/machines", f"/lessons/{lesson_id}"):
        assert "<script" not in show(client, path)


@pytest.mark.parametrize(
    "path",
    [
        "/courses/nothing",
        "/courses/a%00",
        "/lessons/one",
        "/lessons/999999",
        "/media/machines/0123456789abcdef/nothing.svg",
        "/media/machines/0123456789abcdef/a%00.svg",
        "/media/machines/three-dots.svg",
    ],
)
def test_what_is_not_there_is_a_page_with_a_way_back(client: FlaskClient, catalogue: ImportedCatalogue, path: str) -> None:
    response = client.get(path, headers=BROWSER)

    assert (response.status_code, response.content_type) == (404, "text/html; charset=utf-8")
    assert "Back to the courses" in response.text


@pytest.mark.parametrize("table", [courses, lessons])
def test_what_is_retired_is_404(
    client: FlaskClient, database: Database, clock: Clock, catalogue: ImportedCatalogue, table: sa.Table
) -> None:
    with database.transaction() as tx:
        tx.execute(table.update().values(retired_at=clock.now))

    assert client.get(f"/lessons/{catalogue.lesson('machines/next-word')}").status_code == 404


def address(course: str = "machines") -> str:
    return f"/media/{course}/{hashlib.sha256(IMAGE.read_bytes()).hexdigest()[:16]}/three-dots.svg"


def test_an_image_is_sent_as_it_is_and_can_do_nothing(client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    response = client.get(address())

    assert response.status_code == 200
    assert response.data == IMAGE.read_bytes()
    assert response.content_type == "image/svg+xml"
    assert response.headers["Content-Security-Policy"] == "sandbox; default-src 'none'; style-src 'unsafe-inline'"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    again = client.get(address(), headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_an_image_belongs_to_its_course(client: FlaskClient, catalogue: ImportedCatalogue) -> None:
    assert client.get(address("counting")).status_code == 404


def test_an_image_of_a_retired_course_stays_for_attempts_that_run(
    client: FlaskClient, database: Database, clock: Clock, rows: Any, catalogue: ImportedCatalogue
) -> None:
    with database.transaction() as tx:
        tx.execute(courses.update().values(retired_at=clock.now))

    assert client.get(address()).data == rows(course_images)[0]["content"]
