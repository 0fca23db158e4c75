"""Import and export: the same twice, all or nothing, versions, retirement, bytes; on both engines."""

from __future__ import annotations

import dataclasses
import re
import shutil
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from codyverse.database import Database
from codyverse.errors import Conflict
from codyverse.learning import content
from codyverse.learning.models import course_images, courses, lesson_versions, lessons, modules
from codyverse.learning.service.catalogue import import_catalogue
from codyverse.learning.service.export import export_catalogue

SOURCE = Path(__file__).parent.parent / "content"
REAL = Path(__file__).parent.parent.parent / "content"
TABLES = (courses, modules, lessons, lesson_versions, course_images)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(SOURCE, tmp_path / "content")


@pytest.fixture
def bring(database, folder, clock):
    """Import the folder, some time after what happened before."""

    def bring():
        clock.advance(minutes=1)
        return import_catalogue(database, content.read(folder))

    return bring


@pytest.fixture
def everything(rows):
    return lambda: {table.name: sorted(rows(table), key=repr) for table in TABLES}


@pytest.fixture
def lesson(rows):
    """Read a lesson's row by its slug."""
    return lambda slug: rows(lessons, lessons.c.slug == slug)[0]


def edit(folder: Path, path: str, old: str, new: str) -> None:
    text = (folder / path).read_text()
    assert old in text
    (folder / path).write_text(text.replace(old, new, 1))


def drop_open_quiz(folder: Path) -> None:
    edit(folder, "machines/course.yaml", ", open-quiz]", "]")
    (folder / "machines/open-quiz.md").unlink()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_works(catalogue, rows, clock):
    assert len(rows(courses)) == 2
    [course] = rows(courses, courses.c.slug == "machines")
    assert course["title"] == "Machines that guess"
    assert course["source"] == (SOURCE / "machines/course.yaml").read_text()
    assert course["updated_at"] == clock.now
    assert course["retired_at"] is None
    first = catalogue.lesson("machines/what-is-a-guess")
    assert f'<a href="/lessons/{first}">the first lesson</a>' in course["description_html"]
    assert course["search_text"].split("\n") == [
        "machines that guess",
        "a short course that only the tests take.",
        "what is a guess?",
        "guess the next word",
        "sort by hand",
        "quiz: guessing",
        "quiz: as often as you like",
    ]
    assert {m["slug"]: m["position"] for m in rows(modules, modules.c.course_id == course["id"])} == {"reading": 0, "checking": 1}
    [image] = rows(course_images)
    assert image == {
        "course_id": course["id"],
        "name": "three-dots.svg",
        "digest": image["digest"],
        "media_type": "image/svg+xml",
        "content": (SOURCE / "machines/images/three-dots.svg").read_bytes(),
        "retired_at": None,
    }


def test_lessons_and_their_first_version(catalogue, rows, clock):
    [course] = rows(courses, courses.c.slug == "machines")
    shown = sorted(rows(lessons, lessons.c.course_id == course["id"]), key=lambda row: row["position"])
    assert [(row["slug"], row["version"]) for row in shown] == [
        ("what-is-a-guess", 1),
        ("next-word", 1),
        ("sort-by-hand", 1),
        ("machines-quiz", 1),
        ("open-quiz", 1),
    ]
    [version] = rows(lesson_versions, lesson_versions.c.lesson_id == shown[0]["id"])
    assert (version["kind"], version["minutes"], version["xp"], version["number"]) == ("theory", 8, 20, 1)
    assert version["key_concepts"][1] == {"term": "Training", "meaning": "Many small corrections."}
    assert version["questions"] == []
    assert version["pass_score"] is version["max_attempts"] is version["time_limit_s"] is None
    assert version["created_at"] == clock.now
    quiz = catalogue.lesson("machines/machines-quiz")
    assert f'<a href="/lessons/{quiz}">checked</a>' in version["body_html"]
    [image] = rows(course_images)
    assert f'src="/media/machines/{image["digest"]}/three-dots.svg"' in version["body_html"]


def test_questions_in_their_normal_form(catalogue, rows):
    [quiz] = rows(lesson_versions, lesson_versions.c.lesson_id == catalogue.lesson("machines/machines-quiz"))
    assert (quiz["pass_score"], quiz["max_attempts"], quiz["time_limit_s"]) == (70, 3, 600)
    single, multiple, true_false, ordering, short_text, numeric = quiz["questions"]
    assert single == {
        "id": "narrow",
        "kind": "single",
        "points": 1,
        "text_html": "Which of these is a <em>narrow</em> system?",
        "explanation_html": "A spam filter does one task.",
        "options": [
            {"html": "A spam filter", "correct": True},
            {"html": "A person who learned to drive", "correct": False},
            {"html": "A river", "correct": False},
        ],
    }
    assert multiple["points"] == 2
    assert true_false["answer"] is False
    assert ordering["items"] == ["Guess", "Measure the error", "Change the numbers"]
    assert short_text["accepted"] == ["error", "the error"]
    assert {name: numeric[name] for name in ("answer", "tolerance", "unit")} == {"answer": 400, "tolerance": 10, "unit": "tokens"}
    assert isinstance(numeric["answer"], int)
    [open_quiz] = rows(lesson_versions, lesson_versions.c.lesson_id == catalogue.lesson("machines/open-quiz"))
    assert (open_quiz["pass_score"], open_quiz["max_attempts"], open_quiz["time_limit_s"]) == (70, None, None)


