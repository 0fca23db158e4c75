from __future__ import annotations

import multiprocessing
import threading
from contextlib import suppress

import pytest

from codyverse.errors import NotFound
from codyverse.operations.cache import tiered
from codyverse.operations.cache.reading import reading
from tests.operations.cache.made import Source, SourceAway, Wall, ask_at_once, make, processes
from tests.parallel import in_parallel
from tests.server import wait_until


@pytest.fixture
def wall():
    return Wall()


@pytest.fixture
def made(tmp_path, wall):
    made, counts = make(tmp_path, wall)
    yield made, counts
    made.close()


@pytest.fixture
def other(tmp_path, wall, made):
    """Another process of the same host, as far as a cache can tell."""
    other, _ = make(tmp_path, wall)
    yield other
    other.close()


def test_it_works(made):
    cache, counts = made
    source = Source({"a": [1]})
    assert cache.cached("k", source, ["t"]) == {"a": [1]}
    assert cache.cached("k", source, ["t"]) == {"a": [1]}
    assert source.loads == 1
    source.value = {"a": [2]}
    cache.invalidate("another")
    assert cache.cached("k", source, ["t"]) == {"a": [1]}
    cache.invalidate("t")
    assert cache.cached("k", source, ["t"]) == {"a": [2]}
    assert counts == {"cache:hit:l1": 2, "cache:miss:l1": 2, "cache:miss:l2": 2, "cache:loaded": 2}


def test_a_hit_and_a_miss_return_the_same_and_nobody_changes_a_neighbour_s(made):
    cache, _ = made
    source = Source({"pair": (1, 2)})
    first = cache.cached("k", source, ["t"])
    assert first == {"pair": [1, 2]}
    first["pair"].append(3)
    assert cache.cached("k", source, ["t"]) == {"pair": [1, 2]}


def test_processes_share_what_one_loaded_and_outdate_it_for_all(made, other):
    cache, _ = made
    source = Source(1)
    assert cache.cached("k", source, ["t"]) == other.cached("k", source, ["t"]) == 1
    assert source.loads == 1
    source.value = 2
    other.invalidate("t")
    assert cache.cached("k", source, ["t"]) == 2


def test_a_change_in_the_middle_of_a_load_outdates_what_was_loaded(made):
    cache, _ = made
    source = Source(1)

    def load():
        value = source()
        source.value = 2
        cache.invalidate("t")
        return value

    assert cache.cached("k", load, ["t"]) == 1
    assert cache.cached("k", source, ["t"]) == 2


def test_tags_may_depend_on_the_value_and_are_noted_for_the_answer(made):
    cache, _ = made
    source = Source({"course": "a"})
    for _ in range(2):
        with reading() as noted:
            cache.cached("k", source, lambda value: [f"course:{value['course']}"])
        assert noted.tags == {"course:a"}
    cache.invalidate("course:a")
    cache.cached("k", source, ["t"])
    assert source.loads == 2


def test_what_is_late_is_answered_while_one_thread_loads_it_anew(made, wall):
    cache, counts = made
    source = Source(1)
    cache.cached("k", source, ["t"])
    source.value = 2
    wall.now += 1.2 * 1800  # past L1 and L2
    assert cache.cached("k", source, ["t"]) == 1
    wait_until(lambda: cache.cached("k", source, ["t"]) == 2)
    assert counts["cache:late"] >= 1
    assert source.loads == 2


def test_twice_its_time_is_too_late(made, wall):
    cache, _ = made
    source = Source(1)
    cache.cached("k", source, ["t"])
    source.value = 2
    wall.now += 2.2 * 1800
    assert cache.cached("k", source, ["t"]) == 2


def test_what_is_outdated_is_better_than_nothing_when_the_source_is_away(made, wall):
    cache, counts = made
    source = Source(1)
    cache.cached("k", source, ["t"])
    wall.now += 60
    cache.invalidate("t")
    source.away = True
    with reading() as noted:
        assert cache.cached("k", source, ["t"]) == 1
    assert noted.outdated_s == 60
    assert noted.tags == {"t"}
    assert counts["cache:outdated"] == 1
    with pytest.raises(SourceAway):
        cache.cached("another", source, ["t"])
    wall.now += 2 * 1800
    with pytest.raises(SourceAway):
        cache.cached("k", source, ["t"])
    source.away, source.value = False, 2
    with reading() as noted:
        assert cache.cached("k", source, ["t"]) == 2
    assert noted.outdated_s is None


def test_errors_are_not_kept_and_others_than_the_source_s_pass(made):
    cache, _ = made
    source = Source(1)
    cache.cached("k", source, ["t"])
    cache.invalidate("t")

    def gone():
        raise NotFound("gone")

    for _ in range(2):
        with pytest.raises(NotFound):
            cache.cached("k", gone, ["t"])
    assert cache.cached("k", source, ["t"]) == 1


def test_an_error_reaches_everybody_who_waits(made):
    cache, _ = made
    loads = []
    everybody = threading.Event()

    def load():
        loads.append(1)
        everybody.wait(0.5)
        raise SourceAway

    def ask():
        try:
            return cache.cached("k", load, ["t"])
        except SourceAway:
            return "away"

    assert in_parallel(20, ask) == ["away"] * 20
    assert len(loads) == 1


def test_who_asks_after_a_change_does_not_get_what_was_loading_before_it(made):
    cache, _ = made
    source = Source("old")
    loading, changed = threading.Event(), threading.Event()

    def slow():
        value = source()
        loading.set()
        changed.wait(10)
        return value

    first = threading.Thread(target=lambda: cache.cached("k", slow, ["t"]))
    first.start()
    loading.wait(10)
    source.value = "new"
    cache.invalidate("t")
    threading.Timer(0.1, changed.set).start()  # lands while the next one waits
    assert cache.cached("k", source, ["t"]) == "new"
    first.join(10)


