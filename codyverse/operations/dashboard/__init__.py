"""`/operations`: how the platform does, for operators (report row R27). Complete without scripts; with them it is live.

/operations            the page; `?span=week` and `quarter` show more of the past
/operations/history    the same past for the charts, as JSON
/operations/live       what changes, as server-sent events
/operations/docs/alerts.md   what to do when an alert fires, and the other documents beside it
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

from flask import Blueprint, Flask, Response, current_app, jsonify, render_template, request, stream_with_context

from codyverse.errors import NotFound
from codyverse.operations import components
from codyverse.operations.dashboard import canary, handbook, passes, units
from codyverse.operations.dashboard.board import DAY, SPANS, Board, Kept, Span
from codyverse.operations.dashboard.stream import Streams
from config import Settings

NOT_KEPT = {"Cache-Control": "no-store"}
SECTIONS = ("headline", "targets", "alerts", "workers", "cache", "resources", "statements", "canary")  # a template each
NAME = "codyverse.dashboard"


class _Dashboard:
    """What the three addresses need."""

    def __init__(self, app: Flask) -> None:
        settings: Settings = app.config["CODYVERSE"]
        parts = components.of(app)
        self.board = Board(app)
        self.streams = Streams(settings.operations_stream_s, lambda: parts.draining)
        self._live = Kept(1.0, self._render)

    def sections(self) -> dict[str, str]:
        """Return the parts of the page that change, by name; every stream gets the same."""
        return self._live.get()

    def _render(self) -> dict[str, str]:
        moment = self.board.moment()
        return {name: render_template(f"operations/{name}.html", moment=moment) for name in SECTIONS}


def page() -> Response:
    """Show everything."""
    found = _of_app()
    shown = render_template(
        "operations/dashboard.html", moment=found.board.moment(), past=found.board.past(_span()), spans=list(SPANS.values())
    )
    return Response(shown, mimetype="text/html", headers=NOT_KEPT)


def past() -> Response:
    """Send the past as columns."""
    span = _span()
    return jsonify(_of_app().board.past(span).columns | {"step_s": span.step_s, "span_s": span.seconds})


def document(title: str) -> Response:
    """Show a document for operators."""
    found = handbook.page(title)
    if found is None:
        raise NotFound("There is no such document, or it was not installed with this server.")
    return Response(render_template("operations/document.html", document=found), mimetype="text/html", headers=NOT_KEPT)


def live() -> Response:
    """Send what changes."""
    found = _of_app()
    events: Iterator[str] = iter(())
    if request.method != "HEAD":
        events = stream_with_context(found.streams.events(found.sections))
    # A proxy that gathers an answer before it sends it (nginx does) would show nothing for a minute.
    return Response(events, mimetype="text/event-stream", headers=NOT_KEPT | {"X-Accel-Buffering": "no"})


def _span() -> Span:
    return SPANS.get(request.args.get("span", ""), DAY)


def _of_app() -> _Dashboard:
    return cast(_Dashboard, current_app.extensions[NAME])


_ADDRESSES: tuple[tuple[str, str, Callable[..., Response]], ...] = (
    ("", "page", page),
    ("/history", "history", past),
    ("/live", "live", live),
    ("/docs/<slug:title>.md", "document", document),  # so that their links to each other lead to each other
)


def init_app(app: Flask, guard: Callable[[Any], Any]) -> None:
    """Serve the page to whom the guard, a decorator of views, lets pass. Comes after what it shows."""
    found = app.extensions[NAME] = _Dashboard(app)
    components.of(app).add("dashboard", found.streams.close)
    blueprint = Blueprint("operations_pages", __name__)
    admitting = passes.admitting(guard)
    for path, name, view in _ADDRESSES:
        blueprint.add_url_rule(f"{passes.PATH}{path}", name, admitting(view))
    app.register_blueprint(blueprint)
    app.jinja_env.globals["units"] = units
    app.jinja_env.globals["canary_error_percent"] = canary.error_percent
