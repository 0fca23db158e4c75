"""A lesson is edited while it is read: whoever begins to read after the writer is done sees what was written, or something newer.

Short form in `make test`; `make faults` runs the full one.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from tests.faults.completions import FULL
from tests.faults.host import Host
from tests.faults.lesson import READERS, Edit, Lesson, import_first
from tests.network import two_places
from tests.redis import Redis, redis_server
from tests.tcp_proxy import TcpProxy

__all__ = ["redis_server"]

EDITS = 200 if FULL else 12
EDITS_OF_TWO, OF_THEM_FROM_THE_SHELL = (60, 60) if FULL else (4, 8)  # the latter every so many, as well
FROM_THE_SHELL = 2 if FULL else 6  # every so many edits; a command takes a second to start
OTHER_HOST_WITHIN_S = 1.0
AFTER_A_CUT_WITHIN_S = 2.0
CUT_S = 10.0 if FULL else 3.5


def test_no_reader_on_a_host_sees_an_older_version_after_the_writer_is_done(database, database_url, tmp_path):
    lesson = import_first(database, tmp_path / "content")
    with Host(tmp_path, database_url) as host:
        before = host.used_cpu()
        with lesson.being_read(host):
            lesson.wait_until_read()
            for number in range(EDITS):
                lesson.edit(host, from_the_shell=number % FROM_THE_SHELL == 0)
                lesson.wait_until_seen(host)
        after = host.used_cpu()
    assert all(after[pid] > before[pid] for pid in before), "a worker answered nobody"
    assert lesson.outdated(host, lesson.edits, {edit.number: edit.done for edit in lesson.edits}) == []
    print(f"\n{database.dialect}: {EDITS} edits, {len(lesson.seen)} reads by {READERS} readers of 4 workers, 0 of them outdated")


@contextmanager
def two_hosts(folder: Path, database_url: str, redis: Redis) -> Iterator[tuple[Host, Host, TcpProxy]]:
    """Two hosts with one database and one Redis; and what stands between the second one and Redis."""
    with two_places() as places, ExitStack() as parts:
        hosts, to_redis = [], []
        for number, place in enumerate(places):
            url = make_url(database_url)
            if place.prefix:  # the database listens on 127.0.0.1, which is another one there
                proxy = parts.enter_context(TcpProxy(url.port, place.machine))
                url = url.set(host=place.machine, port=proxy.port)
            to_redis.append(parts.enter_context(TcpProxy(redis.port, place.machine)))
            own = folder / f"host{number}"
            own.mkdir()
            hosts.append(
                Host(
                    own,
                    url.render_as_string(hide_password=False),
                    workers=2,
                    place=place,
                    redis_url=f"redis://{place.machine}:{to_redis[-1].port}/0",
                )
            )
        yield parts.enter_context(hosts[0]), parts.enter_context(hosts[1]), to_redis[1]


@pytest.mark.parametrize("engine_name", ["postgresql"], indirect=True)  # hosts cannot share a file
@pytest.mark.parametrize("lost_by", ["both", "the second"])
def test_no_reader_on_two_hosts_sees_an_older_version_for_long(database, database_url, redis_server, tmp_path, lost_by):
    lesson = import_first(database, tmp_path / "content")
    with two_hosts(tmp_path, database_url, redis_server) as (first, second, to_redis), lesson.being_read(first, second):
        lesson.wait_until_read()
        writers = itertools.cycle([first, second])
        edit_some(lesson, writers, EDITS_OF_TWO)
        cut = time.monotonic()
        if lost_by == "both":
            redis_server.stop()
        else:
            to_redis.blackhole()
            writers = itertools.repeat(first)  # nobody could tell the first of what the second writes
        while time.monotonic() < cut + CUT_S:
            edit_some(lesson, writers, 1)
        if lost_by == "both":
            redis_server.start()
        else:
            to_redis.restore()
        back = time.monotonic()
        edit_some(lesson, itertools.cycle([first, second]), EDITS_OF_TWO)

    def due(edit: Edit, host: Host) -> float:
        if edit.host is host:
            return edit.done
        if cut - OTHER_HOST_WITHIN_S < edit.done < back:
            return max(edit.done, cut + AFTER_A_CUT_WITHIN_S)
        return edit.done + OTHER_HOST_WITHIN_S

    for host in (first, second):
        assert lesson.outdated(host, lesson.edits, {edit.number: due(edit, host) for edit in lesson.edits}) == []
    at_once = sum(
        len(lesson.outdated(host, lesson.edits, {edit.number: edit.done for edit in lesson.edits})) for host in (first, second)
    )
    print(
        f"\n{len(lesson.edits)} edits on two hosts, {len(lesson.seen)} reads, {at_once} of them outdated when they began, "
        f"none for longer than {OTHER_HOST_WITHIN_S} s; Redis lost by {lost_by} for {back - cut:.1f} s, none later than "
        f"{AFTER_A_CUT_WITHIN_S} s after that"
    )


def edit_some(lesson: Lesson, writers: Iterator[Host], number: int) -> None:
    """Edit the lesson so often, and each time have readers of the writer's host see it."""
    for _ in range(number):
        host = next(writers)
        lesson.edit(host, from_the_shell=len(lesson.edits) % OF_THEM_FROM_THE_SHELL == 0)
        lesson.wait_until_seen(host)
