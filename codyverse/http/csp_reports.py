"""`POST /api/v1/csp-reports`: browsers tell what a page tried that its Content-Security-Policy forbids.

A page of ours that breaks its own policy is a fault of ours, and one that somebody smuggled something into an attack, so the log
shall show both. But anybody can send anything here: it is small, nothing is stored, and the log gets a bounded number of lines
with nothing in them but a directive, the kind of page and the host that was blocked: no paths, no queries, no names of learners.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import orjson
from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException, UnsupportedMediaType
from werkzeug.routing import RequestRedirect

from codyverse import extensions
from codyverse.errors import InvalidInput, MalformedInput
from codyverse.http import request_limits
from codyverse.http.api import PREFIX, Blueprint, problems
from codyverse.http.auth import public
from codyverse.operations.security_headers import REPORTS

MAX_BYTES = 16 * 1024
LINES_A_MINUTE = 10

CSP_REPORT = "application/csp-report"  # one report, by way of report-uri
REPORTS_JSON = "application/reports+json"  # several, by way of report-to

log = logging.getLogger("codyverse.security")
blueprint = Blueprint("csp_reports", __name__, description="For browsers: violations of the Content-Security-Policy.")

_WORD = re.compile(r"[a-z][a-z0-9-]{0,40}")
_HOST = re.compile(r"[a-z0-9.-]{1,253}")

_BODY = {
    "required": True,
    "content": {
        CSP_REPORT: {
            "schema": {
                "type": "object",
                "required": ["csp-report"],
                "properties": {"csp-report": {"type": "object"}},
            }
        },
        REPORTS_JSON: {
            "schema": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["type", "body"],
                    "properties": {"type": {"type": "string"}, "body": {"type": "object"}},
                },
            }
        },
    },
}


class Violations:
    """Counts the violations that this process was told of, and logs at most LINES_A_MINUTE of them a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._received = 0
        self._lines = 0
        self._minute = clock()

    def note(self, directive: str, page: str, blocked: str) -> None:
        """Count a violation; its line says how many there were, so that those without a line are not lost."""
        with self._lock:
            self._received += 1
            now = self._clock()
            if now - self._minute >= 60:
                self._minute, self._lines = now, 0
            if self._lines >= LINES_A_MINUTE:
                return
            self._lines += 1
            received = self._received
        log.warning("csp violation: directive=%s page=%s blocked=%s received=%d", directive, page, blocked, received)


@blueprint.post(REPORTS.removeprefix(PREFIX))
@public
@problems(400, 413, 415, 422)
@blueprint.doc(requestBody=_BODY)
@blueprint.response(204)
def receive() -> Response:
    """Take a browser's report of what a page was kept from doing."""
    request.max_content_length = MAX_BYTES
    if request.mimetype not in (CSP_REPORT, REPORTS_JSON):
        raise UnsupportedMediaType(f"The body must be {CSP_REPORT} or {REPORTS_JSON}.")
    violations: Violations = current_app.extensions["codyverse.csp_violations"]
    for report in list(_reports(_body(), request.mimetype)):
        directive = report.get("effectiveDirective") or report.get("effective-directive") or report.get("violated-directive")
        document = report.get("documentURL") or report.get("document-uri")
        blocked = report.get("blockedURL") or report.get("blocked-uri")
        violations.note(_directive(directive), _page(document), _blocked(blocked))
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


def _body() -> Any:
    try:
        return orjson.loads(request_limits.body(request))
    except orjson.JSONDecodeError:
        raise MalformedInput("The body is not JSON.") from None


def _reports(value: Any, media_type: str) -> Iterator[dict[str, Any]]:
    """Yield the violations among what was sent. Raises InvalidInput."""
    if media_type == CSP_REPORT:
        if not isinstance(value, dict) or not isinstance(value.get("csp-report"), dict):
            raise InvalidInput("This is no report of a violation.", {"csp-report": ["Must be an object."]})
        yield value["csp-report"]
        return
    if not isinstance(value, list):
        raise InvalidInput("These are no reports.", {"body": ["Must be a list."]})
    for number, report in enumerate(value):
        if not isinstance(report, dict):
            raise InvalidInput("This is no report.", {str(number): ["Must be an object."]})
        if not isinstance(report.get("type"), str):
            raise InvalidInput("This is no report.", {f"{number}.type": ["Must be a text."]})
        if not isinstance(report.get("body"), dict):
            raise InvalidInput("This is no report.", {f"{number}.body": ["Must be an object."]})
        if report["type"] == "csp-violation":
            yield report["body"]


def _directive(text: Any) -> str:
    """Return a directive's name; older browsers send its sources behind it."""
    name = text.partition(" ")[0] if isinstance(text, str) else ""
    return name if _WORD.fullmatch(name) else "unknown"


def _page(address: Any) -> str:
    """Return the endpoint of a page's address: it says which page it was and nothing about who read it."""
    if not isinstance(address, str):
        return "unknown"
    try:
        endpoint, _ = current_app.url_map.bind("").match(urlsplit(address).path, "GET")
    except (ValueError, HTTPException, RequestRedirect):
        return "unknown"
    return str(endpoint)


def _blocked(address: Any) -> str:
    """Return `inline`, `eval` and the like as they are, of an address its scheme and host."""
    text = address if isinstance(address, str) else "unknown"
    if _WORD.fullmatch(text):
        return text
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        return "unknown"
    return f"{parts.scheme}://{host}" if _WORD.fullmatch(parts.scheme) and _HOST.fullmatch(host) else "unknown"


def init_app(app: Flask) -> None:
    """Receive reports, where a policy is sent at all."""
    if app.config["CODYVERSE"].feature_security:
        app.extensions["codyverse.csp_violations"] = Violations()
        extensions.api.register_blueprint(blueprint, url_prefix=PREFIX)
