"""Answers that are given without asking the application: complete, as bytes, in the shape of its other problems (RFC 9457)."""

from __future__ import annotations

import re
from http import HTTPStatus

import orjson

RETRY_AFTER_S = 2

# A head of which everybody sees the same end and length: HTTP/1.1, no folded lines, no bare line feeds, no odd names. It asks for
# nothing to be done with the connection.
_ORDINARY = re.compile(
    rb"[A-Z]++ [!-~]++ HTTP/1\.1\r\n"
    rb"(?:(?!(?i:connection:(?! ?keep-alive\r)|upgrade:|expect:))[A-Za-z0-9-]++:[\t -~]*+\r\n)++\r\n"
)

_DETAILS = {
    HTTPStatus.BAD_REQUEST: "The request is not HTTP/1.1 as this server reads it.",
    HTTPStatus.REQUEST_TIMEOUT: "The request did not arrive in time.",
    HTTPStatus.REQUEST_URI_TOO_LONG: "The address of the request is too long.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The headers of the request are too large.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The server is busy. Try again in a moment.",
}


def is_ordinary(request: bytes | bytearray) -> bool:
    """Say whether there is no doubt where a request ends whose length was found, and its client expects to send another one."""
    return _ORDINARY.match(request) is not None


def refusal(status: int, request_id: str, keeps: bool) -> tuple[bytes, bytes]:
    """Return head and body of the answer with a status, with which the connection ends unless it is kept."""
    known = HTTPStatus(status)
    problem = {"type": "about:blank", "title": known.phrase, "status": status, "request_id": request_id}
    if known in _DETAILS:
        problem["detail"] = _DETAILS[known]
    body = orjson.dumps(problem)
    lines = [
        f"HTTP/1.1 {status} {known.phrase}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        f"X-Request-ID: {request_id}",
        f"Connection: {'keep-alive' if keeps else 'close'}",
    ]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        lines.append(f"Retry-After: {RETRY_AFTER_S}")
    return "\r\n".join([*lines, "", ""]).encode("ascii"), body
