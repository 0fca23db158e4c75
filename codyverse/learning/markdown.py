"""From an author's Markdown to the HTML that learners read: CommonMark with tables and our blocks, no raw HTML.

Nothing needs an inline style or a script, so the pages can forbid both. The result is sanitised against a list of what we make
ourselves: a mistake in here, or in a package, must not become a hole in a page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.token import Token
from mdit_py_plugins.container import container_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES
from pygments.util import ClassNotFound

BOXES = ("example", "note", "warning", "task")
BLOCKS = (*BOXES, "reveal")

_SLUG = "[a-z0-9]+(?:-[a-z0-9]+)*"
_LESSON = re.compile(rf"(?:\.\./({_SLUG})/)?({_SLUG})\.md(?:#(.+))?")
_IMAGE = re.compile(rf"images/({_SLUG}\.(?:svg|png|jpg|webp))")
_NOT_IN_IDS = re.compile(r"[\W_]+")

# The ids of headings begin with this, so that no author's heading takes an id of the page around it.
_ANCHOR_PREFIX = "s-"


@dataclass(frozen=True, slots=True)
class LessonLink:
    """Where a relative link leads: a lesson, and a heading in it if one was named."""

    course: str
    lesson: str
    anchor: str | None


def lesson_link(url: str, course: str) -> LessonLink | None:
    """Return the lesson that a link in a text of the course means, None when it is not a link to a lesson."""
    match = _LESSON.fullmatch(url)
    return LessonLink(match[1] or course, match[2], match[3]) if match else None


def image_name(url: str) -> str | None:
    """Return the name of the course's image that a text shows, None when the address is not one of the course's images."""
    match = _IMAGE.fullmatch(url)
    return match[1] if match else None


@dataclass(frozen=True, slots=True)
class Resolver:
    """Turns the addresses that authors write in a course's texts into those of the site."""

    course: str
    lesson_ids: Mapping[tuple[str, str], int]  # by slug of the course and of the lesson
    images: Mapping[str, str]  # the digest of each of the course's images, by its name

    def link(self, url: str) -> str | None:
        """Return the address that a link gets, None when it leads nowhere."""
        if url.startswith("https://"):
            return url
        if url.startswith("#"):
            return f"#{_ANCHOR_PREFIX}{url[1:]}"
        found = lesson_link(url, self.course)
        lesson_id = self.lesson_ids.get((found.course, found.lesson)) if found else None
        if found is None or lesson_id is None:
            return None
        return f"/lessons/{lesson_id}" + (f"#{_ANCHOR_PREFIX}{found.anchor}" if found.anchor else "")

    def image(self, url: str) -> str | None:
        """Return the address that an image gets, None for anything but one of the course's own."""
        name = image_name(url) or ""
        return f"/media/{self.course}/{self.images[name]}/{name}" if name in self.images else None


def render(text: str, resolver: Resolver) -> str:
    """Return the HTML of a text."""
    return _sanitised(_markdown.render(text, {"resolver": resolver}))


def inline(text: str, resolver: Resolver) -> str:
    """Return the HTML of a question or an option: without blocks, which a label may not hold, so line breaks part paragraphs."""
    env = {"resolver": resolver}
    return _sanitised("<br><br>".join(_markdown.renderInline(part.strip(), env) for part in text.strip().split("\n\n")))


def heading_ids(tokens: Sequence[Token]) -> Iterator[tuple[Token, str]]:
    """Yield each heading's opening token with the name that links use; equal headings are numbered from the second on."""
    seen: dict[str, int] = {}
    for token, inside in pairwise(tokens):
        if token.type == "heading_open":
            words = "".join(child.content for child in inside.children or [] if child.type in ("text", "code_inline"))
            name = _NOT_IN_IDS.sub("-", words.casefold()).strip("-") or "section"
            seen[name] = seen.get(name, 0) + 1
            yield token, name if seen[name] == 1 else f"{name}-{seen[name]}"


def block_title(opening: Token) -> str:
    """Return the title of one of our blocks, as it was written behind its name."""
    return opening.info.strip().partition(" ")[2].strip()


def knows_language(name: str) -> bool:
    """Say whether code in this language can be coloured."""
    try:
        get_lexer_by_name(name)
    except ClassNotFound:
        return False
    return True