def test_a_second_import_changes_nothing(bring, everything):
    report = bring()
    assert (report.courses, report.lessons, report.new, report.courses_changed) == (2, 6, 6, 2)
    before = everything()
    report = bring()
    assert report.nothing_changed
    assert (report.new, report.changed, report.retired, report.unchanged) == (0, 0, 0, 6)
    assert everything() == before


def test_an_import_that_changes_nothing_does_not_ask_lesson_by_lesson(bring, statements):
    bring()
    with statements.at_most(7):  # four tables, and on PostgreSQL its turn and its time
        bring()


def test_a_changed_lesson_gets_a_version(bring, folder, lesson, rows, clock):
    bring()
    before = lesson("next-word")
    edit(folder, "machines/next-word.md", "Star.", "A star.")
    report = bring()
    assert (report.changed, report.unchanged, report.courses_changed) == (1, 5, 1)
    assert lesson("next-word") == before | {"version": 2}
    first, second = sorted(rows(lesson_versions, lesson_versions.c.lesson_id == before["id"]), key=lambda row: row["number"])
    assert "<p>Star.</p>" in first["body_html"]
    assert "<p>A star.</p>" in second["body_html"]
    assert second["number"] == 2
    assert second["created_at"] == clock.now
    assert {row["slug"]: row["updated_at"] == clock.now for row in rows(courses)} == {"machines": True, "counting": False}


def test_what_vanished_is_retired_and_comes_back(bring, folder, lesson, rows, clock):
    bring()
    before = lesson("open-quiz")
    drop_open_quiz(folder)
    report = bring()
    assert (report.retired, report.unchanged) == (1, 5)
    assert lesson("open-quiz") == before | {"retired_at": clock.now}
    assert bring().nothing_changed
    shutil.copytree(SOURCE, folder, dirs_exist_ok=True)
    report = bring()
    assert (report.returned, report.new, report.changed, report.unchanged) == (1, 0, 0, 5)
    assert lesson("open-quiz") == before
    assert len(rows(lesson_versions, lesson_versions.c.lesson_id == before["id"])) == 1


def test_a_course_is_retired_with_all_its_lessons(bring, folder, everything, rows, clock):
    bring()
    before = everything()
    shutil.rmtree(folder / "counting")
    report = bring()
    assert (report.courses, report.lessons, report.retired, report.courses_changed) == (1, 5, 1, 1)
    for table in (courses, lessons):
        assert [row["retired_at"] for row in rows(table, table.c.slug.in_(["counting", "one-two-three"]))] == [clock.now]
    shutil.copytree(SOURCE / "counting", folder / "counting")
    assert bring().returned == 1
    for row in before["courses"]:
        if row["slug"] == "counting":
            row["updated_at"] = clock.now
    assert everything() == before


def test_modules_are_renamed_moved_and_retired(bring, folder, lesson, rows, clock):
    bring()
    quiz = lesson("open-quiz")
    (folder / "machines/course.yaml").write_text(
        (folder / "machines/course.yaml").read_text().split("modules:")[0]
        + "modules:\n  - {id: all, title: All, lessons: [open-quiz, what-is-a-guess, next-word, sort-by-hand, machines-quiz]}\n"
    )
    report = bring()
    assert (report.unchanged, report.courses_changed) == (6, 1)
    found = {row["slug"]: row for row in rows(modules)}
    assert found["reading"]["retired_at"] == found["checking"]["retired_at"] == clock.now
    assert found["all"]["retired_at"] is None
    moved = lesson("open-quiz")
    assert (moved["id"], moved["position"], moved["version"]) == (quiz["id"], 0, 1)
    assert moved["module_id"] == next(row["id"] for row in rows(modules, modules.c.slug == "all") if row["title"] == "All")


def test_an_image_that_changes_makes_a_new_version_and_the_old_one_keeps_its_own(bring, folder, rows, client, lesson):
    bring()
    file = folder / "machines/images/three-dots.svg"
    before = file.read_bytes()
    edit(folder, "machines/images/three-dots.svg", "Three dots", "3 dots")
    report = bring()
    assert (report.changed, report.courses_changed) == (1, 1)
    of_lesson = lesson_versions.c.lesson_id == lesson("what-is-a-guess")["id"]
    old, new = sorted(rows(lesson_versions, of_lesson), key=lambda row: row["number"])
    shown = [client.get(re.search(r'src="(/media/[^"]+)"', row["body_html"])[1]).data for row in (old, new)]
    assert shown == [before, file.read_bytes()]


