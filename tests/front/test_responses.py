from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from codyverse.operations.cache.generations import Generations
from codyverse.server.doorkeeper import HALF_LIFE_S, Doorkeeper
from codyverse.server.responses import IDENTITY, LARGEST_SHARE, OUTDATED_S, OVERHEAD_BYTES, Entry, Key, Responses

ROOM = 400_000
FRESH_S = 300.0
BODY = b"all about robots " * 200


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def generations(tmp_path: Path) -> Iterator[Generations]:
    opened = Generations(tmp_path / "generations")
    yield opened
    opened.close()


@pytest.fixture
def store(generations: Generations, time: Time) -> Responses:
    return Responses(ROOM, FRESH_S, generations, {"gzip": gzip.compress}, time)


def key(path: str, query: str = "", host: str = "learn.example.org") -> Key:
    return "https", host, path, query, ""


@pytest.fixture
def make(store: Responses) -> Callable[..., Entry]:
    def make(body: bytes = BODY, tags: tuple[str, ...] = ("catalogue",), etag: str = '"abc"', compressible: bool = True) -> Entry:
        headers = [("Content-Type", "text/plain"), ("ETag", etag), ("Last-Modified", "x"), ("Vary", "Accept-Encoding")]
        generations = store.generations
        return store.make("/page", headers, body, compressible, generations.as_of(), generations.slots(tags))

    return make


def change(generations: Generations, *tags: str) -> None:
    generations.begin(tags)
    generations.end(tags)


def test_it_works(store: Responses, make: Callable[..., Entry]) -> None:
    assert store.find(key("/")) is None
    kept = make()
    assert store.keep(key("/"), kept) is kept

    found = store.find(key("/"))
    assert found is kept
    assert store.fresh(found)
    variant = store.variant(key("/"), found, IDENTITY)
    assert variant.body == BODY
    assert dict(variant.headers)["Content-Length"] == str(len(BODY))


@pytest.mark.parametrize("other", [key("/", "a=1"), key("/", host="b"), ("http", *key("/")[1:]), (*key("/")[:4], "https://b")])
def test_whatever_the_answer_depends_on_is_in_the_key(store: Responses, make: Callable[..., Entry], other: Key) -> None:
    store.keep(key("/"), make())
    assert store.find(other) is None


def test_a_variant_is_made_once_and_has_a_tag_of_its_own(store: Responses, make: Callable[..., Entry]) -> None:
    entry = make()
    store.keep(key("/"), entry)
    before = store.size_bytes

    variant = store.variant(key("/"), entry, "gzip")
    headers = dict(variant.headers)
    assert gzip.decompress(variant.body) == BODY
    assert headers["ETag"] == 'W/"abc:gzip"'
    assert headers["Content-Encoding"] == "gzip"
    assert headers["Content-Length"] == str(len(variant.body))
    assert store.variant(key("/"), entry, "gzip") is variant
    assert store.size_bytes > before + len(variant.body)


def test_a_change_outdates_what_depends_on_it(store: Responses, make: Callable[..., Entry], generations: Generations) -> None:
    course, other = make(tags=("course:a", "catalogue")), make(tags=("course:b",))
    store.keep(key("/a"), course)
    store.keep(key("/b"), other)
    change(generations, "course:a")
    assert (store.fresh(course), store.fresh(other)) == (False, True)


def test_what_changed_while_it_was_made_is_not_kept(
    store: Responses, make: Callable[..., Entry], generations: Generations
) -> None:
    entry = make()
    change(generations, "catalogue")
    assert store.keep(key("/"), entry) is None
    assert store.find(key("/")) is None
    generations.begin(["catalogue"])
    assert store.keep(key("/"), make()) is None


def test_nothing_is_used_for_longer_than_it_may(store: Responses, make: Callable[..., Entry], time: Time) -> None:
    entry = make()
    store.keep(key("/"), entry)
    time.now += FRESH_S - 1
    assert store.fresh(entry)
    time.now += 1
    assert not store.fresh(entry)


def test_what_is_outdated_can_be_used_in_need_for_an_hour(
    store: Responses, make: Callable[..., Entry], generations: Generations, time: Time
) -> None:
    entry = make()
    store.keep(key("/"), entry)
    time.now += 60
    change(generations, "catalogue")
    assert not store.fresh(entry)
    assert store.outdated_s(entry) == 60
    time.now += OUTDATED_S
    assert store.outdated_s(entry) == 60 + OUTDATED_S
    time.now += 1
    assert store.outdated_s(entry) is None


