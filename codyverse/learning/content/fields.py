"""Reading a mapping of YAML key by key, noting every fault with its line.

A reader returns a usable stand-in after a fault, so that one pass finds all of them; a catalogue with a fault is thrown
away anyway.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from codyverse.learning.content.faults import File
from codyverse.learning.content.yaml import Ambiguous, Node

SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
LONGEST_SLUG = 64
LARGEST_NUMBER = 10**12


def is_slug(text: str) -> bool:
    """Say whether a text is lower case letters, digits and single hyphens, and short enough."""
    return len(text) <= LONGEST_SLUG and SLUG.fullmatch(text) is not None


def kind_of(value: Any) -> str:
    """Return what a value is, in words for authors."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, (str, Ambiguous)):
        return "text"
    return "a list" if isinstance(value, list) else "a mapping"


class Fields:
    """The keys of one mapping. `close` when all were read: what nobody asked for is unknown."""

    def __init__(self, node: Node, file: File, what: str) -> None:
        self.file = file
        self.line = node.line
        self._what = what
        self._nodes: dict[str, Node] = {}
        self._asked: list[str] = []
        if isinstance(node.value, dict):
            self._nodes = node.value
        else:
            file.fault(node.line, f"{what} must be a mapping of keys to values, not {kind_of(node.value)}")
            self._what = ""  # its keys need not be called missing too

    def node(self, key: str, required: bool = True) -> Node | None:
        """Return a key's node, None without it; missing is a fault unless the key is optional."""
        self._asked.append(key)
        node = self._nodes.get(key)
        if node is None and required and self._what:
            self.file.fault(self.line, f"{self._what} has no `{key}`")
        return node

    def line_of(self, key: str) -> int:
        """Return the line of a key, the mapping's when it is missing."""
        return self._nodes[key].line if key in self._nodes else self.line

    def text(self, key: str, longest: int, required: bool = True, one_line: bool = True) -> str:
        """Return a text, empty without it."""
        node = self.node(key, required)
        return self.text_of(node, f"`{key}`", longest, one_line) if node else ""

    def text_of(self, node: Node, name: str, longest: int, one_line: bool = True) -> str:
        """Return a node's text; `name` is how faults call it."""
        value = node.value
        if isinstance(value, (Ambiguous, bool, int, float)):
            self.file.fault(node.line, f"{name} must be text: put it in quotes")
            return ""
        if not isinstance(value, str):
            self.file.fault(node.line, f"{name} must be text, not {kind_of(value)}")
            return ""
        text = value.strip() if one_line else value
        if not text.strip():
            self.file.fault(node.line, f"{name} is empty")
        elif len(text) > longest:
            self.file.fault(node.line, f"{name} has {len(text)} characters, {longest} are allowed")
        elif one_line and "\n" in text:
            self.file.fault(node.line, f"{name} must be one line")
        return text

    def slug(self, key: str) -> str:
        """Return an id."""
        node = self.node(key)
        if node is None:
            return ""
        value = node.value
        if not isinstance(value, str) or not is_slug(value):
            self.file.fault(
                node.line,
                f"`{key}` must be text of lower case letters, digits and single hyphens, at most {LONGEST_SLUG}",
            )
            return ""
        return value

    def choice(self, key: str, choices: Sequence[str]) -> str:
        """Return one of the choices, empty after a fault."""
        node = self.node(key)
        if node is None:
            return ""
        if isinstance(node.value, str) and node.value in choices:
            return node.value
        written = node.value if isinstance(node.value, str) else ""
        self.file.fault(node.line, f"`{key}` must be one of {', '.join(choices)}" + _nearest(written, choices))
        return ""

    def boolean(self, key: str, required: bool = True) -> bool | None:
        """Return true or false, None without it."""
        node = self.node(key, required)
        if node is None:
            return None
        if isinstance(node.value, bool):
            return node.value
        self.file.fault(node.line, f"`{key}` must be true or false")
        return None

    def integer(self, key: str, low: int, high: int, default: int | None = None, required: bool = True) -> int | None:
        """Return a whole number within bounds, the default without it."""
        node = self.node(key, required)
        if node is None:
            return default
        if isinstance(node.value, int) and not isinstance(node.value, bool) and low <= node.value <= high:
            return node.value
        self.file.fault(node.line, f"`{key}` must be a whole number from {low} to {high}")
        return default

    def number(self, key: str, low: float, default: float = 0, required: bool = True) -> int | float:
        """Return a number, as it was written a whole one or not."""
        node = self.node(key, required)
        if node is None:
            return default
        value = node.value
        if isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= LARGEST_NUMBER:
            return value
        bounds = f" from {low} up" if low > -LARGEST_NUMBER else ""
        self.file.fault(node.line, f"`{key}` must be a number{bounds}, such as 12 or 0.5")
        return default

    def items(self, key: str, low: int, high: int, required: bool = True) -> Iterator[Node]:
        """Yield the nodes of a list."""
        node = self.node(key, required)
        if node is None:
            return
        if not isinstance(node.value, list):
            self.file.fault(node.line, f"`{key}` must be a list, not {kind_of(node.value)}")
            return
        if not low <= len(node.value) <= high:
            self.file.fault(node.line, f"`{key}` has {len(node.value)} entries, {low} to {high} are allowed")
        yield from node.value

    def close(self) -> None:
        """Note the unknown keys."""
        for key, node in self._nodes.items():
            if key not in self._asked:
                self.file.fault(node.line, f"unknown key `{key[:60]}` in {self._what}" + _nearest(key, self._asked))


def _nearest(written: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(written[:60], known, n=1)
    return f"; did you mean `{found[0]}`?" if found else ""
