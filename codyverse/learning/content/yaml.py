"""A strict, small YAML: mappings, lists and plain values, each with its line.

Built from PyYAML's events and without recursion, so that no nesting and no alias can exhaust anything. Refused: anchors, aliases,
tags, several documents, a key that stands twice. A bare word that YAML 1.1 takes for something else (yes, 1:30,
2026-11-24) becomes `Ambiguous`, to be put in quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

import yaml

from codyverse.learning.content.faults import File

MAX_DEPTH = 10

_RESOLVERS = yaml.SafeLoader.yaml_implicit_resolvers
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,14})")
_FLOAT = re.compile(r"[-+]?[0-9]{1,15}\.[0-9]{1,15}")
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """A bare word that is neither clearly text nor clearly a number."""

    text: str


Value: TypeAlias = "bool | int | float | str | Ambiguous | list[Node] | dict[str, Node] | None"


@dataclass(slots=True)
class Node:
    """A value. `line` is where it stands (in a mapping: its key), `text_line` where the first line of its text stands."""

    line: int
    text_line: int
    value: Value


class _Refused(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def read(text: str, file: File, first_line: int = 1) -> Node | None:
    """Return the document's root, None when it cannot be read, which is then a fault. `first_line`: of the text in its file."""
    try:
        return _build(text, first_line)
    except _Refused as error:
        file.fault(error.line, error.message)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        last = text.rstrip("\n").count("\n")
        line = first_line + (min(mark.line, last) if mark else _line_at(text, getattr(error, "position", 0)))
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
        file.fault(line, f"not YAML: {problem}")
    return None


def _line_at(text: str, position: object) -> int:
    return text.count("\n", 0, position) if isinstance(position, int) else 0


@dataclass(slots=True)
class _Open:
    """A mapping or list that is being filled; `key` waits for its value."""

    node: Node
    key: str | None = None
    key_line: int = 0


def _build(text: str, first_line: int) -> Node:
    root: Node | None = None
    stack: list[_Open] = []
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = first_line + (event.start_mark.line if event.start_mark else 0)
        if isinstance(event, yaml.DocumentStartEvent) and root is not None:
            raise _Refused(line, "a second YAML document begins here; one is allowed")
        if isinstance(event, yaml.CollectionEndEvent):
            stack.pop()
        if not isinstance(event, yaml.NodeEvent):
            continue
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _Refused(line, "YAML anchors and aliases (& and *) are not allowed; put text that begins so in quotes")
        if getattr(event, "tag", None) is not None:
            raise _Refused(line, "YAML tags (!) are not allowed; put text that begins so in quotes")
        node = _node(event, line)
        if stack:
            _add(stack[-1], node)
        else:
            root = node
        if isinstance(event, yaml.CollectionStartEvent):
            stack.append(_Open(node))
            if len(stack) > MAX_DEPTH:
                raise _Refused(line, f"nested deeper than {MAX_DEPTH} levels")
    return root or Node(first_line, first_line, None)


def _node(event: yaml.NodeEvent, line: int) -> Node:
    if isinstance(event, yaml.MappingStartEvent):
        return Node(line, line, {})
    if isinstance(event, yaml.SequenceStartEvent):
        return Node(line, line, [])
    assert isinstance(event, yaml.ScalarEvent)
    if _FORBIDDEN.search(event.value):
        raise _Refused(line, "control characters are not allowed, not as escapes either")
    block = event.style in ("|", ">")
    return Node(line, line + 1 if block else line, _scalar(event.value) if event.implicit[0] else event.value)


def _scalar(text: str) -> Value:
    """Return what a bare word means."""
    if text in ("true", "false"):
        return text == "true"
    if text in ("", "~", "null"):
        return None
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if any(regexp.match(text) for _, regexp in _RESOLVERS.get(text[0], [])):
        return Ambiguous(text)
    return text


def _add(parent: _Open, node: Node) -> None:
    value = parent.node.value
    if isinstance(value, list):
        value.append(node)
        return
    assert isinstance(value, dict)
    if parent.key is None:
        if isinstance(node.value, (list, dict)):
            raise _Refused(node.line, "a key must be a word")
        parent.key = node.value.text if isinstance(node.value, Ambiguous) else str(node.value)
        parent.key_line = node.line
        if parent.key in value:
            raise _Refused(node.line, f"the key {parent.key!r} stands twice, first in line {value[parent.key].line}")
        return
    node.line = parent.key_line
    value[parent.key] = node
    parent.key = None
