"""The history of figures: by the minute and by the hour, and never more than that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from codyverse.operations import history, journal
from codyverse.operations.gauges import Sample
from codyverse.operations.history import HOUR_S, MINUTE_S, SERIES, History
from codyverse.operations.history.figures import Totals, figures, totals
from tests.one_engine import cheapest  # noqa: F401  (a fixture)

START = 1_800_000_000.0  # a full hour
BUDGET = 1000.0


def counted(requests: float = 0, errors: float = 0, seconds: float = 0.0, **others: float) -> list[Sample]:
    """Return what was counted so far: all requests took less than 0.1 s but for the errors, which took up to 1 s."""

    def timed(border: str, value: float) -> Sample:
        return Sample("http_request_duration_seconds_bucket", {"method": "GET", "rule": "/", "le": border}, value)

    return [
        Sample("http_requests_total", {"method": "GET", "rule": "/", "status": "200"}, requests - errors),
        Sample("http_requests_total", {"method": "GET", "rule": "/", "status": "503"}, errors),
        Sample("http_requests_total", {"method": "GET", "rule": "/readyz", "status": "503"}, 10 * requests),
        timed("0.1", requests - errors),
        timed("1.0", requests),
        timed("+Inf", requests),
        Sample("http_request_duration_seconds_count", {"method": "GET", "rule": "/"}, requests),
        Sample("http_request_duration_seconds_sum", {"method": "GET", "rule": "/"}, seconds),
        Sample("codyverse_cache_total", {"event": "hit", "tier": "l1"}, others.get("l1", 0)),
        Sample("codyverse_cache_total", {"event": "miss", "tier": "l1"}, others.get("l2", 0) + others.get("none", 0)),
        Sample("codyverse_cache_total", {"event": "hit", "tier": "l2"}, others.get("l2", 0)),
        Sample("codyverse_cache_total", {"event": "miss", "tier": "l2"}, others.get("none", 0)),
        Sample("codyverse_cache_total", {"event": "loaded", "tier": ""}, others.get("none", 0)),
        Sample("codyverse_admission_total", {"class": "page", "outcome": "admitted"}, requests),
        Sample("codyverse_admission_total", {"class": "page", "outcome": "late"}, others.get("shed", 0)),
        Sample("codyverse_database_errors_total", {"kind": "connection"}, others.get("database", 0)),
    ]


GAUGES = [
    Sample("codyverse_worker_memory_bytes", {"worker": "0"}, 300),
    Sample("codyverse_worker_memory_bytes", {"worker": "1"}, 500),
    Sample("codyverse_worker_memory_budget_bytes", {"worker": "0"}, BUDGET),
    Sample("codyverse_worker_memory_budget_bytes", {"worker": "1"}, BUDGET),
    Sample("codyverse_worker_requests_in_flight", {"worker": "0"}, 2),
    Sample("codyverse_worker_requests_in_flight", {"worker": "1"}, 1),
    Sample("codyverse_worker_requests_waiting", {"worker": "0"}, 0),
    Sample("codyverse_database_pool_connections", {"state": "in_use"}, 4),
    Sample("codyverse_database_pool_connections", {"state": "idle"}, 9),
]


@pytest.fixture
def kept(app) -> Iterator[History]:
    yield History(journal.of(app))


def test_it_works(app, kept):
    kept.keep(counted(100), START)
    now = START + MINUTE_S
    kept.keep([*counted(220, 12, 30.0, l1=60, l2=30, none=10, shed=6, database=3), *GAUGES], now)
    found = {series: history.points(app, series, START, "minute") for series in SERIES}
    assert {series: [at for at, _ in points] for series, points in found.items()} == {series: [START] for series in SERIES}
    assert {series: points[0][1] for series, points in found.items()} == {
        "requests_per_s": 2.0,
        "errors_percent": 10.0,
        "availability_percent": 90.0,
        "mean_ms": 250.0,
        "p95_ms": pytest.approx(550.0),
        "cache_hit_percent": 90.0,
        "memory_percent": 50.0,
        "in_flight": 3.0,
        "waiting": 0.0,
        "shed_per_s": 0.1,
        "database_errors": 3.0,
        "pool_in_use": 4.0,
    }


def test_without_requests_shares_are_unknown():
    found = figures(Totals(), totals(counted()), 60, [])
    assert found["requests_per_s"] == 0
    for series in ("errors_percent", "availability_percent", "mean_ms", "p95_ms", "cache_hit_percent", "memory_percent"):
        assert found[series] is None, series


def test_the_first_minute_and_one_after_a_pause_know_what_is_now_only(app, kept):
    kept.keep([*counted(1000), *GAUGES], START)
    kept.keep([*counted(9000), *GAUGES], START + 10 * MINUTE_S)
    assert [value for _, value in history.points(app, "requests_per_s", 0, "minute")] == [None] * 11
    assert history.points(app, "in_flight", 0, "minute") == [
        (START - MINUTE_S, 3.0),
        *((START + number * MINUTE_S, None) for number in range(9)),
        (START + 9 * MINUTE_S, 3.0),
    ]


def test_counts_that_began_anew():
    assert figures(totals(counted(1000)), totals(counted(120)), 60, [])["requests_per_s"] == 2


def test_a_minute_is_kept_once_whoever_keeps_it(app, kept):
    kept.keep(counted(0), START)
    kept.keep(counted(60), START + MINUTE_S)
    kept.keep(counted(999), START + MINUTE_S + 15)
    History(journal.of(app)).keep(counted(999), START + MINUTE_S + 30)  # another process has taken over
    assert history.points(app, "requests_per_s", START, "minute") == [(START, 1.0)]


def test_an_hour_is_the_mean_of_its_minutes(app, kept):
    requests = 0.0
    for minute in range(121):
        kept.keep(counted(requests), START + minute * MINUTE_S)
        requests += 60 if minute < 60 else 180
    assert history.points(app, "requests_per_s", START, "hour") == [(START, 1.0), (START + HOUR_S, 3.0)]


def test_no_more_is_kept_than_a_day_of_minutes_and_ninety_days_of_hours(app, kept, monkeypatch):
    monkeypatch.setitem(history.KEPT_S, "minute", 4 * HOUR_S)
    monkeypatch.setitem(history.KEPT_S, "hour", 6 * HOUR_S)
    for minute in range(0, 10 * 60, 2):
        kept.keep(GAUGES, START + minute * MINUTE_S)
    minutes = history.points(app, "in_flight", 0, "minute")
    assert len([value for _, value in minutes if value is not None]) == 2 * 60
    assert len(history.points(app, "in_flight", 0, "hour")) == 6


def test_a_day_and_ninety_days():
    assert history.KEPT_S == {"minute": 86_400, "hour": 7_776_000}


def test_a_clock_that_was_ahead_leaves_nothing_behind(app, kept):
    kept.keep(GAUGES, START + 400 * 24 * HOUR_S)
    kept.keep(GAUGES, START)
    assert history.points(app, "in_flight", 0, "minute") == [(START - MINUTE_S, 3.0)]
    assert len(history.points(app, "in_flight", 0, "hour")) == 1


def test_a_series_that_nobody_keeps_and_a_journal_that_is_not_there(app):
    assert history.points(app, "in_flight", 0, "minute") == []
    assert history.points(app, "nothing", 0, "hour") == []
