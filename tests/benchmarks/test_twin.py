import io
import re

import pytest
import sqlalchemy as sa

from benchmarks import cases, place, scripts
from benchmarks.twin import Twin, _read
from codyverse.learning.models import completions
from codyverse.operations.idempotency import idempotency_records
from codyverse.rewards import verification
from tests.conftest import need_postgresql
from tests.server import wait_until

LEARNERS = 5
MOMENT = re.compile(rb'"completed_at":"[^"]+"')


@pytest.fixture
def engine_name() -> str:
    """Twins speak to PostgreSQL."""
    return need_postgresql()


@pytest.fixture
def ground(engine_name, database_url, tmp_path):
    with cases.ground(tmp_path, database_url, LEARNERS) as ground:
        yield ground


@pytest.fixture
def served(ground, tmp_path):
    with place.service(tmp_path, ground.url, feature_caching=False) as service:
        yield service


@pytest.fixture
def twin(ground, served, tmp_path):
    twin = Twin(_read(cases.write_script(tmp_path, ground, served)[0]))
    yield twin
    if hasattr(twin._thread, "connection"):
        twin._thread.connection.close()


def ask_twin(twin, method, path, headers):
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "wsgi.input": io.BytesIO(b"{}")}
    environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    told = {}
    body = b"".join(twin(environ, lambda status, headers: told.update(status=status, headers=headers)))
    return {**told, "body": body}


def comparable(answer):
    """The headers that are the same in any two answers of the service: its id is not, and what is left of a limit."""
    return [(name, value) for name, value in answer["headers"] if "RateLimit" not in name and name != "X-Request-ID"]


def test_the_twin_reads_the_same_bytes(ground, served, twin):
    for case in ground.cases():
        if all(cases.TWIN not in duel for duel in case.duels) or case.kind == "finish":
            continue
        headers = scripts.signed_in(ground.first) if case.kind else {}
        ours = scripts.ask(served, "GET", case.path, headers) if case.kind else scripts.settled(served, case.path)
        bare = ask_twin(twin, "GET", case.path, headers)
        assert bare["body"] == ours["body"] and len(bare["body"]) > 200
        assert bare["status"] == ours["status"] == "200 OK"
        assert comparable(bare) == comparable(ours)


def test_the_twin_completes_as_the_service_does(ground, served, twin, database):
    lesson_id = ground.lesson_ids[0]
    path = f"/api/v1/lessons/{lesson_id}/completions"
    plain = {"Accept-Encoding": "identity"}
    ours = scripts.ask(served, "POST", path, scripts.signed_in(ground.first, "ours") | plain, "{}")
    bare = ask_twin(twin, "POST", path, scripts.signed_in(ground.first + 1, "bare"))
    assert bare["status"] == ours["status"] == "201 CREATED"
    assert MOMENT.sub(b"", bare["body"]) == MOMENT.sub(b"", ours["body"])

    def written(user_id):
        with database.read() as reader:
            mine = sa.and_(completions.c.user_id == user_id, completions.c.lesson_id == lesson_id)
            row = reader.execute(
                sa.select(completions.c.version, completions.c.xp_awarded, completions.c.coins_awarded).where(mine)
            )
            kept = sa.select(sa.func.count()).where(idempotency_records.c.owner_id == user_id)
            return tuple(row.one()), reader.execute(kept).scalar_one()

    assert written(ground.first) == written(ground.first + 1)
    assert verification.verify(database).total == 0


def test_the_twin_asks_for_the_learner_of_each_request(ground, served, twin):
    """Were the recorded learner fixed in it, the second completion of a lesson would fail on the unique constraint."""
    path = f"/api/v1/lessons/{ground.lesson_ids[1]}/completions"
    for number in range(3):
        answer = ask_twin(twin, "POST", path, scripts.signed_in(ground.first + number, f"key{number}"))
        assert answer["status"] == "201 CREATED"


def test_the_twins_server_answers(ground, served, tmp_path):
    script, _ = cases.write_script(tmp_path, ground, served)
    with place.twin(tmp_path, ground.url, script) as server:
        wait_until(lambda: len(server.workers()) == 2)
        answer = scripts.ask(server, "GET", scripts.PROGRESS, scripts.signed_in(ground.first))
        assert answer["body"] == scripts.ask(served, "GET", scripts.PROGRESS, scripts.signed_in(ground.first))["body"]
