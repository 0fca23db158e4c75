"""HAProxy's runtime socket: a real one, and peers that are none."""

from __future__ import annotations

import socket
import threading

import pytest

from codyverse.operations.commands import CommandError
from codyverse.operations.deploy.runtime import BACKEND, Runtime, Unreachable
from tests.deploy.two_tracks import command, two_tracks
from tests.haproxy import Haproxy
from tests.server import free_port, wait_until

SMALLEST = """
defaults
    timeout connect 1s
    timeout client 1s
    timeout server 1s
backend stable
    server s1 127.0.0.1:1
"""


@pytest.fixture
def tracks(tmp_path):
    with two_tracks(tmp_path, stable=2) as running:
        yield running


def test_it_works(tracks):
    rows = {(row.backend, row.name): row for row in tracks.runtime.rows()}
    assert {name for backend, name in rows if backend == "stable"} == {"s1", "s2", "s1-spare", "s2-spare", BACKEND}
    assert {name for backend, name in rows if backend == "canary"} == {"c1", BACKEND}
    first, spare = rows["stable", "s1"], rows["stable", "s1-spare"]
    assert (first.address, first.status, first.is_checked, first.is_spare) == (tracks.stable[0].address, "UP", True, False)
    assert (spare.address, spare.is_checked, spare.is_spare, spare.is_up) == (first.address, False, True, True)
    tracks.visit("stable")
    counted = {row.name: row for row in tracks.runtime.rows() if row.backend == "stable"}[BACKEND]
    assert (counted.requests, counted.errors) == (1, 0)


def test_errors_and_mean_times_are_those_of_the_answers(tracks):
    tracks.stable[0].status, tracks.stable[1].takes_s = 500, 0.05
    for _ in range(4):
        tracks.visit("stable")
    rows = {row.name: row for row in tracks.runtime.rows() if row.backend == "stable"}
    assert (rows["s1"].errors, rows["s2"].errors, rows[BACKEND].errors) == (2, 0, 2)
    assert rows["s2"].mean_ms >= 40 > rows["s1"].mean_ms


def stable(tracks, name="s1"):
    return next(row for row in tracks.runtime.rows() if (row.backend, row.name) == ("stable", name))


@pytest.mark.parametrize(("state", "status"), [("drain", "DRAIN"), ("maint", "MAINT"), ("ready", "UP")])
def test_states(tracks, state, status):
    tracks.runtime.set_state(stable(tracks), state)
    assert stable(tracks).status == status
    assert stable(tracks).is_up == (status == "UP")


def test_a_distrusted_server_is_up_again_only_when_its_checks_say_so(tracks):
    tracks.stable[0].is_ready = False
    tracks.runtime.distrust(stable(tracks))
    assert stable(tracks).status.startswith("DOWN")
    tracks.stable[0].is_ready = True
    wait_until(lambda: stable(tracks).status == "UP")


def test_a_server_without_checks_is_not_distrusted_for_ever(tracks):
    tracks.runtime.distrust(stable(tracks, "s1-spare"))
    assert stable(tracks, "s1-spare").is_up


def test_the_map(tracks):
    number, path = tracks.runtime.map_id("canary.map")
    assert path == str(tracks.map_path)
    assert tracks.runtime.map_value(number, "pct") == "10"
    tracks.runtime.set_map_value(number, "pct", "35")
    tracks.runtime.set_map_value(number, "new", "2")
    assert tracks.runtime.map_value(number, "pct") == "35"
    assert tracks.runtime.map_value(number, "new") == "2"
    assert tracks.runtime.map_value(number, "nothing") is None
    assert tracks.runtime.map_id("other.map") is None


def test_a_refusal_is_one_line(tracks):
    server = stable(tracks)
    with pytest.raises(CommandError, match=r"HAProxy refuses `set server stable/s1 state upside`: .*") as refused:
        tracks.runtime.set_state(server, "upside")
    assert not isinstance(refused.value, Unreachable)


def test_through_tcp(tmp_path):
    haproxy, port = Haproxy(tmp_path), free_port()
    with haproxy(f"global\n stats socket {haproxy.socket_path}\n stats socket 127.0.0.1:{port}\n{SMALLEST}"):
        assert [row.name for row in Runtime(f"127.0.0.1:{port}").rows()] == ["s1", BACKEND]


@pytest.mark.parametrize("address", ["/no/such/socket", "127.0.0.1:1", "nothing", "host:port", "127.0.0.1:99999"])
def test_what_is_not_there_is_said_in_one_line(address):
    result = command("canary", "status", "--socket", address)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"codyverse: HAProxy does not answer at {address}: ") and result.stderr.count("\n") == 1


def answering(text: bytes | None) -> tuple[str, threading.Thread]:
    """Return the address of somebody who answers one connection with this, or who never does."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as peer:
            peer.settimeout(10)
            peer.recv(1000)
            if text is None:
                peer.recv(1000)  # until the other side gives up
            else:
                peer.sendall(text)

    thread = threading.Thread(target=serve)
    thread.start()
    return f"127.0.0.1:{listener.getsockname()[1]}", thread


@pytest.mark.parametrize("text", [b"", b"Permission denied\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_somebody_else(text):
    address, thread = answering(text)
    with pytest.raises(CommandError, match="is no runtime socket"):
        Runtime(address).rows()
    thread.join(10)


def test_silence_ends(tmp_path):
    address, thread = answering(None)
    with pytest.raises(Unreachable, match="timed out"):
        Runtime(address, timeout_s=0.1).rows()
    thread.join(10)
