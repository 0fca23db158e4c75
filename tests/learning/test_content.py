"""Every rule of the author guide has a case: the tests' catalogue with one thing broken, and the fault with its file and line."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from codyverse.learning import content

SOURCE = Path(__file__).parent.parent / "content"
REAL = Path(__file__).parent.parent.parent / "content"

COURSE = "machines/course.yaml"
THEORY = "machines/what-is-a-guess.md"
INTERACTIVE = "machines/next-word.md"
LAB = "machines/sort-by-hand.md"
QUIZ = "machines/machines-quiz.md"
SVG = "machines/images/three-dots.svg"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(SOURCE, tmp_path / "content")


def found(folder: Path) -> list[tuple[str, int, str]]:
    return [(fault.path, fault.line, fault.message) for fault in content.lint(folder)]


def expect(folder: Path, path: str, line: int, part: str) -> None:
    """Expect exactly one fault."""
    faults = found(folder)
    assert [(fault[0], fault[1]) for fault in faults] == [(path, line)], faults
    assert part in faults[0][2]


def edit(folder: Path, path: str, old: str, new: str) -> int:
    """Replace a text that stands in a file; returns the line in which it begins."""
    text = (folder / path).read_text()
    assert old in text
    (folder / path).write_text(text.replace(old, new, 1))
    return text.count("\n", 0, text.index(old)) + 1


def test_it_works():
    read = content.read(SOURCE)
    assert [course.slug for course in read.courses] == ["machines", "counting"]  # by position
    assert [lesson.kind for _, lesson in read.courses[0].ordered()] == ["theory", "interactive", "lab", "quiz", "quiz"]
    assert content.lint(SOURCE) == []


def test_the_real_catalogue_is_clean():
    assert found(REAL) == []
    assert {"theory", "interactive", "lab", "quiz"} == {
        lesson.kind for course in content.read(REAL).courses for lesson in course.lessons.values()
    }


# A file, what is replaced in it, by what, how many lines below the beginning of that the fault is, and a part of its message.
BROKEN = [
    # course.yaml
    (COURSE, "summary: A short", "sumary: A short", None, "has no `summary`"),
    (COURSE, "title: Machines that guess", "title: " + "x" * 81, 0, "81 characters, 80 are allowed"),
    (COURSE, "title: Machines that guess", "title: 2026-11-24", 0, "put it in quotes"),
    (COURSE, "title: Machines that guess", "title: [a]", 0, "must be text, not a list"),
    (COURSE, "title: Machines that guess", "title:", 0, "must be text, not nothing"),
    (COURSE, "title: Machines that guess", "title: ' '", 0, "is empty"),
    (COURSE, "title: Machines that guess", 'title: "a\\nb"', 0, "must be one line"),
    (COURSE, "title: Machines that guess", "title: a\ntitle: b", 1, "the key 'title' stands twice, first in line 2"),
    (COURSE, "title: Machines that guess", "title: &a x", 0, "anchors"),
    (COURSE, "title: Machines that guess", "title: *a", 0, "anchors"),
    (COURSE, "title: Machines that guess", "title: !!str x", 0, "tags"),
    (COURSE, "title: Machines that guess", 'title: "\\0"', 0, "control characters"),
    (COURSE, "title: Machines that guess", "title: [[[[[[[[[[[]]]]]]]]]]]", 0, "nested deeper"),
    (COURSE, "title: Machines that guess", "title: a: b", 0, "not YAML"),
    (COURSE, "title: Machines that guess", "[a]: b", 0, "a key must be a word"),
    (COURSE, "difficulty: beginner", "difficulty: beginer", 0, "did you mean `beginner`?"),
    (COURSE, "locale: en", "locale: English", 0, "language tag"),
    (COURSE, "position: 10", "position: first", 0, "a whole number from 0"),
    (COURSE, "position: 10", "position: true", 0, "a whole number from 0"),
    (COURSE, "position: 10", "position: 010", 0, "a whole number from 0"),
    (COURSE, "[the first lesson](what-is-a-guess.md)", "[the first lesson](what-is-that.md)", 0, "dead link"),
    (COURSE, "  A second paragraph.", "  <b>A second</b> paragraph.", 0, "raw HTML"),
    (COURSE, "id: reading", "id: Reading", 0, "lower case letters"),
    (COURSE, "id: checking", "id: reading", 0, "the id `reading` stands twice, first in line 12"),
    (COURSE, "[machines-quiz, open-quiz]", "[machines-quiz, open-quiz, next-word]", 0, "stands twice, first in line 14"),
    (COURSE, "[machines-quiz, open-quiz]", "[machines-quiz, open-quiz, other]", 0, "no other.md"),
    (COURSE, "[machines-quiz, open-quiz]", "[machines-quiz, open-quiz, 7]", 0, "put it in quotes"),
    (COURSE, "    title: Check what you know", "    titel: Check what you know", None, "the module has no `title`"),
    # front matter
    (THEORY, "---\ntitle", "title", 0, "must begin with front matter"),
    (THEORY, "kind: theory", "kind: story", 0, "must be one of theory, interactive, lab, quiz"),
    (THEORY, "xp: 20", "xp: 4", 0, "a whole number from 5 to 200"),
    (THEORY, "minutes: 8", "minutes: 0", 0, "a whole number from 1 to 120"),
    (THEORY, "minutes: 8", "minutes: 8.5", 0, "a whole number from 1 to 120"),
    (THEORY, "xp: 20", "xp: 20\npass_score: 70", 1, "belongs to a quiz"),
    (THEORY, "  - term: Training\n    meaning: Many small corrections.\n", "", -3, "`key_concepts` has 1 entries, 2 to"),
    (THEORY, "  - term: Training", "  - term: error", 0, "`error` stands twice"),
    (THEORY, "    meaning: Many", "    meening: Many", None, "has no `meaning`"),
    # text
    (THEORY, "## Round two", "# Round two", None, "headings begin at `##`"),
    (THEORY, "## Round three", "#### Round three", 0, "use `###`"),
    (THEORY, "```python", "```", 0, "names no language"),
    (THEORY, "```python", "```pyhton", 0, "`pyhton`"),
    (THEORY, "::: example A spam filter", "::: example", 0, "has no title"),
    (THEORY, "::: example A spam filter", "::: example A <i>spam</i> filter", 0, "raw HTML"),
    (THEORY, ":::\n\n## Round one", "## Round one", None, "not closed by `:::`"),
    (THEORY, "It guesses *spam*", "It <em>guesses</em> spam", 0, "`<em>`"),
    (THEORY, "It guesses *spam*", "<div>\n\nIt guesses *spam*", 0, "raw HTML is not allowed"),
    (THEORY, "It guesses *spam*", "<!-- It -->", 0, "raw HTML is not allowed"),
    (THEORY, "It guesses *spam*", "A line\nand\n:::\nIt guesses *spam*", None, "closes no block"),
    (THEORY, "It guesses *spam*", "    indented\n\nIt guesses *spam*", 0, "indented by four spaces"),
    (THEORY, "checked](machines-quiz.md)", "checked](machine-quiz.md)", 0, "no lesson machines/machine-quiz.md"),
    (THEORY, "checked](machines-quiz.md)", "checked](../number/one.md)", 0, "no lesson number/one.md"),
    (THEORY, "checked](machines-quiz.md)", "checked](machines-quiz.md#there)", 0, "has no heading `#there`"),
    (THEORY, "(#round-two)", "(#round-nine)", 0, "no heading `#round-nine`"),
    (THEORY, "(https://example.org/)", "(http://example.org/)", 0, "a link must be https://"),
    (THEORY, "(https://example.org/)", "(javascript:alert)", 0, "a link must be https://"),
    (THEORY, "(https://example.org/)", "(/courses)", 0, "a link must be https://"),
    (THEORY, "(https://example.org/)", "(https://)", 0, "a link must be https://"),
    (THEORY, "[elsewhere]", "[]", 0, "a link without text"),
    (THEORY, "![Three dots on a line, each nearer to the goal than the one before]", "![]", 0, "no text that says what it shows"),
    (THEORY, "![Three", "![Another](images/another.svg)\n\n![Three", 0, "images/another.svg is not there"),
    (THEORY, "![Three", "![Another](https://example.org/a.png)\n\n![Three", 0, "must be a file such as images/"),
    # what each kind must have
    (INTERACTIVE, "::: reveal Twinkle", "::: note Twinkle", None, "has 2 `::: reveal` or more; this one has 1"),
    (LAB, "::: task Sort", "::: note Sort", None, "has 1 `::: task` or more; this one has no"),
    (QUIZ, "Three attempts, ten minutes each.", "word " * 151, None, "151 words"),
    # questions
    (
        QUIZ,
        "  - id: learns\n    kind: multiple",
        "  - id: narrow\n    kind: multiple",
        0,
        "`narrow` stands twice, first in line 11",
    ),
    (QUIZ, "    kind: multiple", "    kind: several", 0, "must be one of single"),
    (QUIZ, "    explanation: A spam filter does one task.\n", "", None, "the question has no `explanation`"),
    (QUIZ, "        correct: true\n      - text: A person", "      - text: A person", None, "no option is `correct: true`"),
    (QUIZ, "      - text: A river", "      - text: A river\n        correct: true", None, "2 options are `correct: true`"),
    (QUIZ, "      - text: A river", "      - text: A spam  filter", 0, "stands twice"),
    (QUIZ, "        correct: true", "        correct: maybe", None, "must be true or false"),
    (QUIZ, "        correct: true", "        corect: true", None, "did you mean `correct`?"),
    (QUIZ, "      - text: A person who learned to drive\n      - text: A river\n", "", None, "has 1 entries, 2 to 8"),
    (QUIZ, "    points: 2", "    points: 11", 0, "a whole number from 1 to 10"),
    (QUIZ, "    answer: false", "    answer: no", 0, "must be true or false"),
    (QUIZ, "    answer: false\n", "", None, "the question has no `answer`"),
    (QUIZ, "[Guess, Measure the error, Change the numbers]", "[Guess, Measure]", 0, "has 2 entries, 3 to 8"),
    (QUIZ, "[Guess, Measure the error, Change the numbers]", "[Guess, Measure, guess]", 0, "stands twice"),
    (QUIZ, "[error, the error]", "[]", 0, "has 0 entries"),
    (QUIZ, "[error, the error]", "[error, Error.]", 0, "stands twice"),
    (QUIZ, "[error, the error]", "[error, ' . ']", 0, "more than a full stop"),
    (QUIZ, "[error, the error]", "[error, yes]", 0, "put it in quotes"),
    (QUIZ, "    answer: 400", "    answer: many", 0, "must be a number, such as"),
    (QUIZ, "    answer: 400", "    answer: .inf", 0, "must be a number, such as"),
    (QUIZ, "    answer: 400", "    answer: 1" + "0" * 5000, 0, "must be a number, such as"),
    (QUIZ, "    tolerance: 10", "    tolerance: -1", 0, "must be a number from 0 up"),
    (QUIZ, "    unit: tokens", "    unit: 5", 0, "put it in quotes"),
    (
        QUIZ,
        "    text: What does training need?",
        "    text: |\n      a\n\n      ```text\n      b\n      ```",
        None,
        "block of code",
    ),
    (QUIZ, "    text: What does training need?", "    text: |\n      a\n\n      b <b>c</b>", 3, "raw HTML"),
    (QUIZ, "max_attempts: 3", "max_attempt: 3", 0, "did you mean `max_attempts`?"),
    (QUIZ, "max_attempts: 3", "max_attempts: 0", 0, "a whole number from 1 to 100"),
    (QUIZ, "time_limit_minutes: 10", "time_limit_minutes: 1.5", 0, "a whole number from 1 to 240"),
    (QUIZ, "questions:", "questions: {}\nother:", None, "must be a list, not a mapping"),
    # drawings
    (SVG, "<circle", "<script>alert(1)</script><circle", 0, "<script> is not allowed"),
    (SVG, "<circle", "<image href='#a'/><circle", 0, "<image> is not allowed"),
    (SVG, "<circle", "<foreignObject/><circle", 0, "<foreignObject> is not allowed"),
    (SVG, "<circle", "<a xmlns='http://www.w3.org/1999/xhtml'/><circle", 0, "<a> is not allowed"),
    (SVG, "<circle", "<circle onclick='a()'", 0, "the event attribute onclick"),
    (SVG, "<circle", "<circle ONLOAD='a()'", 0, "the event attribute ONLOAD"),
    (SVG, "<circle", "<use href='https://example.org/a.svg#b'/><circle", 0, "part of the same drawing"),
    (SVG, "<circle", "<use xmlns:x='http://www.w3.org/1999/xlink' x:href='a.svg'/><circle", 0, "part of the same drawing"),
    (SVG, "<circle", "<circle style='fill: URL( //example.org/a)'", 0, "outside the drawing"),
    (SVG, "<circle", "<circle filter='url(\"a.svg#b\")'", 0, "outside the drawing"),
    (SVG, "<circle", "<style>@import 'a.css';</style><circle", 0, "the style refers to something outside"),
    (SVG, "<circle", "<style>a { b: u\\72l(c) }</style><circle", 0, "the style refers to something outside"),
    (SVG, "<circle", "<?xml-stylesheet href='a.css'?><circle", 0, "processing instruction"),
    (SVG, "<svg", "<!DOCTYPE svg [<!ENTITY a 'b'>]><svg", 0, "document type"),
    (SVG, "<svg xmlns", "<svg xml", 0, "the root must be"),
    (SVG, "</svg>", "", None, "not XML"),
]


@pytest.mark.parametrize(
    ("path", "old", "new", "below", "part"), BROKEN, ids=[f"{i}-{case[4][:30]}" for i, case in enumerate(BROKEN)]
)
def test_a_fault_is_found_in_its_line(folder, path, old, new, below, part):
    line = edit(folder, path, old, new)
    faults = found(folder)
    matching = [fault for fault in faults if fault[0] == path and part in fault[2]]
    assert matching, faults
    if below is not None:
        assert [(fault[0], fault[1]) for fault in faults] == [(path, line + below)], faults


FIVE_QUESTIONS = "[{id: a}, {id: b}, {id: c}, {id: d}, {id: e}]"


def test_a_theory_lesson_has_500_words(folder):
    text = (folder / THEORY).read_text()
    (folder / THEORY).write_text(text[: text.index("## Round three")])
    expect(folder, THEORY, 13, "a theory lesson has 500 or more")


def test_a_theory_lesson_has_an_example(folder):
    edit(folder, THEORY, "::: example", "::: note")
    expect(folder, THEORY, 13, "has 1 `::: example` or more; this one has no")


def test_a_quiz_has_six_questions(folder):
    text = (folder / QUIZ).read_text()
    begin, end = text.index("  - id: tokens"), text.index("---\n\nThree")
    (folder / QUIZ).write_text(text[:begin] + text[end:])
    expect(folder, QUIZ, 10, "has 5 entries, 6 to")


@pytest.mark.parametrize(
    ("content_bytes", "line", "part"),
    [
        (b"---\ntitle: \xff\n", 2, "not UTF-8"),
        (b"---\r\ntitle: a\r\n", 1, "LF alone"),
        (b"---\ntitle: a\0\n", 2, "U+0000"),
        (b"\xef\xbb\xbf---\ntitle: a\n", 1, "U+FEFF"),
        (b"---\ntitle: \xe2\x80\xa8\n", 2, "U+2028"),
        (b"---\ntitle: \xed\xa0\x80\n", 2, "not UTF-8"),
        (b"", 1, "front matter"),
        (b"---\ntitle: a\n", 1, "front matter"),
        (b"---\n---\n", 1, "must be a mapping of keys to values, not nothing"),
        (b"---\n- a\n---\n", 1, "must be a mapping of keys to values, not a list"),
        (b"---\na: 'b\n---\n", 2, "not YAML"),
        (b"---\na: b\n--- \n...\n", 2, "unknown key `a`"),
        (b"x" * (256 * 1024 + 1), 1, "262144 are allowed"),
    ],
)
def test_files_that_are_no_lessons(folder, content_bytes, line, part):
    (folder / LAB).write_bytes(content_bytes)
    assert any(fault[0] == LAB and fault[1] == line and part in fault[2] for fault in found(folder)), found(folder)


def test_course_file_of_two_documents(folder):
    line = edit(folder, COURSE, "difficulty:", "---\ndifficulty:")
    expect(folder, COURSE, line, "a second YAML document")


def test_a_lesson_in_no_module(folder):
    edit(folder, COURSE, ", open-quiz]", "]")
    expect(folder, "machines/open-quiz.md", 1, "stands in no module")


def test_an_image_that_nobody_shows(folder):
    shutil.copy(folder / SVG, folder / "machines/images/four-dots.svg")
    expect(folder, "machines/images/four-dots.svg", 1, "no text of the course shows this image")


@pytest.mark.parametrize(
    ("name", "content_bytes", "part"),
    [
        ("a.png", b"GIF89a", "not image/png"),
        ("a.jpg", b"\x89PNG\r\n\x1a\n", "not image/jpeg"),
        ("a.webp", b"RIFF0000WAVE", "not image/webp"),
        ("a.svg", b"x" * (256 * 1024 + 1), "262144 are allowed"),
        ("a.gif", b"GIF89a", "must end in .svg"),
        ("A b.svg", b"<svg/>", "must be a slug"),
        ("a.svg", b"\xff\xfe\x00", "not XML"),
    ],
)
def test_files_that_are_no_images(folder, name, content_bytes, part):
    (folder / "machines/images" / name).write_bytes(content_bytes)
    assert any(fault[0] == f"machines/images/{name}" and part in fault[2] for fault in found(folder)), found(folder)


@pytest.mark.parametrize(
    ("name", "content_bytes"),
    [("a.png", b"\x89PNG\r\n\x1a\n...."), ("a.jpg", b"\xff\xd8\xff\xe0"), ("a.webp", b"RIFF\n\r\x1a\nWEBP")],
)
def test_images_of_other_types(folder, name, content_bytes):
    (folder / "machines/images" / name).write_bytes(content_bytes)
    edit(folder, LAB, "You need paper", f"![A photo](images/{name})\n\nYou need paper")
    assert found(folder) == []


def test_a_drawing_may_refer_to_its_own_parts(folder):
    edit(
        folder,
        SVG,
        "<circle",
        "<style>.a { fill: url(#g) }</style><g id='p'/><use href='#p'/><rect fill='url(\"#g\")' aria-label='data: 5'/><circle",
    )
    assert found(folder) == []


@pytest.mark.parametrize(
    ("path", "place", "part"),
    [
        ("README.txt", "README.txt", "only folders of courses"),
        ("Big Course/course.yaml", "Big Course", "must be a slug"),
        ("empty/images/x.svg", "empty", "there is no course.yaml"),
        ("machines/notes.txt", "machines/notes.txt", "may lie here"),
        ("machines/more/x.md", "machines/more", "may lie here"),
        ("machines/More Of It.md", "machines/More Of It.md", "must be a slug"),
        ("machines/" + "x" * 65 + ".md", "machines/" + "x" * 65 + ".md", "must be a slug"),
        ("machines/folder.md/x", "machines/folder.md", "not a file"),
    ],
)
def test_files_in_the_wrong_place(folder, path, place, part):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text("x")
    assert any(fault[:2] == (place, 1) and part in fault[2] for fault in found(folder)), found(folder)


def test_hidden_files_are_left_alone(folder):
    (folder / ".DS_Store").write_bytes(b"\0")
    (folder / "machines/.lesson.md.swp").write_bytes(b"\0")
    assert found(folder) == []


def test_a_folder_without_courses(tmp_path):
    expect(tmp_path, ".", 1, "there is no course")


def test_a_pipe_is_not_read(folder):
    (folder / LAB).unlink()
    os.mkfifo(folder / LAB)
    assert (LAB, 1, "not a file") in found(folder)


def test_a_name_that_is_not_utf8(folder):
    (folder / os.fsdecode(b"machines/\xff.md")).write_text("x")
    expect(folder, "machines/\\xff.md", 1, "must be a slug")


def test_all_faults_come_at_once_in_order(folder):
    edit(folder, COURSE, "position: 10", "position: -1")
    edit(folder, LAB, "xp: 30", "xp: 3000")
    edit(folder, LAB, "kind: lab", "kind: labor")
    assert [(path, line) for path, line, _ in found(folder)] == [(COURSE, 10), (LAB, 3), (LAB, 6)]


def test_faults_raise(folder):
    edit(folder, LAB, "xp: 30", "xp: 3000")
    with pytest.raises(content.Faulty) as raised:
        content.read(folder)
    assert [fault.path for fault in raised.value.faults] == [LAB]


def test_what_is_read(folder):
    edit(folder, QUIZ, "    answer: 400\n    tolerance: 10", "    answer: 2.5\n    tolerance: 0.25")
    quiz = content.read(folder).courses[0].lessons["machines-quiz"]
    assert (quiz.pass_score, quiz.max_attempts, quiz.time_limit_minutes) == (70, 3, 10)
    assert [question.kind for question in quiz.questions] == [
        "single",
        "multiple",
        "true_false",
        "ordering",
        "short_text",
        "numeric",
    ]
    assert [option.correct for option in quiz.questions[1].options] == [True, True, False, False]
    assert quiz.questions[1].points == 2
    assert quiz.questions[2].truth is False
    assert quiz.questions[3].items == ("Guess", "Measure the error", "Change the numbers")
    assert quiz.questions[4].accepted == ("error", "the error")
    assert (quiz.questions[5].number, quiz.questions[5].tolerance, quiz.questions[5].unit) == (2.5, 0.25, "tokens")
    assert quiz.body == "\nThree attempts, ten minutes each.\n"
    assert quiz.source == (folder / QUIZ).read_text()


def test_the_author_guide_shows_what_the_linter_accepts(folder):
    guide = (SOURCE.parent.parent / "docs/authors/lessons.md").read_text()
    course, questions = (block.split("```\n")[0] for block in guide.split("```yaml\n")[1:])
    questions = questions.replace("[ … ]", "[{text: a, correct: true}, {text: b}]")
    front_matter = f"title: a\nsummary: b\nminutes: 5\nxp: 10\n{questions}"
    (folder / QUIZ).write_text(f"---\n{front_matter}---\n\nText.\n")
    course = course.replace("[what-is-ai, how-machines-learn]", "[what-is-a-guess, next-word, sort-by-hand]")
    (folder / COURSE).write_text(course.replace("[basics-quiz]", "[machines-quiz, open-quiz]"))
    assert found(folder) == []


def test_a_block_in_a_block(folder):
    edit(folder, LAB, "::: task Sort ten things", ":::: task Sort ten things")
    edit(folder, LAB, "Write ten names", "::: note Paper\n\nAny will do.\n\n:::\n\nWrite ten names")
    edit(folder, LAB, "finds your rule.\n\n:::", "finds your rule.\n\n::::")
    assert found(folder) == []
