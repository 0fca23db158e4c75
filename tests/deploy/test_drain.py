"""Servers that leave and come back while visitors ask, behind a real HAProxy."""

from __future__ import annotations

import threading

import pytest

from codyverse.operations.deploy import drain
from codyverse.operations.deploy.runtime import Row
from tests.deploy.two_tracks import Tracks, command, two_tracks, visitors
from tests.server import wait_until


@pytest.fixture
def tracks(tmp_path):
    with two_tracks(tmp_path, stable=2, percent=0) as running:
        yield running


def state(tracks: Tracks, address: str) -> set[str]:
    return {row.status.split()[0] for row in drain.servers(tracks.runtime) if row.address == address and not row.is_spare}


def test_it_works(tracks):
    first, second = tracks.stable
    with visitors(tracks.haproxy.port) as seen:
        assert tracks.done("drain", first.address) == f"{first.address} is drained.\n"
        assert state(tracks, first.address) == {"DRAIN"}
        before, others = first.answered, second.answered
        wait_until(lambda: second.answered > others + 50)
        assert first.answered == before
        assert tracks.done("undrain", first.address) == f"{first.address} is up.\n"
        wait_until(lambda: first.answered > before)
    assert set(seen) == {200}


def test_a_drain_waits_for_what_is_in_progress(tracks):
    first = tracks.stable[0]
    first.takes_s = tracks.stable[1].takes_s = 1.0
    statuses = []
    asking = [threading.Thread(target=lambda: statuses.append(tracks.visit()[0])) for _ in range(2)]
    for thread in asking:
        thread.start()
    wait_until(lambda: any(row.sessions for row in drain.servers(tracks.runtime) if row.address == first.address))
    late = tracks.run("drain", first.address, "--wait", "0.1")
    assert (late.exit_code, late.stderr) == (
        1,
        f"codyverse: {first.address} gets nothing new, but 1 requests are still in progress after 0.1 s.\n",
    )
    tracks.done("drain", first.address)
    assert not any(row.sessions for row in drain.servers(tracks.runtime) if row.address == first.address)
    for thread in asking:
        thread.join(10)
    assert statuses == [200, 200]


def test_who_keeps_a_connection_open_does_not_hold_a_drain_up(tracks):
    with visitors(tracks.haproxy.port, count=2):
        tracks.done("drain", tracks.stable[0].address, "--wait", "5")


def test_the_last_server_is_drained_by_force_only(tracks):
    first, second = (version.address for version in tracks.stable)
    tracks.done("drain", first)
    refused = tracks.run("drain", second)
    assert (refused.exit_code, refused.stderr) == (
        2,
        "codyverse: No other server of stable is up. With --force it is drained all the same.\n",
    )
    assert state(tracks, second) == {"UP"}
    tracks.done("drain", second, "--force")
    assert state(tracks, second) == {"DRAIN"}


def test_the_last_canary_may_go(tracks):
    tracks.done("canary", "promote")
    tracks.done("drain", tracks.canary[0].address)
    assert tracks.visit()[1] == "stable"


def test_who_is_not_ready_stays_out(tracks):
    """HAProxy knew it as up; it must be asked anew before it gets a request."""
    first = tracks.stable[0]
    tracks.done("drain", first.address)
    first.is_ready = False
    before = first.answered
    with visitors(tracks.haproxy.port) as seen:
        late = tracks.run("undrain", first.address, "--wait", "0.2")
        assert (late.exit_code, late.stderr) == (
            1,
            f"codyverse: {first.address} is not ready after 0.2 s. It gets requests as soon as it is.\n",
        )
        assert first.answered == before
        first.is_ready = True
        wait_until(lambda: first.answered > before)
    assert set(seen) == {200}


def test_servers_are_listed(tracks):
    first, second = tracks.stable
    assert [line.split("\t") for line in tracks.done("servers").splitlines()] == [
        ["stable", "s1", first.address, "UP", "0"],
        ["stable", "s2", second.address, "UP", "0"],
        ["canary", "c1", tracks.canary[0].address, "UP", "0"],
    ]


@pytest.mark.parametrize("where", ["127.0.0.1:1", "10.0.0.1:8000", "localhost", "", ":", "[::1]:80", "no.such.host.invalid:1"])
@pytest.mark.parametrize("which", ["drain", "undrain"])
def test_a_server_that_is_not_there(unsteered, where, which):
    result = unsteered.run(which, where)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"codyverse: HAProxy has no server {where}. It has 127.0.0.1:")
    assert result.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def unsteered(tmp_path_factory):
    """For what changes nothing."""
    with two_tracks(tmp_path_factory.mktemp("haproxy"), stable=2, percent=0) as running:
        yield running


def test_a_name_is_looked_up(unsteered):
    port = unsteered.stable[0].port
    assert unsteered.done("undrain", f"localhost:{port}") == f"localhost:{port} is up.\n"


@pytest.mark.parametrize("wait", ["-1", "soon", "1e9", "nan"])
def test_waits_that_are_none(wait):
    assert command("drain", "127.0.0.1:1", "--wait", wait).exit_code == 2


def row(**different) -> Row:
    known = {"backend": "stable", "name": "s1", "address": "[::1]:80", "status": "UP", "is_checked": True, "is_spare": False}
    return Row(**{**known, "sessions": 0, "waiting": 0, "requests": 0, "errors": 0, "mean_ms": 0, **different})


class Fixed:
    """A runtime whose rows stand still."""

    def __init__(self, *rows: Row) -> None:
        self._rows = rows

    def rows(self) -> list[Row]:
        return list(self._rows)


def test_ipv6_and_two_backends_with_one_server():
    runtime = Fixed(row(), row(backend="other"), row(name="s2", address="[::2]:80"), row(name="BACKEND", address=""))
    assert [(found.backend, found.name) for found in drain._at(runtime, "[::1]:80")] == [("stable", "s1"), ("other", "s1")]
