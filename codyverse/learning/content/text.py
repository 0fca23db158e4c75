"""What may stand in Markdown, and what a text holds that the rest of the catalogue must fit."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import unquote

from markdown_it.token import Token

from codyverse.learning import markdown
from codyverse.learning.content.faults import File
from codyverse.learning.content.yaml import Node

# A second parser, which finds what the renderer takes for plain text: raw HTML and links with any scheme.
_parser = markdown.parser(raw_html=True)
_parser.validateLink = lambda _: True  # type: ignore[method-assign,assignment]

_BLOCK_LINE = re.compile(r":::+\s*(\S*)")
_BLOCK_END = re.compile(r"[\s>]*:::+\s*")
_FENCE_END = re.compile(r"[\s>]*(```+|~~~+)\s*")
_SITE = re.compile(r"https://[^\s/?#]+\.[^\s/?#]+(?:[/?#]\S*)?")
_WORD = re.compile(r"\S*\w\S*")


@dataclass(slots=True)
class Found:
    """What was found in a text, or in several of one file."""

    words: int = 0  # of running text, without code
    blocks: Counter[str] = field(default_factory=Counter)
    anchors: set[str] = field(default_factory=set)
    anchor_links: list[tuple[int, str]] = field(default_factory=list)  # (line, name) within the text
    lesson_links: list[tuple[int, markdown.LessonLink]] = field(default_factory=list)
    images: list[tuple[int, str]] = field(default_factory=list)


def check(text: str, first_line: int, file: File, course: str, found: Found) -> None:
    """Note the faults of a text, and in `found` what it holds; `first_line` is its line in the file."""
    _Text(file, course, found, first_line, text.split("\n")).blocks(_parser.parse(text))


def check_inline(node: Node, text: str, name: str, file: File, course: str, found: Found) -> None:
    """Note the faults of a text without blocks; `name` is how faults call it."""
    if "```" in text:
        file.fault(node.line, f"{name} cannot hold a block of code; use `code` in the line")
    line = node.text_line
    for paragraph in text.split("\n\n"):
        for token in _parser.parseInline(paragraph):
            _Text(file, course, found, line, []).inline(token, 0)
        line += paragraph.count("\n") + 2


@dataclass(slots=True)
class _Text:
    file: File
    course: str
    found: Found
    first_line: int
    lines: list[str]

    def blocks(self, tokens: list[Token]) -> None:
        level = 1
        at = 0
        for token in tokens:
            at = token.map[0] if token.map else at
            name = token.type.removeprefix("container_").removesuffix("_open")
            if name in markdown.BLOCKS and token.nesting == 1:
                self.block(name, token, at)
            elif token.type == "inline":
                self.inline(token, at)
            elif token.type == "heading_open":
                new = int(token.tag[1])
                if new == 1:
                    self.fault(at, "headings begin at `##`: the title is the page's only `#`")
                elif new > level + 1:
                    self.fault(at, f"a heading of level {new} stands below one of level {level}; use `{'#' * (level + 1)}`")
                level = max(new, 2)
            elif token.type == "fence":
                self.fence(token, at)
            elif token.type == "code_block":
                self.fault(at, "text indented by four spaces becomes code; use a fence with a language, such as ```text")
            elif token.type == "html_block":
                self.fault(at, "raw HTML is not allowed")
        self.found.anchors.update(name for _, name in markdown.heading_ids(tokens))

    def block(self, name: str, token: Token, at: int) -> None:
        self.found.blocks[name] += 1
        title = markdown.block_title(token)
        if not title:
            self.fault(at, f"`::: {name}` has no title")
        for part in _parser.parseInline(title):
            self.inline(part, at)
        end = token.map[1] if token.map else 0
        if end >= len(self.lines) or not _BLOCK_END.fullmatch(self.lines[end]):
            self.fault(at, f"`::: {name}` is not closed by `:::`")

    def fence(self, token: Token, at: int) -> None:
        language = (token.info.split() or [""])[0]
        if not language:
            self.fault(at, "the code names no language; write ```text when there is none")
        elif not markdown.knows_language(language):
            self.fault(at, f"nobody knows how to colour the language `{language[:40]}`; write ```text")
        end = token.map[1] - 1 if token.map else 0
        if end <= at or end >= len(self.lines) or not _FENCE_END.fullmatch(self.lines[end]):
            self.fault(at, "the code is not closed by ```")

    def inline(self, token: Token, at: int) -> None:
        for index, line in enumerate(token.content.split("\n")):
            match = _BLOCK_LINE.match(line.strip())
            if match:
                near = difflib.get_close_matches(match[1], markdown.BLOCKS, n=1)
                what = f"unknown block `{match[1][:40]}`" if match[1] else "`:::` closes no block"
                self.fault(at + index, what + (f"; did you mean `{near[0]}`?" if near else ""))
        text = ""
        html_at = None
        children = token.children or []
        for index, child in enumerate(children):
            if child.type in ("softbreak", "hardbreak"):
                at += 1
                text += " "
            elif child.type == "text":
                text += child.content
            elif child.type == "html_inline":
                if at != html_at:  # the closing tag needs no fault of its own
                    self.fault(at, f"raw HTML is not allowed; show it in backticks: `{child.content.partition(chr(10))[0][:40]}`")
                html_at = at
            elif child.type == "image":
                self.image(child, at)
            elif child.type == "link_open":
                if children[index + 1].type == "link_close":
                    self.fault(at, "a link without text")
                self.link(str(child.attrGet("href") or ""), at)
        self.found.words += len(_WORD.findall(text))

    def link(self, url: str, at: int) -> None:
        lesson = markdown.lesson_link(url, self.course)
        if lesson:
            self.found.lesson_links.append((self.first_line + at, lesson))
        elif url.startswith("#"):
            self.found.anchor_links.append((self.first_line + at, unquote(url[1:])))
        elif not _SITE.fullmatch(url):
            self.fault(at, f"a link must be https:// or a lesson's file such as other-lesson.md, not `{url[:80]}`")

    def image(self, token: Token, at: int) -> None:
        url = str(token.attrGet("src") or "")
        name = markdown.image_name(url)
        if name:
            self.found.images.append((self.first_line + at, name))
        else:
            self.fault(at, f"an image must be a file such as images/loop.svg, not `{url[:80]}`")
        if not token.content.strip():
            self.fault(at, "the image has no text that says what it shows: ![text](…)")

    def fault(self, at: int, message: str) -> None:
        self.file.fault(self.first_line + at, message)
