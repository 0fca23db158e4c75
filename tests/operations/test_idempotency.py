import threading

import pytest
import sqlalchemy as sa

from codyverse.errors import IdempotencyMismatch, NotFound, RequestInFlight
from codyverse.learning.models import completions
from codyverse.operations.idempotency import Key, idempotency_records, once


def make_key(name: str = "k", body: str = "b", owner_id: int = 1) -> Key:
    return Key(owner_id, name.encode().ljust(32, b"\0"), body.encode().ljust(32, b"\0"))


@pytest.fixture
def work():
    """Work that counts how often it was done."""

    def run(tx):
        run.times += 1
        return {"times": run.times, "at": tx.now}

    run.times = 0
    return run


def test_it_works(database, work):
    first = once(database, make_key(), work)
    assert first == {"times": 1, "at": "2026-11-24T12:00:00Z"}
    assert once(database, make_key(), work) == first
    assert work.times == 1


def test_without_a_key_it_is_done_each_time(database, work, rows):
    assert [once(database, None, work)["times"] for _ in range(2)] == [1, 2]
    assert rows(idempotency_records) == []


def test_a_key_belongs_to_its_owner(database, work):
    once(database, make_key(owner_id=1), work)
    assert once(database, make_key(owner_id=2), work)["times"] == 2


def test_another_request_under_the_key_is_refused(database, work):
    once(database, make_key(body="this"), work)
    with pytest.raises(IdempotencyMismatch):
        once(database, make_key(body="that"), work)
    assert work.times == 1


def test_a_failure_is_not_kept(database, work, rows):
    def fail(tx):
        raise NotFound

    with pytest.raises(NotFound):
        once(database, make_key(), fail)
    assert rows(idempotency_records) == []
    assert once(database, make_key(), work)["times"] == 1


def test_after_24_hours_the_key_is_free(database, work, clock, rows):
    once(database, make_key(), work)
    clock.advance(hours=23, minutes=59)
    assert once(database, make_key(), work)["times"] == 1
    clock.advance(minutes=2)
    assert once(database, make_key(body="other"), work)["times"] == 2
    assert len(rows(idempotency_records)) == 1


def test_expired_records_are_swept_faster_than_new_ones_come(database, work, clock, rows):
    for i in range(300):
        once(database, make_key(f"old{i}"), work)
    clock.advance(hours=25)
    written, most = 0, 300
    while rows(idempotency_records, idempotency_records.c.created_at < clock()):
        once(database, make_key(f"new{written}"), work)
        written += 1
        assert written < most, "as many new ones came as old ones went"
    assert len(rows(idempotency_records)) == written


def test_a_second_request_in_flight_is_refused_and_the_answer_is_there_afterwards(database, work):
    refused = []

    def slow(tx):
        def second():
            try:
                once(database, make_key(), work)
            except RequestInFlight as error:
                refused.append(error)

        thread = threading.Thread(target=second)
        thread.start()
        thread.join(30)
        return work(tx)

    first = once(database, make_key(), slow)
    assert len(refused) == 1
    assert once(database, make_key(), work) == first
    assert work.times == 1


def test_in_flight_over_http(database, learner, catalogue, rows):
    """While one completion is being worked on, the same one answers 409 with Retry-After."""
    lesson = catalogue.lesson("machines/what-is-a-guess")
    headers = {"Idempotency-Key": "abc"}
    answers = []

    @sa.event.listens_for(database.engine, "after_cursor_execute")
    def in_the_middle(connection, cursor, statement, parameters, context, executemany):
        if statement.startswith("INSERT INTO completions") and not answers:
            answers.append(None)
            thread = threading.Thread(target=lambda: answers.append(post()))
            thread.start()
            thread.join(30)

    def post():
        return learner.again().client.post(f"/api/v1/lessons/{lesson}/completions", json={}, headers=headers)

    first = post()
    assert first.status_code == 201
    second = answers[1]
    assert second.status_code == 409
    assert second.json["type"].endswith(":request-in-flight")
    assert second.headers["Retry-After"] == "1"
    again = post()
    assert (again.status_code, again.json) == (201, first.json)
    assert len(rows(completions)) == 1
