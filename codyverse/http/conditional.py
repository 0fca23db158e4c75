"""ETag on everything that is read: 304 when the client has it already."""

from __future__ import annotations

from flask import Flask, Response, request

_CONDITIONS = frozenset({"HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE", "HTTP_RANGE", "HTTP_IF_RANGE"})


def evaluate(response: Response) -> None:
    """Answer 304, or a part, if that is what the client asked for."""
    if not _CONDITIONS.isdisjoint(request.environ):
        response.make_conditional(request)


def _add_etag(response: Response) -> Response:
    if request.method in ("GET", "HEAD") and response.status_code == 200 and not response.is_streamed:
        if not response.get_etag()[0]:
            response.add_etag()
        evaluate(response)
    return response


def init_app(app: Flask) -> None:
    """Answer conditional requests."""
    app.after_request(_add_etag)
