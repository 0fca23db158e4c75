"""What a request's head says about its place in the queue."""

from __future__ import annotations

from collections import defaultdict

import pytest

from codyverse.server.classes import Class, classify, waiting_since


@pytest.mark.parametrize(
    ("method", "path", "accept", "chunked", "klass"),
    [
        ("GET", "/livez", "*/*", False, Class.HEALTH),
        ("GET", "/metrics", "text/event-stream", False, Class.HEALTH),
        ("GET", "/operations", "text/html", False, Class.HEALTH),
        ("GET", "/operations/live", "text/event-stream", False, Class.STREAM),
        ("GET", "/operations/docs/alerts.md", "text/html", False, Class.PAGE),
        ("POST", "/login", "text/html", False, Class.AUTH),
        ("POST", "/logout", "text/html", False, Class.AUTH),
        ("GET", "/livez/", "*/*", False, Class.PAGE),
        ("GET", "/Livez", "*/*", False, Class.PAGE),
        ("GET", "//livez", "*/*", False, Class.PAGE),
        ("POST", "/api/v1/auth/login", "application/json", False, Class.AUTH),
        ("POST", "/api/v1/auth/login", "text/event-stream", False, Class.AUTH),
        ("GET", "/api/v1/authors", "*/*", False, Class.API),
        ("POST", "/api/v1/lessons/1/completions", "*/*", False, Class.SUBMISSION),
        ("PUT", "/api/v1/attempts/1/answers/a", "*/*", False, Class.SUBMISSION),
        ("DELETE", "/api/v1/courses/a/enrolment", "*/*", False, Class.SUBMISSION),
        ("GET", "/api/v1/courses", "application/json", False, Class.API),
        ("OPTIONS", "/api/v1/courses", "*/*", False, Class.API),
        ("GET", "/", "text/html", False, Class.PAGE),
        ("GET", "/api", "text/html", False, Class.PAGE),
        ("GET", "/static/app.js", "*/*", False, Class.STATIC),
        ("GET", "/media/a/b/c.png", "image/*", False, Class.STATIC),
        ("POST", "/api/v1/events", "*/*", False, Class.STATIC),
        ("POST", "/api/v1/csp-reports", "*/*", False, Class.STATIC),
        ("POST", "/api/v1/tutor/conversations/1/messages", "Text/Event-Stream, */*;q=0.1", False, Class.STREAM),
        ("POST", "/api/v1/lessons/1/completions", "*/*", True, Class.SLOW),
        ("GET", "/livez", "*/*", True, Class.SLOW),
    ],
)
def test_classes(method: str, path: str, accept: str, chunked: bool, klass: Class):
    assert classify(method, path, accept, chunked) is klass


def test_every_route_has_the_class_that_it_is_meant_to_have(app):
    by_class = defaultdict(set)
    for found in app.url_map.iter_rules():
        for method in found.methods - {"HEAD", "OPTIONS"}:
            by_class[classify(method, found.rule, "*/*", False)].add(found.endpoint)
    assert by_class[Class.HEALTH] == {
        *("health.livez", "health.readyz", "health.health", "prometheus_metrics"),
        *("operations_pages.page", "operations_pages.history"),
    }
    assert by_class[Class.AUTH] >= {"accounts.log_in", "accounts.register", "accounts.log_out", "sign_in.log_in", "sign_in.page"}
    assert by_class[Class.STATIC] == {"static", "pages.image", "events.tell_events", "csp_reports.receive"}
    assert by_class[Class.SUBMISSION] >= {"progress.complete_lesson", "attempts.put_answer", "attempts.submit_attempt"}
    assert {endpoint.split(".")[0] for endpoint in by_class[Class.PAGE]} <= {"pages", "docs", "operations_pages"}


@pytest.mark.parametrize(
    ("started", "waited"),
    [
        ("t=1700000000.250", 0.75),
        ("1700000000250", 0.75),
        ("t=1700000000250000", 0.75),
        ("t=1700000000", 1.0),
        ("t=1700000001.001", 0.0),  # ahead of us
        ("t=1699999900", 0.0),
        (None, 0.0),
        ("", 0.0),
        ("t=", 0.0),
        ("t=-5", 0.0),
        ("t=1e9", 0.0),
        ("t=17000000002500", 0.0),
        ("t=١٧٠٠٠٠٠٠٠٠", 0.0),
        ("t=1700000000.250, t=1700000000.250", 0.0),
    ],
)
def test_since_when_a_proxy_says_that_a_request_waits(started: str | None, waited: float):
    assert waiting_since(started, now=50.0, wall=1_700_000_001.0) == pytest.approx(50.0 - waited, abs=1e-3)
