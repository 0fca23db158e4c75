"""A connection sends everything, in order and in few packets, whatever the client takes at once; unit tests."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from codyverse.server import wire
from codyverse.server.wire import BUFFERED_BYTES, PATIENCE_S, Connection
from tests.front.both_ways import gunicorn_config

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CONFIG = gunicorn_config()


class Peer:
    """A socket that takes so many bytes at a time, and nothing while `most` is 0."""

    def __init__(self, most=1_000_000):
        self.most, self.packets, self.closed = most, [], False

    def setblocking(self, flag):
        assert not flag

    def sendmsg(self, pieces):
        if not self.most:
            raise BlockingIOError
        taken = b"".join(pieces)[: self.most]
        self.packets.append(taken)
        return len(taken)

    def close(self):
        self.closed = True


@pytest.fixture
def peer():
    return Peer()


@pytest.fixture
def connection(peer):
    return Connection(CONFIG, peer, ("127.0.0.1", 1), ("127.0.0.1", 2))


@pytest.fixture
def client():
    """The other end of `real`."""
    ends = socket.socketpair()
    with ends[0], ends[1]:
        ends[0].settimeout(10)
        yield ends


@pytest.fixture
def real(client):
    return Connection(CONFIG, client[1], "", "")


def test_head_and_body_go_in_one_packet(connection, peer):
    connection.sendall(HEAD)
    assert peer.packets == []
    connection.sendall(b"hello")
    assert peer.packets == [HEAD + b"hello"] and connection.unsent_bytes == 0


def test_a_head_without_a_body_goes_with_the_end(connection, peer):
    connection.sendall(HEAD)
    assert connection.flush() and peer.packets == [HEAD]


def test_the_head_of_a_stream_goes_at_once(connection, peer):
    connection.sendall(STREAM)
    assert peer.packets == [STREAM]


@pytest.mark.parametrize("chunk", [b"9\r\ndata: x\r\n\r\n", b"0\r\n\r\n", b": still there\r\n\r\n"])
def test_what_looks_like_the_end_of_a_head_goes_at_once(connection, peer, chunk):
    connection.sendall(STREAM)
    connection.sendall(chunk)
    assert peer.packets == [STREAM, chunk]


@pytest.mark.parametrize("most", [1, 2, 7, 38, 39, 40])
def test_a_socket_that_takes_little(connection, peer, most):
    peer.most = most
    pieces = [HEAD, b"hello", b"", b"x", *(b"%d" % number for number in range(40))]
    connection.queue(*pieces)
    assert connection.unsent_bytes == len(b"".join(pieces))
    assert connection.flush()
    assert b"".join(peer.packets) == b"".join(pieces) and connection.unsent_bytes == 0


def test_what_is_not_taken_is_kept_for_later(connection, peer):
    peer.most = 0
    connection.sendall(HEAD)
    connection.sendall(b"hello")
    assert connection.unsent_bytes == len(HEAD) + 5 and not connection.flush()
    peer.most = 10
    assert connection.flush() and b"".join(peer.packets) == HEAD + b"hello"


def test_dropped_it_forgets_what_is_unsent(connection, peer):
    peer.most = 0
    connection.send(b"x")
    connection.drop()
    assert peer.closed and connection.unsent_bytes == 0


def test_a_large_answer_that_nobody_reads(real, monkeypatch):
    monkeypatch.setattr(wire, "PATIENCE_S", 0.05)
    real.prepare(10)
    with pytest.raises(BrokenPipeError):
        real.sendall(bytes(2 * BUFFERED_BYTES))


def test_a_large_answer_that_is_read_by_the_spoon(connection, peer, monkeypatch):
    """Reading a little before each time that patience ends is not enough, or four clients would have every thread for hours."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(wire, "time", SimpleNamespace(monotonic=lambda: clock.now))
    took = []

    def can(event, within_s):
        clock.now += 0.9 * PATIENCE_S
        took.append(clock.now)
        assert len(took) < 1000, "it holds a thread for ever"
        peer.most = 1000
        return within_s > 0.9 * PATIENCE_S

    original = peer.sendmsg

    def sendmsg(pieces):
        sent = original(pieces)
        peer.most = 0
        return sent

    peer.most, peer.sendmsg = 0, sendmsg
    monkeypatch.setattr(connection, "_can", can)
    connection.prepare(10)
    with pytest.raises(BrokenPipeError):
        connection.sendall(bytes(2 * BUFFERED_BYTES))
    assert clock.now < 3 * PATIENCE_S


def test_a_large_answer_that_is_read(real, client):
    real.prepare(10)
    real.queue(bytes(BUFFERED_BYTES))
    real.sendall(b"x" * 100_000 + b"end")  # above what is kept: it returns because the client has read that much
    real.peer.setblocking(True)
    assert real.unsent_bytes <= BUFFERED_BYTES


def test_reading_is_over_at_its_deadline(real, client):
    real.prepare(0.02)
    with pytest.raises(ConnectionResetError):
        real.recv(10)
    real.prepare(30)
    client[0].sendall(b"abc")
    assert real.recv(10) == b"abc"
    real.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionResetError):
        real.recv(10)


def test_left_over_is_returned_once(connection):
    connection.received += b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /next"
    connection.prepare(10)
    assert connection.received == b""
    assert next(connection.parser).path == "/"
    assert connection.left_over() == b"GET /next"
    assert connection.left_over() == b"" and connection.parser is None


def test_gunicorn_closing_its_socket_only_ends_keeping_it(connection, peer):
    connection.close()
    assert not peer.closed and not connection.keeps


def test_nothing_has_come(real, client):
    assert real.receive(10) is None
    client[0].sendall(b"abc")
    assert real.receive(2) == b"ab"
    client[0].close()
    assert real.receive(10) == b"c" and real.receive(10) == b""
