"""The one reader and writer of JSON.

Refused with 400: what is not JSON (also NaN, infinities and lone surrogates, which some parsers let pass), nesting deeper than
MAX_DEPTH, more than MAX_VALUES values, two values of one name in an object (of which some parsers take the first and some the
last, so that a proxy would judge another one than we use), and the character U+0000, which PostgreSQL cannot store.
"""

from __future__ import annotations

import re
from typing import Any

import orjson
from flask import Flask, Request
from flask.json.provider import JSONProvider

from codyverse.errors import MalformedInput, UnsupportedMedia
from codyverse.http import request_limits

MAX_DEPTH = 16
MAX_VALUES = 2_000

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"')  # possessive: it never goes back, so its time is linear


class OrjsonProvider(JSONProvider):
    """Flask's JSON through orjson."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """Return JSON text."""
        return orjson.dumps(obj, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Return the value of JSON text; raises ValueError."""
        return orjson.loads(s)


def body(request: Request) -> Any:
    """Return the value of a request's JSON body, an empty object where there is no body.

    Raises MalformedInput, and UnsupportedMedia for another content type.
    """
    data = request_limits.body(request)
    if not data:
        return {}
    if request.mimetype != "application/json" or request.mimetype_params.get("charset", "utf-8").lower() != "utf-8":
        raise UnsupportedMedia("The body must be application/json in UTF-8.", {"Content-Type": ["Must be application/json."]})
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MalformedInput(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from None
    # orjson keeps the last of several values of one name and does not tell. Outside strings every colon stands behind a name.
    if _check(value) != _STRING.sub(b"", data).count(b":"):
        raise MalformedInput("A name occurs twice in one object.", {"body": ["A name occurs twice in one object."]})
    return value


# The way from the body to a value, last name first: texts would be copied for every value below a long name.
Path = tuple["Path", str | int] | None


def _check(value: Any) -> int:
    """Walk the value without recursion, so that its depth costs nothing; returns how many names its objects hold."""
    names = 0
    waiting: list[tuple[Any, Path, int]] = [(value, None, 1)]
    seen = 0
    while waiting:
        value, path, depth = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH:
            raise MalformedInput(f"The body is nested deeper than {MAX_DEPTH} levels.", {_dotted(path): ["Nested too deep."]})
        if isinstance(value, str):
            if "\0" in value:
                raise MalformedInput("The character U+0000 is not allowed.", {_dotted(path): ["Contains U+0000."]})
        elif isinstance(value, dict | list):
            if seen + len(waiting) + len(value) > MAX_VALUES:
                raise MalformedInput(f"The body holds more than {MAX_VALUES} values.", {"body": ["Too many values."]})
            if isinstance(value, dict):
                names += len(value)
                if any("\0" in name for name in value):
                    raise MalformedInput("The character U+0000 is not allowed.", {_dotted(path): ["A name contains U+0000."]})
                waiting.extend((inner, (path, name), depth + 1) for name, inner in value.items())
            else:
                waiting.extend((inner, (path, i), depth + 1) for i, inner in enumerate(value))
    return names


def _dotted(path: Path) -> str:
    parts: list[str] = []
    while path is not None:
        path, part = path
        parts.append(str(part))
    return ".".join(reversed(parts)) or "body"


def init_app(app: Flask) -> None:
    """Use orjson for every answer of the application."""
    app.json = OrjsonProvider(app)