@pytest.mark.parametrize(
    ("sent", "known"),
    [
        ('"abc"', IDENTITY),
        ('W/"abc:gzip"', "gzip"),
        ('W/"abc"', IDENTITY),
        ('"x", W/"abc:gzip"', "gzip"),
        ("*", IDENTITY),
        ('"abc:br"', None),
        ('"ab"', None),
        ("abc", IDENTITY),  # as Werkzeug reads it
    ],
)
def test_clients_are_known_by_their_tags(make: Callable[..., Entry], sent: str, known: str | None) -> None:
    assert make().known_as(sent, "gzip") == known


def test_weak_tags_are_the_same_in_every_encoding(make: Callable[..., Entry]) -> None:
    entry = make(etag='W/"abc"')
    assert entry.etag_of("gzip") == 'W/"abc"'
    assert entry.known_as('"abc"', "gzip") == IDENTITY


def test_304_has_nothing_that_describes_the_body(make: Callable[..., Entry]) -> None:
    assert make().not_modified("gzip").headers == [("Vary", "Accept-Encoding"), ("ETag", 'W/"abc:gzip"')]


def test_room_is_bounded_and_what_was_asked_for_longest_ago_goes_first(store: Responses, make: Callable[..., Entry]) -> None:
    body = bytes(30_000)
    for number in range(30):
        store.keep(key(f"/{number}"), make(body))
        store.find(key("/0"))
        assert store.size_bytes <= ROOM
    assert store.find(key("/0")) is not None
    assert store.find(key("/1")) is None
    assert store.find(key("/29")) is not None


def test_variants_take_room_too(store: Responses, make: Callable[..., Entry]) -> None:
    entries = [make(bytes(20_000)) for _ in range(ROOM // (20_000 + 2 * OVERHEAD_BYTES))]
    for number, entry in enumerate(entries):
        store.keep(key(f"/{number}"), entry)
    for number, entry in enumerate(entries):
        store.variant(key(f"/{number}"), entry, "gzip")
        assert store.size_bytes <= ROOM
    assert store.size_bytes == sum(entry.size_bytes for entry in store._entries.values())


def test_nothing_that_is_too_large_is_kept(store: Responses, make: Callable[..., Entry]) -> None:
    assert store.keep(key("/"), make(bytes(ROOM // LARGEST_SHARE + 1))) is None
    assert (len(store), store.size_bytes) == (0, 0)


def test_an_answer_is_worth_keeping_at_the_second_time(store: Responses, time: Time) -> None:
    assert not store.wants(key("/"))
    store.note(key("/"))
    assert store.wants(key("/"))
    time.now += 2 * HALF_LIFE_S
    assert not store.wants(key("/"))


def test_made_up_addresses_do_not_drive_out_what_matters(store: Responses, make: Callable[..., Entry]) -> None:
    """An attacker asks for each of 2,000 addresses three times, and for more hosts than there is room for."""
    matters = [key(f"/{number}") for number in range(5)]
    for each in matters:
        store.keep(each, make(bytes(30_000)))
        for _ in range(50):
            store.find(each)
    for number in range(2000):
        made_up = key("/", f"x={number}") if number % 2 else key("/", host=f"host-{number}")
        for _ in range(3):
            if store.find(made_up) is None:
                if store.wants(made_up):
                    store.keep(made_up, make(bytes(30_000)))
                else:
                    store.note(made_up)
        assert store.size_bytes <= ROOM
    assert all(store.find(each) is not None for each in matters)


def test_yesterdays_favourites_go(store: Responses, make: Callable[..., Entry], time: Time) -> None:
    body = bytes(45_000)
    for number in range(8):
        store.keep(key(f"/old/{number}"), make(body))
        for _ in range(30):
            store.find(key(f"/old/{number}"))
    time.now += 10 * HALF_LIFE_S
    store.note(key("/new"))
    assert store.wants(key("/new"))


def test_threads_may_do_all_of_this_at_once(store: Responses, make: Callable[..., Entry]) -> None:
    faults: list[Exception] = []

    def work(seed: int) -> None:
        try:
            for turn in range(400):
                asked = key(f"/{(seed + turn) % 20}")
                entry = store.find(asked)
                if entry is None:
                    entry = store.keep(asked, make(bytes(20_000 + seed)))
                assert entry is not None
                store.variant(asked, entry, "gzip")
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert store.size_bytes == sum(entry.size_bytes for entry in store._entries.values()) <= ROOM


def test_the_doorkeeper_counts_and_forgets(time: Time) -> None:
    doorkeeper = Doorkeeper(time)
    for _ in range(6):
        doorkeeper.count("a")
    assert doorkeeper.estimate("a") == 6
    assert doorkeeper.estimate("b") == 0
    time.now += HALF_LIFE_S
    assert (doorkeeper.estimate("a"), doorkeeper.epoch) == (3, 1)
    time.now += 3 * HALF_LIFE_S
    assert (doorkeeper.estimate("a"), doorkeeper.epoch) == (0, 4)
    for _ in range(300):
        doorkeeper.count("a")
    assert doorkeeper.estimate("a") == 255
