"""The `Vary` header, added to by several parts. Werkzeug parses and writes it anew at every look, which took 30 µs a request."""

from __future__ import annotations

from flask import Response


def add(response: Response, *names: str) -> None:
    """Name what an answer depends on, beside what is named already."""
    told = response.headers.get("Vary", "")
    known = {name.strip().lower() for name in told.split(",")}
    more = [name for name in names if name.lower() not in known]
    if more:
        response.headers["Vary"] = ", ".join([told, *more] if told else more)