def test_an_image_that_vanishes_is_retired_and_comes_back(bring, folder, rows):
    bring()
    file = folder / "machines/images/three-dots.svg"
    content, text = file.read_bytes(), (folder / "machines/what-is-a-guess.md").read_text()
    file.unlink()
    edit(folder, "machines/what-is-a-guess.md", "![Three dots on", "~~Three dots on")
    edit(folder, "machines/what-is-a-guess.md", "](images/three-dots.svg)", "")
    bring()
    assert [row["retired_at"] is None for row in rows(course_images)] == [False]
    file.write_bytes(content)
    (folder / "machines/what-is-a-guess.md").write_text(text)
    bring()
    assert [row["retired_at"] is None for row in rows(course_images)] == [True]


def test_a_mended_renderer_reaches_lessons_without_a_version(bring, database, rows, lesson):
    bring()
    with database.transaction() as tx:
        tx.execute(lesson_versions.update().values(body_html="<p>as an older renderer made it</p>", questions=[]))
    report = bring()
    assert (report.rendered_anew, report.unchanged) == (6, 6)
    assert lesson("machines-quiz")["version"] == 1
    assert all("older" not in row["body_html"] for row in rows(lesson_versions))
    assert bring().nothing_changed


def test_all_or_nothing(bring, database, folder, everything):
    bring()
    before = everything()
    edit(folder, "machines/next-word.md", "Star.", "A star.")
    shutil.rmtree(folder / "counting")
    read = content.read(folder)
    # The course's own row is written last, and the database refuses this one.
    refused = content.Catalogue((dataclasses.replace(read.courses[0], difficulty="impossible"),))
    with pytest.raises(sa.exc.IntegrityError):
        import_catalogue(database, refused)
    assert everything() == before


def test_imports_at_once_take_turns(database, settings, rows, folder):
    """Each with a connection pool of its own, as two processes have."""
    read = content.read(folder)
    start = threading.Barrier(4)
    reports = []
    errors = []

    def work():
        mine = Database(settings)
        try:
            start.wait(10)
            reports.append(import_catalogue(mine, read))
        except BaseException as error:
            errors.append(error)
        finally:
            mine.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert sorted(report.new for report in reports) == [0, 0, 0, 6]
    assert [row["version"] for row in rows(lessons)] == [1] * 6
    assert len(rows(lesson_versions)) == 6


def test_export_gives_the_bytes_back(bring, database, folder, tmp_path):
    edit(folder, "machines/next-word.md", "title: Guess", "# A comment.\ntitle:   Guess")
    edit(folder, "machines/next-word.md", "Star.", "Star, ünder \U0001f600.   ")
    (folder / "machines/next-word.md").write_text((folder / "machines/next-word.md").read_text().rstrip("\n"))
    (folder / "machines/images/dot.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\xff")
    edit(folder, "machines/sort-by-hand.md", "You need", "![A dot](images/dot.png)\n\n\n\nYou need")
    edit(folder, "counting/course.yaml", "title: Counting\n", "\n\ntitle: 'Counting' # here\n")
    bring()
    report = export_catalogue(database, tmp_path / "out" / "deep")
    assert (report.courses, report.lessons) == (2, 6)
    assert files(tmp_path / "out" / "deep") == files(folder)


def test_the_real_catalogue_goes_round(database, tmp_path):
    import_catalogue(database, content.read(REAL))
    export_catalogue(database, tmp_path / "out")
    assert files(tmp_path / "out") == {name: data for name, data in files(REAL).items() if not name.startswith(".")}


def test_export_leaves_out_what_is_retired(bring, database, folder, tmp_path):
    bring()
    shutil.rmtree(folder / "counting")
    drop_open_quiz(folder)
    bring()
    export_catalogue(database, tmp_path / "out")
    assert files(tmp_path / "out") == files(folder)


def test_export_refuses_a_folder_that_is_not_empty(catalogue, database, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    with pytest.raises(Conflict, match="is not an empty folder"):
        export_catalogue(database, tmp_path / "full")
    assert files(tmp_path / "full") == {"mine.txt": b"mine"}
    with pytest.raises(Conflict, match="is not an empty folder"):
        export_catalogue(database, tmp_path / "full/mine.txt")


def test_a_version_is_never_written_twice(catalogue, database):
    """What an attempt began with stays as it was: the database itself refuses another row of that number."""
    with pytest.raises(sa.exc.IntegrityError), database.transaction() as tx:
        row = dict(tx.execute(sa.select(lesson_versions)).first()._mapping)
        tx.execute(lesson_versions.insert(), row)
