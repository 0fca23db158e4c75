"""What no request may exceed, whatever it asks for. The size of its head is limited in gunicorn.conf.py.

- A body has `max_body_bytes` at the most, except where a view is marked with `max_body`. Chunked ones are cut there as well.
- A form has at the most MAX_FORM_FIELDS fields and MAX_FORM_BYTES besides its files.
- A body is not compressed: what a few bytes unfold to would be known only after the memory is taken.
- What a client sends with a request that is refused is read all the same, up to MAX_DISCARDED_BYTES.
- The query and a form are UTF-8; Werkzeug would put U+FFFD for what is not, and two different inputs would become one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from flask import Flask, Request, Response, current_app, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import RequestEntityTooLarge

from codyverse.errors import MalformedInput, TooLarge, UnsupportedMedia

MAX_FORM_FIELDS = 100
MAX_FORM_BYTES = 64 * 1024
MAX_DISCARDED_BYTES = 8 * 1024 * 1024  # photos of a phone have 3 to 5 MB

View = TypeVar("View", bound=Callable[..., Any])


def max_body(size_bytes: int) -> Callable[[View], View]:
    """Let a view take a larger body than the others."""

    def mark(view: View) -> View:
        view.max_body_bytes = size_bytes  # type: ignore[attr-defined]
        return view

    return mark


def body(request: Request) -> bytes:
    """Return the body. Raises RequestEntityTooLarge, and MalformedInput for one that ends early or is chunked wrongly.

    Werkzeug cuts a chunked body at the limit as if it ended there, so one that reaches the limit is taken for one that goes on.
    """
    try:
        content = request.get_data(cache=True)
    except (ParseException, OSError):
        raise MalformedInput("The body cannot be read.", {"body": ["Ends early, or is chunked wrongly."]}) from None
    if len(content) < (request.content_length or 0):
        raise MalformedInput("The body ends early.", {"body": ["Shorter than Content-Length."]})
    if request.content_length is None and len(content) >= (request.max_content_length or 0) > 0:
        raise RequestEntityTooLarge
    return content


def _check() -> None:
    # Set here and not in the view: whoever looks at the body before the view does would fix the general limit.
    view = current_app.view_functions.get(request.endpoint or "")
    request.max_content_length = getattr(view, "max_body_bytes", None)
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMedia("The body must not be compressed.", {"Content-Encoding": ["Not accepted."]})
    _check_fields("query", request.query_string)
    if request.mimetype == "application/x-www-form-urlencoded":  # Werkzeug limits only the other kind of form
        request.max_content_length = MAX_FORM_BYTES
        form = body(request)
        if form.count(b"&") >= MAX_FORM_FIELDS:
            raise TooLarge("The form has too many fields.", {"body": [f"Must not have more than {MAX_FORM_FIELDS} fields."]})
        _check_fields("form", form)


def _check_fields(where: str, encoded: bytes) -> None:
    for field in encoded.split(b"&"):
        try:
            unquote_to_bytes(field).decode()
        except UnicodeDecodeError:
            name = field.partition(b"=")[0].decode("ascii", "replace")
            raise MalformedInput(f"The {where} is not UTF-8.", {name: ["Not UTF-8."]}) from None


def _read_rest(response: Response) -> Response:
    # A connection that is closed with unread bytes is reset, and a browser would tell "network error" instead of what is wrong.
    announced = request.content_length or 0
    ends = request.environ.get("wsgi.input_terminated", False)  # else a read beyond the end would wait for ever
    if response.status_code >= 400 and ends and announced <= MAX_DISCARDED_BYTES:
        with suppress(OSError, ParseException):  # the client is gone, or sends what nobody can read
            while announced > 0 and request.environ["wsgi.input"].read(64 * 1024):
                pass
    return response


def init_app(app: Flask) -> None:
    """Check every request before anything is read from its body."""
    app.config.update(MAX_FORM_PARTS=MAX_FORM_FIELDS, MAX_FORM_MEMORY_SIZE=MAX_FORM_BYTES)
    app.before_request(_check)
    app.after_request(_read_rest)
