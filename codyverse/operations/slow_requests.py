"""One line about every request that takes `slow_request_ms` or longer: its route, its time and, as every line has it, its id.

The time is that of making the answer. An answer that streams goes on after it, and is no slow request.
"""

from __future__ import annotations

import logging
import time

from flask import Flask, Response, g, request

log = logging.getLogger("codyverse.performance")


def init_app(app: Flask) -> None:
    """Look at the time. Comes before whatever takes any."""
    slow_ms = app.config["CODYVERSE"].slow_request_ms

    @app.before_request
    def begin() -> None:
        g.slow_since = time.perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        took_ms = (time.perf_counter() - g.slow_since) * 1000
        if took_ms >= slow_ms:
            route = request.url_rule.rule if request.url_rule else "-"
            told = {"method": request.method, "route": route, "status": response.status_code, "ms": round(took_ms, 1)}
            log.warning("slow request", extra=told)
        return response
