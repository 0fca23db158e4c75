"""What learners look at, over HTTP and into the table."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import requests
import sqlalchemy as sa

from codyverse import create_app
from codyverse.learning.models import learning_events
from codyverse.learning.service import events as service
from codyverse.operations import components, tallies
from codyverse.rewards.models import wallets
from tests.conftest import make_settings
from tests.server import Server, wait_until

EVENTS = "/api/v1/events"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def tell(client, *events, **more):
    return client.post(EVENTS, json={"events": events}, **more)


def viewed(lesson_id, **more):
    return {"kind": "lesson_viewed", "lesson_id": lesson_id, **more}


def spent(lesson_id, seconds, **more):
    return {"kind": "time_spent", "lesson_id": lesson_id, "seconds": seconds, **more}


@pytest.fixture
def lesson(catalogue):
    return catalogue.lesson("machines/what-is-a-guess")


@pytest.fixture
def inserts(database):
    """The statements that write events, whichever thread sends them."""
    sent = []

    @sa.event.listens_for(database.engine, "before_cursor_execute")
    def note(connection, cursor, statement, parameters, context, many):
        if "INSERT INTO learning_events" in statement:
            sent.append(many)

    return sent


@pytest.fixture
def stored(rows):
    """Read what is stored, in the order of its writing."""

    def read():
        return sorted(rows(learning_events), key=lambda row: row["id"])

    return read


def test_it_works(learner, lesson, stored):
    answer = tell(learner.client, viewed(lesson), spent(lesson, 90, occurred_at="2026-11-24T10:00:00.5+01:00"))
    assert (answer.status_code, answer.json) == (202, {"accepted": 2, "dropped": 0})
    wait_until(lambda: len(stored()) == 2)
    same = {"user_id": learner.id, "lesson_id": lesson, "received_at": NOW}
    first, second = [{name: value for name, value in row.items() if name != "id"} for row in stored()]
    assert first == same | {"kind": "lesson_viewed", "seconds": None, "occurred_at": NOW}
    earlier = datetime(2026, 11, 24, 9, 0, 0, 500_000, tzinfo=UTC)
    assert second == same | {"kind": "time_spent", "seconds": 90, "occurred_at": earlier}


def test_the_request_itself_writes_nothing(learner, lesson, statements):
    with statements.recorded() as sent:
        assert tell(learner.client, viewed(lesson)).status_code == 202
    assert not any("learning_events" in statement or "lessons" in statement for statement in sent)


def test_fifty_are_one_statement_and_their_order_is_kept(app, learner, lesson, inserts, stored):
    for start in range(0, 150, 50):
        told = [spent(lesson, start + n) for n in range(50)]
        assert tell(learner.client, *told).json == {"accepted": 50, "dropped": 0}
    wait_until(lambda: len(stored()) == 150)
    assert [row["seconds"] for row in stored()] == list(range(150))
    assert inserts == [False] * 3
    assert tallies.of(app).totals("events:") == {"events:written": 150}


def test_mixed_and_empty_columns_are_written(database, learner, lesson, stored):
    """A column without a value in the first rows, or in any, has no type of its own."""
    event = {"user_id": learner.id, "lesson_id": lesson, "kind": "time_spent", "occurred_at": NOW, "received_at": NOW}
    service.write(database, [event | {"seconds": seconds} for seconds in (None, None, 7)])
    service.write(database, [event | {"seconds": None}])
    assert [row["seconds"] for row in stored()] == [None, None, 7, None]


def test_unknown_lessons_and_accounts_poison_nothing(database, learner, lesson, stored):
    told = [viewed(n if n % 2 else lesson) for n in range(900_001, 900_051)]
    assert tell(learner.client, *told, spent(lesson, 1)).status_code == 422  # 51
    assert tell(learner.client, *told).json == {"accepted": 50, "dropped": 0}
    wait_until(lambda: len(stored()) == 25)
    event = {"lesson_id": lesson, "kind": "lesson_viewed", "seconds": None, "occurred_at": NOW, "received_at": NOW}
    service.write(database, [event | {"user_id": 999_999}, event | {"user_id": learner.id, "seconds": 3}])
    assert [row["seconds"] for row in stored()][25:] == [3]


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"kind": "time_spent", "lesson_id": 1}, "seconds"),
        ({"kind": "time_spent", "lesson_id": 1, "seconds": 3601}, "seconds"),
        ({"kind": "time_spent", "lesson_id": 1, "seconds": -1}, "seconds"),
        ({"kind": "time_spent", "lesson_id": 1, "seconds": True}, "seconds"),
        ({"kind": "slept", "lesson_id": 1}, "kind"),
        ({"kind": "lesson_viewed"}, "lesson_id"),
        ({"kind": "lesson_viewed", "lesson_id": 0}, "lesson_id"),
        ({"kind": "lesson_viewed", "lesson_id": 2**63}, "lesson_id"),
        ({"kind": "lesson_viewed", "lesson_id": 1, "user_id": 2}, "user_id"),
    ],
)
@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_what_cannot_be_used_is_named(learner, event, field):
    answer = tell(learner.client, viewed(1), event)
    assert answer.status_code == 422
    assert list(answer.json["errors"]) == [f"events.1.{field}"]


def at(moment):
    return moment.isoformat()


WHEN = {
    at(NOW): 202,
    at(NOW + timedelta(minutes=5)): 202,
    at(NOW + timedelta(minutes=5, microseconds=1)): 422,
    at(NOW - timedelta(days=7)): 202,
    at(NOW - timedelta(days=7, microseconds=1)): 422,
    "2026-11-24t12:00:00z": 202,
    "2026-11-24T23:00:00+11:00": 202,
    "2026-11-24T12:00:00": 422,
    "2026-11-24": 422,
    "2026-11-24 12:00:00Z": 422,
    "20261124T120000Z": 422,
    "2026-11-31T12:00:00Z": 422,
    "2026-11-24T12:00:00+25:00": 422,
    "2026-W48-2T12:00:00Z": 422,
    "0001-01-01T00:00:00+14:00": 422,
    "9999-12-31T23:59:59-14:00": 422,
    "": 422,
    "yesterday": 422,
    1_795_521_600: 422,
    None: 422,
}


def test_times_are_near_and_exact(learner, lesson, stored):
    for when, expected in WHEN.items():
        answer = tell(learner.client, viewed(lesson, occurred_at=when))
        assert answer.status_code == expected, when
        if expected == 422:
            assert list(answer.json["errors"]) == ["events.0.occurred_at"], when
    wait_until(lambda: len(stored()) == list(WHEN.values()).count(202))


def test_one_time_that_cannot_be_refuses_all(learner, lesson, inserts, app, stored):
    answer = tell(learner.client, viewed(lesson), viewed(lesson, occurred_at=at(NOW - timedelta(days=8))))
    assert list(answer.json["errors"]) == ["events.1.occurred_at"]
    components.of(app).close()
    assert inserts == []


def test_none_is_too_few(learner):
    assert tell(learner.client).status_code == 422


def test_a_full_queue_drops_and_the_request_does_not_fail(database_url, tmp_path, monkeypatch):
    app = create_app(make_settings(tmp_path, database_url, events_queue=3))
    learner = app.test_client()
    details = {"email": "a@example.org", "password": "seven quiet otters", "display_name": "Ada", "birth_date": "1990-12-10"}
    token = learner.post("/api/v1/auth/register", json=details).headers["X-CSRF-Token"]
    answers = [tell(learner, viewed(n), viewed(n), headers={"X-CSRF-Token": token}).json for n in (1, 2, 3)]
    assert answers[0] == {"accepted": 2, "dropped": 0}
    assert answers[1:] == [{"accepted": 1, "dropped": 1}, {"accepted": 0, "dropped": 2}]
    assert tallies.of(app).totals("events:dropped") == {"events:dropped": 3}
    components.of(app).close()


def test_without_optimization_they_are_there_before_the_answer(database_url, tmp_path, clock, learner, lesson, stored):
    app = create_app(make_settings(tmp_path, database_url, feature_optimization=False))
    app.extensions["codyverse.database"].clock = clock
    client = app.test_client()
    for name in ("codyverse", "codyverse-csrf"):
        client.set_cookie(name, learner.client.get_cookie(name).value)
    answer = tell(client, viewed(lesson), headers={"X-CSRF-Token": learner.client.get_cookie("codyverse-csrf").value})
    assert answer.json == {"accepted": 1, "dropped": 0}
    assert len(stored()) == 1
    components.of(app).close()


def test_a_database_that_comes_back_gets_what_waited(learner, lesson, database, monkeypatch, stored, app):
    wait_s, gone = [], sa.exc.OperationalError("INSERT", None, ConnectionError("gone"))

    @sa.event.listens_for(database.engine, "before_cursor_execute")
    def refuse(connection, cursor, statement, parameters, context, many):
        if "INSERT INTO learning_events" in statement and len(wait_s) < 2:
            wait_s.append(statement)
            raise gone

    for n in range(3):
        assert tell(learner.client, spent(lesson, n)).json == {"accepted": 1, "dropped": 0}
    wait_until(lambda: len(stored()) == 3)
    assert [row["seconds"] for row in stored()] == [0, 1, 2]
    assert len(wait_s) == 2


def test_tokens_need_the_scope(learner, client, lesson):
    for scope, expected in (("learning:write", 202), ("learning:read", 403)):
        token = learner.client.post("/api/v1/auth/tokens", json={"name": scope, "scopes": [scope]}).json["token"]
        assert tell(client, viewed(lesson), headers={"Authorization": f"Bearer {token}"}).status_code == expected
    assert tell(client, viewed(lesson)).status_code == 401


def test_nothing_is_rewarded(learner, lesson, stored, rows):
    tell(learner.client, *[spent(lesson, 3600)] * 50)
    wait_until(lambda: len(stored()) == 50)
    assert [(row["xp"], row["coins"]) for row in rows(wallets)] in ([], [(0, 0)])


def test_they_may_be_part_of_a_batch(learner, lesson, stored):
    told = {"method": "POST", "path": EVENTS, "body": {"events": [spent(lesson, 5)]}}
    answer = learner.client.post("/api/v1/batch", json={"operations": [told] * 3})
    assert [result["status"] for result in answer.json["results"]] == [202] * 3
    wait_until(lambda: len(stored()) == 3)


def test_a_graceful_stop_loses_nothing_that_was_accepted(database_url, tmp_path, learner, lesson, stored):
    """Clients tell until the server is gone; what it accepted is there, also what came in the last second."""
    token = learner.client.post("/api/v1/auth/tokens", json={"name": "t", "scopes": ["learning:write"]}).json["token"]
    headers = {"Authorization": f"Bearer {token}"}
    accepted = [0] * 4

    def keep_telling(number, url):
        with requests.Session() as session:
            for turn in range(100_000):
                events = [spent(lesson, number) for _ in range(1 + turn % 3)]
                try:
                    answer = session.post(f"{url}{EVENTS}", json={"events": events}, headers=headers, timeout=30)
                except requests.RequestException:
                    return
                assert answer.status_code == 202, answer.text
                accepted[number] += answer.json()["accepted"]

    with Server(tmp_path, database_url) as server, ThreadPoolExecutor(4) as clients:
        telling = [clients.submit(keep_telling, number, server.url) for number in range(4)]
        wait_until(lambda: sum(accepted) >= 200)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(40) == 0
        for each in telling:
            each.result(30)
    written = [row["seconds"] for row in stored()]
    for number in range(4):
        # A request whose answer was lost with the connection may have been accepted, with up to three events.
        assert accepted[number] <= written.count(number) <= accepted[number] + 3


def test_only_ids_and_times_are_kept():
    assert {column.name for column in learning_events.c} == {
        *("id", "user_id", "lesson_id", "kind", "seconds", "occurred_at", "received_at")
    }