def join(cache, before, after, tags):
    """Ask for what is being loaded since before a change: `before` ends that load, `after` is the new one."""
    loading, changed = threading.Event(), threading.Event()

    def slow():
        loading.set()
        changed.wait(10)
        return before()

    def ask(load):
        return cache.cached("k", load, tags, worth_keeping=lambda value: value is not None)

    def first():
        with suppress(NotFound, SourceAway):
            ask(slow)

    thread = threading.Thread(target=first)
    thread.start()
    loading.wait(10)
    cache.invalidate("t")
    threading.Timer(0.1, changed.set).start()
    try:
        return ask(after)
    finally:
        thread.join(10)


def not_found():
    raise NotFound("gone")


def test_who_asks_after_a_change_is_not_told_that_there_was_no_such_thing_before_it(made):
    cache, _ = made
    assert join(cache, not_found, lambda: "new", ["t"]) == "new"


def test_who_asks_after_a_change_does_not_get_the_nothing_of_before_it(made):
    cache, _ = made
    assert join(cache, lambda: None, lambda: "new", lambda value: ["t"] if value else []) == "new"


def test_that_the_source_is_away_is_told_to_who_asks_later_too(made):
    cache, _ = made
    source, later = Source(), Source("new")
    source.away = True
    with pytest.raises(SourceAway):
        join(cache, source, later, ["t"])
    assert later.loads == 0, "one wait for a source that is away is enough"


def test_what_decides_about_a_write_is_not_outdated(made):
    cache, _ = made
    source = Source(1)
    cache.cached("k", source, ["t"])
    cache.invalidate("t")
    source.away = True
    with reading() as noted, pytest.raises(SourceAway):
        cache.cached("k", source, ["t"], may_be_outdated=False)
    assert noted.outdated_s is None
    assert cache.cached("k", source, ["t"]) == 1
    source.away = False
    assert cache.cached("k", source, ["t"], may_be_outdated=False) == 1


def test_what_was_withdrawn_does_not_come_back_when_the_source_goes_away(made):
    cache, _ = made
    source = Source("four")
    cache.cached("k", source, ["t"])
    cache.invalidate("t")
    with pytest.raises(NotFound):
        cache.cached("k", not_found, ["t"])
    source.away = True
    with pytest.raises(SourceAway):
        cache.cached("k", source, ["t"])
    assert cache.sizes() == {"l1": (0, 0), "l2": (0, 0), "l3": (0, 0)}


def test_another_release_finds_no_value_of_this_one_and_hears_of_its_changes(made, other, monkeypatch):
    cache, _ = made
    source, new = Source("shape"), Source("new shape")
    assert cache.cached("k", source, ["t"]) == "shape"
    cache.set("own", b"1")
    monkeypatch.setattr(tiered, "VERSION", "999")
    assert other.cached("k", new, ["t"]) == "new shape"
    assert other.get("own") is None
    monkeypatch.undo()
    assert cache.cached("k", source, ["t"]) == "shape"
    assert source.loads == 1
    assert cache.get("own").body == b"1"
    source.value = "changed"
    other.invalidate("t")
    assert cache.cached("k", source, ["t"]) == "changed"


def test_one_load_for_a_whole_host(tmp_path):
    """Shows 3: 200 ask at once in 4 processes."""
    barrier = multiprocessing.get_context("spawn").Barrier(200)
    processes(4, ask_at_once, tmp_path / "host", 50, tmp_path / "loads", barrier)
    assert (tmp_path / "loads").read_text() == "loaded\n"


def test_without_the_feature_nothing_is_kept(tmp_path):
    cache, _ = make(tmp_path, feature_caching=False)
    source = Source((1,))
    with reading() as noted:
        assert [cache.cached("k", source, ["t"]) for _ in range(2)] == [[1], [1]]
    assert source.loads == 2
    assert noted.tags == {"t"}
    cache.set("k", b"1")
    assert cache.get("k") is None
    cache.close()


def test_a_folder_that_cannot_be_used_breaks_nothing(tmp_path, caplog):
    (tmp_path / "generations").mkdir()
    cache, _ = make(tmp_path)
    source = Source(1)
    assert [cache.cached("k", source, ["t"]) for _ in range(2)] == [1, 1]
    cache.invalidate("t")
    cache.clear()
    cache.close()
    assert "nothing is cached" in caplog.text


def test_everything_at_once(made, other):
    cache, _ = made
    source = Source(1)
    cache.cached("k", source, ["t"])
    other.cached("k", source, ["t"])
    source.value = 2
    cache.clear()
    assert cache.sizes()["l2"] == (0, 0)
    assert other.cached("k", source, ["t"]) == cache.cached("k", source, ["t"]) == 2


def test_the_sizes_of_the_tiers(made, other):
    cache, _ = made
    cache.cached("k", Source("four"), ["t"])
    other.cached("k", Source("four"), ["t"])
    assert cache.sizes() == {"l1": (1, 6), "l2": (1, 6), "l3": (0, 0)}


def test_an_instance_folder_with_another_database_knows_nothing(tmp_path):
    cache, _ = make(tmp_path, database_url="postgresql://one@db.example/one")
    assert cache.cached("k", lambda: "of one", ["t"]) == "of one"
    same, _ = make(tmp_path, database_url="postgresql://somebody:else@db.example/one")
    assert same.cached("k", lambda: "anew", ["t"]) == "of one"
    other, _ = make(tmp_path, database_url="postgresql://one@db.example/other")
    assert other.cached("k", lambda: "of the other", ["t"]) == "of the other"
