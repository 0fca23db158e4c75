"""The pool, with a clock that is moved and connections to a file."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from codyverse.pool import SPARE_S, Pool, PoolState
from tests.server import wait_until


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(clock: Clock) -> Iterator[Callable[..., Pool]]:
    made: list[Pool] = []

    def make(most: int = 4, kept: int = 2, **options: Any) -> Pool:
        def connect() -> sqlite3.Connection:
            return sqlite3.connect(":memory:", check_same_thread=False)

        made.append(Pool(connect, most, kept, clock=clock, **{"look_after_s": 3600.0, **options}))
        return made[-1]

    yield make
    for pool in made:
        pool.dispose()


def give_back(*lent: Any) -> None:
    for connection in lent:
        connection.close()


def test_it_works(make: Callable[..., Pool]) -> None:
    pool = make()
    assert pool.state() == PoolState(in_use=0, idle=0, waiting=0, size=4)
    one, two = pool.connect(), pool.connect()
    assert pool.state() == PoolState(in_use=2, idle=0, waiting=0, size=4)
    give_back(one)
    assert pool.state() == PoolState(in_use=1, idle=1, waiting=0, size=4)
    give_back(two)


def test_the_last_that_came_back_is_lent_first(make: Callable[..., Pool]) -> None:
    pool = make()
    lent = [pool.connect() for _ in range(3)]
    last = lent[-1].dbapi_connection
    give_back(*lent)
    again = pool.connect()
    assert again.dbapi_connection is last
    give_back(again)


def test_while_they_are_needed_all_stay_open(make: Callable[..., Pool], clock: Clock) -> None:
    pool = make()
    first = None
    for _ in range(20):
        lent = [pool.connect() for _ in range(4)]
        connections = {id(each.dbapi_connection) for each in lent}
        first = first or connections
        assert connections == first
        give_back(*lent)
        clock.now += SPARE_S - 1
        pool.give_up_spare()


def test_what_is_not_needed_for_a_while_is_closed(make: Callable[..., Pool], clock: Clock) -> None:
    pool = make()
    lent = [pool.connect() for _ in range(4)]
    driver = lent[0].dbapi_connection
    give_back(*lent)
    clock.now += SPARE_S / 2
    give_back(pool.connect(), pool.connect())  # one after the other, so it is the same one
    clock.now += SPARE_S / 2
    assert pool.give_up_spare() == 0
    assert pool.state().idle == 2
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        driver.execute("SELECT 1")
    clock.now += 10 * SPARE_S
    pool.give_up_spare()
    assert pool.state().idle == 2


def test_nobody_has_to_come_by_for_that(make: Callable[..., Pool], clock: Clock) -> None:
    pool = make(look_after_s=0.01)
    give_back(*[pool.connect() for _ in range(4)])
    clock.now += SPARE_S
    wait_until(lambda: pool.state().idle == 2)
    wait_until(lambda: all(thread.name != "pool" for thread in threading.enumerate()))
    give_back(*[pool.connect() for _ in range(4)])
    clock.now += SPARE_S
    wait_until(lambda: pool.state().idle == 2)


def test_more_than_the_most_wait_for_one(make: Callable[..., Pool]) -> None:
    pool = make(most=1, wait_s=30.0)
    lent = pool.connect()
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(pool.connect()))
    thread.start()
    wait_until(lambda: pool.state().waiting == 1)
    give_back(lent)
    thread.join(30)
    assert pool.state() == PoolState(in_use=1, idle=0, waiting=0, size=1)
    give_back(*got)


def test_who_waited_for_nothing_is_told(make: Callable[..., Pool]) -> None:
    pool = make(most=1, wait_s=0.01)
    lent = pool.connect()
    with pytest.raises(sa.exc.TimeoutError):
        pool.connect()
    assert pool.state() == PoolState(in_use=1, idle=0, waiting=0, size=1)
    give_back(lent)


def test_a_connection_that_broke_makes_room(make: Callable[..., Pool]) -> None:
    pool = make(most=1, wait_s=0.01)
    pool.connect().invalidate()
    assert pool.state() == PoolState(in_use=0, idle=0, waiting=0, size=1)
    give_back(pool.connect())


def test_a_connection_that_cannot_be_opened_takes_no_room() -> None:
    def refuse() -> sqlite3.Connection:
        raise sqlite3.OperationalError

    pool = Pool(refuse, 1, 1, 0.01)
    for _ in range(3):
        with pytest.raises(sqlite3.OperationalError):
            pool.connect()
    assert pool.state().in_use == 0


def test_what_comes_back_after_the_end_is_closed(make: Callable[..., Pool]) -> None:
    pool = make()
    lent = pool.connect()
    driver = lent.dbapi_connection
    pool.dispose()
    give_back(lent)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        driver.execute("SELECT 1")
    assert pool.state() == PoolState(in_use=0, idle=0, waiting=0, size=4)


def test_the_figures_are_right_with_many_threads(make: Callable[..., Pool]) -> None:
    pool = make(most=5, wait_s=60.0)
    lent: set[int] = set()
    guard = threading.Lock()
    wrong: list[object] = []

    def use() -> None:
        for _ in range(200):
            connection = pool.connect()
            driver = id(connection.dbapi_connection)
            with guard:
                if driver in lent:
                    wrong.append("lent twice")
                lent.add(driver)
            state = pool.state()
            if not (1 <= state.in_use <= 5 and state.in_use + state.idle <= 5 and state.waiting <= 11):
                wrong.append(state)
            with guard:
                lent.discard(driver)
            connection.close()

    threads = [threading.Thread(target=use) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert wrong == []
    state = pool.state()
    assert (state.in_use, state.waiting) == (0, 0)
    assert 1 <= state.idle <= 5
