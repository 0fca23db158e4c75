"""The proxy of the tests of faults does what those tests believe."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.server import wait_until
from tests.tcp_proxy import TcpProxy


class Heard:
    def __init__(self) -> None:
        self.data = b""

    def sent(self, data: bytes) -> None:
        self.data += data

    def answered(self, data: bytes) -> None: ...


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A server that sends back what it is sent."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            threads = []
            while True:
                connection, _ = listening.accept()
                if not connection.recv(1, socket.MSG_PEEK):
                    connection.close()
                    break
                threads.append(threading.Thread(target=answer, args=(connection,)))
                threads[-1].start()
            for thread in threads:
                thread.join(30)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        socket.create_connection(listening.getsockname()).close()  # one that says nothing ends it
        thread.join(30)


def answer(connection: socket.socket) -> None:
    with connection:
        while data := connection.recv(1000):
            connection.sendall(data)


def client(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def test_it_works(echo_port: int) -> None:
    with TcpProxy(echo_port) as proxy, client(proxy) as one, client(proxy) as other:
        one.sendall(b"a")
        other.sendall(b"b")
        assert (one.recv(10), other.recv(10)) == (b"a", b"b")
        one.shutdown(socket.SHUT_WR)
        assert one.recv(10) == b""
        other.sendall(b"c")
        assert other.recv(10) == b"c"
        assert proxy.connections == 2


def test_a_black_hole_reads_and_forwards_nothing_until_it_is_restored(echo_port: int) -> None:
    heard = Heard()
    with TcpProxy(echo_port, listener=lambda: heard) as proxy, client(proxy) as known:
        known.sendall(b"1")
        assert known.recv(10) == b"1"
        proxy.blackhole()
        with client(proxy) as new:
            known.sendall(b"2")
            wait_until(lambda: heard.data == b"12")
            new.sendall(b"3")
            wait_until(lambda: heard.data == b"123")
            for one in (known, new):
                one.settimeout(0.1)
                with pytest.raises(TimeoutError):
                    one.recv(10)
                one.settimeout(10)
            proxy.restore()
            assert (known.recv(10), new.recv(10)) == (b"2", b"3")


def test_a_cut_resets_what_is_open_and_refuses_what_is_new(echo_port: int) -> None:
    with TcpProxy(echo_port) as proxy, client(proxy) as known:
        known.sendall(b"1")
        assert known.recv(10) == b"1"
        proxy.cut()
        assert ended(known)
        with client(proxy) as new:
            assert ended(new)
        proxy.restore()
        with client(proxy) as new:
            new.sendall(b"2")
            assert new.recv(10) == b"2"


def test_a_delay_comes_before_every_answer(echo_port: int) -> None:
    with TcpProxy(echo_port) as proxy, client(proxy) as one:
        proxy.delay(0.2)
        one.sendall(b"1")
        one.settimeout(0.3)  # there and back takes 0.4
        with pytest.raises(TimeoutError):
            one.recv(10)
        one.settimeout(10)
        assert one.recv(10) == b"1"


def ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(10) == b""
    except ConnectionResetError:
        return True
