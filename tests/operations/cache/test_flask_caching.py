from __future__ import annotations

import datetime

import pytest
from flask import request

from codyverse.extensions import flask_cache
from codyverse.operations import cache
from tests.one_engine import cheapest  # noqa: F401  (a fixture)
from tests.operations.cache.made import make


@pytest.fixture
def context(app):
    with app.app_context():
        yield app


def test_it_works(context):
    assert flask_cache.get("k") is None
    assert flask_cache.set("k", {"a": [1, None]})
    assert flask_cache.get("k") == {"a": [1, None]}
    assert flask_cache.has("k")
    assert flask_cache.delete("k")
    assert flask_cache.get("k") is None
    assert not flask_cache.delete("k")


def test_add_keeps_what_is_there(context):
    assert flask_cache.add("k", 1)
    assert not flask_cache.add("k", 2)
    assert flask_cache.get("k") == 1


def test_many(context):
    assert flask_cache.set_many({"a": 1, "b": 2}) == ["a", "b"]
    assert flask_cache.get_many("a", "b", "c") == [1, 2, None]
    assert flask_cache.get_dict("a", "c") == {"a": 1, "c": None}
    assert flask_cache.delete_many("a", "c") == ["a", "c"]
    assert flask_cache.get_many("a", "b") == [None, 2]


def test_clear(context):
    flask_cache.set("k", 1)
    flask_cache.clear()
    assert flask_cache.get("k") is None


@pytest.mark.parametrize("value", [object(), {1}, b"bytes", (1, 2), [{"a": (1,)}], datetime.date(2026, 1, 1), {1: 2}])
def test_what_would_not_come_back_as_it_was_is_refused(context, value):
    with pytest.raises(TypeError):
        flask_cache.set("k", value)
    assert flask_cache.get("k") is None


def test_a_set_reaches_other_processes(context, tmp_path):
    other, _ = make(tmp_path, database_url=context.config["CODYVERSE"].database_url)
    flask_cache.set("k", 1)
    assert other.get("flask:k").value() == 1
    flask_cache.set("k", 2)
    assert other.get("flask:k").value() == 2
    flask_cache.delete("k")
    assert other.get("flask:k") is None
    other.close()


def test_a_timeout_ends_it(context, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(cache.of(context), "_now", lambda: now)
    flask_cache.set("k", 1, timeout=10)
    flask_cache.set("long", 1, timeout=0)
    now += 9
    assert flask_cache.get("k") == 1
    now += 2
    assert flask_cache.get("k") is None
    assert flask_cache.get("long") == 1


def test_memoize(context):
    calls = []

    @flask_cache.memoize(60)
    def double(number):
        calls.append(number)
        return {"double": 2 * number}

    assert double(2) == double(2) == {"double": 4}
    assert double(3) == {"double": 6}
    assert calls == [2, 3]
    flask_cache.delete_memoized(double, 2)
    assert double(2) == {"double": 4}
    assert double(3) == {"double": 6}
    assert calls == [2, 3, 2]


def test_cached_views_are_told_apart_by_their_query(app):
    calls = []

    @app.get("/made-up")
    @flask_cache.cached(timeout=60)
    def made_up():
        calls.append(request.full_path)
        return f"answer to {request.args.get('q')}"

    made_up.requires = None
    client = app.test_client()
    assert [client.get(f"/made-up?q={q}").text for q in "aab"] == ["answer to a", "answer to a", "answer to b"]
    assert len(calls) == 2
