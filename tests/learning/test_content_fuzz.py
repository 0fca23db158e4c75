"""Whatever bytes a file holds, the linter answers with faults, never with an exception."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codyverse.learning import content
from codyverse.learning.content import yaml
from codyverse.learning.content.faults import File

pytestmark = pytest.mark.no_cover  # tracing makes the many examples twice as slow, and other tests come by the same lines

SOURCE = Path(__file__).parent.parent / "content"
FILES = ["course.yaml", "what-is-a-guess.md", "machines-quiz.md", "images/three-dots.svg"]

WORDS = [
    "---",
    "...",
    ": ",
    "- ",
    "? ",
    "&a ",
    "*a",
    "!x ",
    "|\n",
    ">\n ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "'",
    '"',
    "#",
    "%",
    "@",
    "\n",
    "\n  ",
]
KEYS = [
    "title",
    "kind",
    "quiz",
    "questions",
    "options",
    "text",
    "answer",
    "modules",
    "lessons",
    "id",
    "1",
    "1.5",
    "true",
    "~",
    "\\0",
]
MARKS = [
    ":::",
    "::: note x",
    "::: reveal",
    "```",
    "    ",
    "> ",
    "1. ",
    "## ",
    "<b>",
    "<!--",
    "[a](b)",
    "![",
    "](",
    "|",
    "---",
    "&#0;",
    "\\",
]
TEXT = st.lists(st.sampled_from([*WORDS, *KEYS, *MARKS]) | st.text(max_size=3), max_size=40).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(SOURCE, tmp_path_factory.mktemp("fuzz") / "content")


def lint_with(folder: Path, name: str, data: bytes) -> list[content.Fault]:
    path = folder / "machines" / name
    path.write_bytes(data)
    try:
        faults = content.lint(folder)
    finally:
        shutil.copy(SOURCE / "machines" / name, path)
    lines = data.count(b"\n") + data.count(b"\r") + 1  # to an XML parser a lone CR ends a line too
    for fault in faults:
        assert 1 <= fault.line <= lines or fault.path != f"machines/{name}", fault
    return faults


@given(name=st.sampled_from(FILES), data=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes(folder, name, data):
    assert lint_with(folder, name, data)


@given(name=st.sampled_from(FILES), text=TEXT)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text(folder, name, text):
    assert lint_with(folder, name, text.encode(errors="surrogatepass"))


@given(text=TEXT)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_front_matter_and_body(folder, text):
    lint_with(
        folder, "machines-quiz.md", f"---\nkind: quiz\nquestions:\n  - {text}\n---\n{text}\n".encode(errors="surrogatepass")
    )


@given(value=VALUES, key=st.sampled_from(["questions", "key_concepts", "title", "xp", "kind"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_of_a_key(folder, value, key):
    import yaml as pyyaml

    written = pyyaml.safe_dump({"kind": "quiz", key: value}, allow_unicode=True)
    lint_with(folder, "machines-quiz.md", f"---\n{written}---\n".encode(errors="surrogatepass"))


@given(name=st.sampled_from(FILES), data=st.binary(max_size=60), place=st.integers(0, 3000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file(folder, name, data, place):
    whole = (SOURCE / "machines" / name).read_bytes()
    at = place % len(whole)
    lint_with(folder, name, whole[:at] + data + whole[at + len(data) :])


@pytest.mark.parametrize(
    "text", ["[" * 50_000, "- " * 50_000, "{a: " * 50_000, "? " * 50_000, "a:\n" + "".join(f"{' ' * n}- \n" for n in range(2000))]
)
def test_deep_nesting_costs_nothing(text):
    faults: list[content.Fault] = []
    assert yaml.read(text, File("a.md", faults)) is None
    assert len(faults) == 1


@pytest.mark.parametrize("text", ["> " * 20_000, "- " * 20_000, "[" * 5_000, "*a" * 20_000, "`" * 20_000, "::: note a\n" * 5_000])
def test_deep_markdown_is_read(folder, text):
    assert lint_with(folder, "sort-by-hand.md", f"---\ntitle: a\n---\n{text}".encode())
