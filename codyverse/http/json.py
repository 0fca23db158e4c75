"""The one reader and writer of JSON.

Refused with 400: what is not JSON (also NaN, infinities and lone surrogates, which some parsers let pass), nesting deeper than
MAX_DEPTH, more than MAX_VALUES values, and the character U+0000, which PostgreSQL cannot store.
"""

from __future__ import annotations

from typing import Any

import orjson
from flask import Flask, Request
from flask.json.provider import JSONProvider
from werkzeug.exceptions import UnsupportedMediaType

from codyverse.errors import MalformedInput

MAX_DEPTH = 16
MAX_VALUES = 2_000


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

    Raises MalformedInput, and UnsupportedMediaType for another content type.
    """
    data = request.get_data(cache=True)
    if not data:
        return {}
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("The body must be application/json.")
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MalformedInput(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from None
    _check(value)
    return value


def _check(value: Any) -> None:
    """Walk the value without recursion, so that its depth costs nothing."""
    waiting: list[tuple[Any, str, int]] = [(value, "", 1)]
    seen = 0
    while waiting:
        value, path, depth = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH:
            raise MalformedInput(f"The body is nested deeper than {MAX_DEPTH} levels.", {path: ["Nested too deep."]})
        if seen > MAX_VALUES:
            raise MalformedInput(f"The body holds more than {MAX_VALUES} values.")
        if isinstance(value, str):
            if "\0" in value:
                raise MalformedInput("The character U+0000 is not allowed.", {path or "body": ["Contains U+0000."]})
        elif isinstance(value, dict):
            for name, inner in value.items():
                if "\0" in name:
                    raise MalformedInput("The character U+0000 is not allowed.", {path or "body": ["A name contains U+0000."]})
                waiting.append((inner, f"{path}.{name}".strip("."), depth + 1))
        elif isinstance(value, list):
            waiting.extend((inner, f"{path}.{i}".strip("."), depth + 1) for i, inner in enumerate(value))


def init_app(app: Flask) -> None:
    """Use orjson for every answer of the application."""
    app.json = OrjsonProvider(app)
