"""The application for the test of an overload, with an address of every class that takes a thread for a while.

With every answer it tells how many requests ever waited in this worker's queue at once.
"""

from __future__ import annotations

import time
from typing import Any

from flask import Response, request

from codyverse import create_app
from codyverse.http.auth import public
from codyverse.server.admission import Admission, Class

DEEPEST = "X-Deepest"
_deepest = [0]
_add = Admission._add


def _add_and_note(self: Admission[Any], klass: Class, item: Any, since: float) -> None:
    _add(self, klass, item, since)
    _deepest[0] = max(_deepest[0], self._size)


Admission._add = _add_and_note  # type: ignore[method-assign]
app = create_app()


@public
def work() -> str:
    """Take so many seconds: waiting, as for a database, or busy."""
    time.sleep(request.args.get("waiting", 0.0, float))
    until = time.thread_time() + request.args.get("busy", 0.0, float)
    while time.thread_time() < until:
        pass
    return "done"


@app.after_request
def tell_deepest(response: Response) -> Response:
    response.headers[DEEPEST] = str(_deepest[0])
    return response


for number, path in enumerate(("/api/v1/test/work", "/test/page", "/media/test/work")):
    app.add_url_rule(path, f"test-{number}", work, methods=["GET", "POST"])