def parser(*, raw_html: bool = False) -> MarkdownIt:
    """Return a parser of our Markdown; with `raw_html` it finds the HTML that the others take for text."""
    made = MarkdownIt("commonmark", {"html": raw_html}).enable("table")
    for name in BLOCKS:
        container_plugin(made, name, render=_block)
    return made


# The functions below have the signature of markdown-it's render rules: renderer, tokens, index, options, environment.


def _block(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    name = token.type.split("_")[1]
    reveal = name == "reveal"
    if token.nesting < 0:
        return "</details>\n" if reveal else "</div>\n"
    title = _markdown.renderInline(block_title(token) or name.capitalize(), env)
    if reveal:
        return f'<details class="reveal"><summary>{title}</summary>\n'
    return f'<div class="box box-{name}"><p class="box-title">{title}</p>\n'


def _fence(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    name = (token.info.split() or ["text"])[0]
    lexer = get_lexer_by_name(name if knows_language(name) else "text", stripnl=False)
    return f'<pre class="code" tabindex="0"><code>{highlight(token.content, lexer, _CODE)}</code></pre>\n'


def _heading_open(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    if "headings" not in env:
        env["headings"] = {id(token): name for token, name in heading_ids(tokens)}
    token = tokens[index]
    return f'<{token.tag} id="{_ANCHOR_PREFIX}{env["headings"][id(token)]}">'


def _link_open(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    address = env["resolver"].link(str(tokens[index].attrGet("href") or ""))
    if address is None:
        return "<a>"
    rel = ' rel="noopener noreferrer"' if address.startswith("https://") else ""
    return f'<a href="{escapeHtml(address)}"{rel}>'


def _image(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    text = renderer.renderInlineAsText(token.children or [], options, env)
    address = env["resolver"].image(str(token.attrGet("src") or ""))
    if address is None:
        return escapeHtml(text)
    return f'<img src="{escapeHtml(address)}" alt="{escapeHtml(text)}" loading="lazy">'


def _table_open(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    # A wide table scrolls in its own box; with a tabindex the keyboard reaches it.
    return '<div class="table" tabindex="0"><table>\n'


def _table_close(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    return "</table></div>\n"


def _cell_open(renderer: Any, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    # markdown-it aligns cells by an inline style, which the pages forbid.
    token = tokens[index]
    side = str(token.attrGet("style") or "").removeprefix("text-align:")
    scope = ' scope="col"' if token.tag == "th" else ""
    return f"<{token.tag}{scope}" + (f' class="align-{side}">' if side in ("left", "center", "right") else ">")


_CODE: HtmlFormatter[str] = HtmlFormatter(nowrap=True)

_markdown = parser()
for _name, _rule in {
    "fence": _fence,
    "heading_open": _heading_open,
    "link_open": _link_open,
    "image": _image,
    "table_open": _table_open,
    "table_close": _table_close,
    "th_open": _cell_open,
    "td_open": _cell_open,
}.items():
    _markdown.add_render_rule(_name, _rule)


_ALIGNED = {"align-left", "align-center", "align-right"}
_cleaner = nh3.Cleaner(
    tags={
        *("a", "blockquote", "br", "code", "em", "hr", "img", "p", "pre", "span", "strong"),
        *("div", "details", "summary", "h1", "h2", "h3", "h4", "h5", "h6", "li", "ol", "ul"),
        *("table", "tbody", "td", "th", "thead", "tr"),
    },
    attributes={"a": {"href"}, "img": {"src", "alt"}, "ol": {"start"}, **{f"h{level}": {"id"} for level in range(1, 7)}},
    tag_attribute_values={
        "a": {"rel": {"noopener noreferrer"}},
        "div": {"tabindex": {"0"}},
        "img": {"loading": {"lazy"}},
        "pre": {"tabindex": {"0"}},
        "th": {"scope": {"col"}},
    },
    allowed_classes={
        "details": {"reveal"},
        "div": {"table", "box", *(f"box-{name}" for name in BOXES)},
        "p": {"box-title"},
        "pre": {"code"},
        "span": {name for name in STANDARD_TYPES.values() if name},
        "td": _ALIGNED,
        "th": _ALIGNED,
    },
    url_schemes={"https"},
    link_rel=None,  # it would mark the links within the site too
)


def _sanitised(html: str) -> str:
    return _cleaner.clean(html)
