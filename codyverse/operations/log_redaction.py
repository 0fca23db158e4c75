"""What no log may hold: passwords, tokens, cookies, e-mail addresses, names and texts of learners.

Values are left out by the names of their fields. In texts, e-mail addresses, secrets and the queries of addresses are left out by
what they look like. A person's name or an answer looks like nothing in particular: no text of an event may be made of one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

LEFT_OUT = "[left out]"
DEEPEST = 4  # of values within values

_FIELD = re.compile(
    r"""pass(word|wd|phrase)|secret|token|cookie|authori[sz]ation|credential|api_?key|csrf|e_?mail|birth|avatar
    |^(first|last|full|display|user|learner)?_?name$|^(login|user|headers?|query|form|json|body|text|content|answers?|question)$
    |^message_text$""",
    re.IGNORECASE | re.VERBOSE,
)
# Each of these begins where a word does, so that a long text is looked through once.
_PART = r"[^\s\"'<>(),;:=\\/?&@]"
_ADDRESS = rf"(?<!{_PART}){_PART}+(?:@|%40){_PART}+"
_RANDOM = r"(?<![\w-])(?=[\w-]*[a-z])(?=[\w-]*[A-Z])(?=[\w-]*\d)[\w-]{32,}"
_TEXT = re.compile(
    rf"""(?P<login>(?<=://)[^\s/@]+@)               # before a host: scheme://user:password@host
    |(?P<bearer>\b(?:Bearer|Basic)\s+)\S+
    |(?P<query>(?<=[\w/])\?)(?=[^\s?]*=)[^\s"']+   # behind a path
    |\bcv_[\w-]{{8,}}                              # a token of ours
    |{_RANDOM}                                     # random, as those of sessions are
    |{_ADDRESS}""",
    re.VERBOSE,
)


def text(value: str) -> str:
    """Return a text without what looks like an e-mail address, a secret or the query of an address."""
    return _TEXT.sub(_left_out, value)


def fields(values: Mapping[str, Any], depth: int = DEEPEST) -> dict[str, Any]:
    """Return what may be told of named values."""
    return {name: LEFT_OUT if _FIELD.search(name) else told(value, depth) for name, value in values.items()}


def told(value: Any, depth: int = DEEPEST) -> Any:
    """Return what may be told of a value: of objects of any other kind than JSON knows, the kind."""
    if isinstance(value, str):
        return text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth and isinstance(value, Mapping):
        return fields({str(name): inner for name, inner in value.items()}, depth - 1)
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [told(inner, depth - 1) for inner in value]
    return type(value).__name__


def _left_out(found: re.Match[str]) -> str:
    return f"{found['bearer'] or found['query'] or ''}{LEFT_OUT}{'@' if found['login'] else ''}"
