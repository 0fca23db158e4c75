"""Figures for Prometheus."""

from __future__ import annotations

import dataclasses

import pytest
from prometheus_client.parser import text_string_to_metric_families

from codyverse import create_app
from codyverse.accounts import service as accounts
from codyverse.operations import components


@pytest.fixture
def operator(learner, database):
    accounts.change_role(database, learner.email, "admin")
    return learner


def samples(client) -> dict[tuple[str, ...], float]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_it_works(operator, client):
    for _ in range(3):
        client.get("/api/v1/courses")
    client.get("/api/v1/courses/nothing")
    found = samples(operator.client)
    assert found["http_requests_total", "GET", "/api/v1/courses", "200"] == 3
    assert found["http_requests_total", "GET", "/api/v1/courses/<slug:slug>", "404"] == 1
    assert found["http_request_duration_seconds_count", "GET", "/api/v1/courses"] == 3
    assert found["http_request_duration_seconds_bucket", "+Inf", "GET", "/api/v1/courses"] == 3
    assert 0 < found["http_request_duration_seconds_sum", "GET", "/api/v1/courses"] < 60
    assert samples(operator.client)["http_requests_total", "GET", "/metrics", "200"] == 1


def test_what_clients_make_up_is_no_label(operator, client):
    before = len(samples(operator.client))
    for number in range(50):
        client.get(f"/no/such/page/{number}")
        client.open("/api/v1/courses", method=f"X{number}")
    after = samples(operator.client)
    assert after["http_requests_total", "GET", "-", "404"] == 50
    assert len(after) < before + 80


def test_only_operators_see_them(learner, client):
    assert client.get("/metrics").status_code == 401
    assert learner.client.get("/metrics").status_code == 403


def test_switched_off_there_is_nothing(settings):
    app = create_app(dataclasses.replace(settings, feature_monitoring=False))
    client = app.test_client()
    assert client.get("/api/v1/courses").status_code == 200
    assert client.get("/metrics").status_code == 404
    components.of(app).close()
