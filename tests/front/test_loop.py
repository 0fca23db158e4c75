"""What the event loop does with connections, in every phase: unit tests, in which the test is the threads and moves the clock."""

from __future__ import annotations

import errno
import selectors
import socket
import time
from http import HTTPStatus
from types import SimpleNamespace

import orjson
import pytest

from codyverse.server import loop as looping
from codyverse.server.admission import Admission
from codyverse.server.hits import Answer
from codyverse.server.loop import Loop
from tests.conftest import make_settings
from tests.front.both_ways import gunicorn_config

HIT = b"GET /hit HTTP/1.1\r\nHost: x\r\n\r\n"
FAULT = b"GET /fault HTTP/1.1\r\nHost: x\r\n\r\n"
MISS = b"GET /miss HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
LARGE = b"x" * 3_000_000  # more than a pair of sockets holds
CONFIG = gunicorn_config()


class Hits:
    """Answers /hit, and fails at /fault."""

    body = b"hit"

    def answer(self, head, client):
        if head == FAULT:
            raise RuntimeError("of the application")
        if head != HIT:
            return None
        begin = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.body)
        return Answer(begin, self.body, "GET", "/hit", 200, "", "id", "")


class Log:
    def __init__(self):
        self.lines = []

    def note(self, method, path, status, *rest):
        self.lines.append((method, path, status))


class Poller(selectors.DefaultSelector):
    """Registers nothing more while it is `full`."""

    full = False

    def register(self, *arguments):
        if self.full:
            raise OSError(errno.ENOSPC, "no room")
        return super().register(*arguments)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class Served:
    """A loop and its clients."""

    def __init__(self, settings, clock, depth=1000):
        self.clock, self.poller, self.hits, self.log = clock, Poller(), Hits(), Log()
        self.admission = Admission(4, depth, lambda name: None, clock, wait_s=1000)
        self.released = 0
        self.loop = Loop(CONFIG, self.poller, self.admission, settings, self.hits, self.log, self._release)
        self.sockets = []

    def _release(self):
        self.released += 1

    def connect(self, *sent):
        client, server = socket.socketpair()
        client.settimeout(10)
        self.sockets += [client, server]
        self.loop.take(server, ("127.0.0.1", 1), ("127.0.0.1", 2))
        for data in sent:
            client.sendall(data)
            self.turn()
        return client

    def turn(self):
        for key, _ in self.poller.select(0):
            key.data(key.fileobj)

    def pass_time(self, seconds):
        self.clock.now += seconds
        self.loop.sweep()

    def get(self):
        """Take what a thread would, and parse it; returns the connection."""
        klass, connection = self.admission.get()
        connection.prepare(10)
        connection.klass = klass
        connection.request = next(connection.parser)
        return connection

    def done(self, connection, body=b"ok", keeps=True):
        head = OK if len(body) == 2 else OK.replace(b"2", b"%d" % len(body), 2).replace(b"%d00" % len(body), b"200")
        connection.sendall(head)
        connection.sendall(body)
        keeps = keeps and connection.parser.finish_body()
        self.admission.done(connection.klass, 0.0)
        self.loop.answered(connection, keeps)

    def waiting(self):
        return sum(self.admission.waiting().values())

    def close(self):
        self.loop.close()
        self.poller.close()
        for each in self.sockets:
            each.close()


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(looping, "time", SimpleNamespace(monotonic=clock, time=time.time, perf_counter=time.perf_counter))
    return clock


@pytest.fixture
def settings(tmp_path):
    return make_settings(tmp_path, "sqlite:///unused")


@pytest.fixture
def served(settings, clock):
    served = Served(settings, clock)
    yield served
    served.close()


def has_ended(client):
    client.setblocking(False)
    try:
        return client.recv(1_000_000) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def assert_refused(client, status, keeps=False):
    """Fail unless the client gets a problem document, and no more."""
    head, _, body = client.recv(10_000).partition(b"\r\n\r\n")
    lines = head.decode("ascii").split("\r\n")
    assert lines[0] == f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
    assert {
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        f"Connection: {'keep-alive' if keeps else 'close'}",
    } <= {*lines}
    problem = orjson.loads(body)
    assert problem["status"] == status and f"X-Request-ID: {problem['request_id']}" in lines
    assert keeps or client.recv(10) == b""


def test_a_hit_is_answered_at_once(served):
    client = served.connect(HIT, HIT)
    assert client.recv(1000) == (OK.replace(b"2\r", b"3\r") + b"hit") * 2
    assert served.loop.answered_here == 2 and served.waiting() == 0
    assert served.log.lines == [("GET", "/hit", 200)] * 2


def test_the_rest_is_queued_and_answered_by_a_thread(served):
    client = served.connect(MISS)
    connection = served.get()
    assert connection.request.path == "/miss"
    served.done(connection)
    assert client.recv(1000) == OK + b"ok"
    client.sendall(HIT)
    served.turn()
    assert client.recv(1000).endswith(b"hit"), "and the connection goes on"


def test_every_byte_by_itself(served):
    client = served.connect(*(bytes([byte]) for byte in POST + b"0123456789"))
    connection = served.get()
    assert connection.request.body.read() == b"0123456789"
    served.done(connection)
    assert client.recv(1000) == OK + b"ok"


def test_what_is_pipelined_is_answered_in_order(served):
    client = served.connect(POST + b"0123456789" + HIT)
    assert served.loop.answered_here == 0
    served.done(served.get(), b"first")
    assert client.recv(1000).split(b"\r\n\r\n")[1:] == [b"firstHTTP/1.1 200 OK\r\nContent-Length: 3", b"hit"]


def test_an_answer_that_is_read_slowly_is_sent_by_the_loop(served):
    served.hits.body = LARGE
    client = served.connect(HIT)
    client.sendall(HIT)  # a client that does not wait
    received = b""
    while len(received) < 2 * len(LARGE):
        served.turn()
        received += client.recv(100_000)
    assert received.count(LARGE) == 2 and served.loop._unsent_bytes == 0


def test_a_large_answer_of_a_thread_keeps_its_place(served):
    client = served.connect(MISS + HIT)
    served.done(served.get(), LARGE)
    assert served.loop._unsent_bytes > 0 and served.loop.answered_here == 0
    received = b""
    while not received.endswith(b"hit"):
        served.turn()
        received += client.recv(100_000)
    assert LARGE in received


def test_a_client_that_goes_while_it_is_answered(served):
    client = served.connect()
    client.sendall(HIT)
    client.close()
    served.turn()
    served.turn()
    assert served.released == 1 and not served.loop._connections


def test_a_client_that_goes_while_a_thread_works(served):
    client = served.connect(MISS)
    connection = served.get()
    client.close()
    with pytest.raises(OSError, match=r"Broken|reset"):
        served.done(connection)
    served.loop.answered(connection, False)  # which the worker does whatever happened
    served.turn()
    assert served.released == 1 and not served.loop._connections


@pytest.mark.parametrize("before", [b"", MISS])
def test_a_fault_costs_one_connection(served, before, caplog):
    """Behind an answer of a thread, what is left over is read in another place."""
    other, client = served.connect(), served.connect(before + FAULT)
    if before:
        served.done(served.get())
    assert client.recv(1000) == (OK + b"ok" if before else b"") and has_ended(client)
    assert "a connection failed" in caplog.text and served.released == 1
    other.sendall(HIT)
    served.turn()
    assert other.recv(1000).endswith(b"hit")


def test_a_fault_in_a_sweep_costs_one_connection(served, monkeypatch, caplog):
    first, second = served.connect(b"GET"), served.connect(b"GET")
    original = looping.refusal
    faults = [RuntimeError("once")]

    def refusal(*asked):
        if faults:
            raise faults.pop()
        return original(*asked)

    monkeypatch.setattr(looping, "refusal", refusal)
    served.pass_time(6)
    assert has_ended(first)
    assert_refused(second, 408)
    assert "a connection failed" in caplog.text


def test_no_room_in_the_poller(served):
    served.poller.full = True
    client = served.connect()
    assert has_ended(client) and served.released == 1 and not served.loop._connections
    served.poller.full = False
    client = served.connect(MISS)
    connection = served.get()
    served.poller.full = True
    served.done(connection)
    assert client.recv(1000) == OK + b"ok" and has_ended(client)
    assert served.released == 2 and not served.loop._connections


@pytest.mark.parametrize("half", [HIT[:1], HIT[:-1], POST, POST + b"012345678"])
def test_half_a_request(served, half):
    client = served.connect(half)
    served.pass_time(4.9)
    assert not has_ended(client)
    client.settimeout(10)
    served.pass_time(6)
    assert_refused(client, 408)
    assert served.log.lines[-1][2] == 408


def test_who_says_nothing_hears_nothing(served):
    client = served.connect()
    served.pass_time(5.1)
    assert has_ended(client) and served.released == 1
    client = served.connect(HIT)
    client.recv(1000)
    served.pass_time(CONFIG.keepalive + 0.1)
    assert has_ended(client) and served.released == 2
    assert served.log.lines == [("GET", "/hit", 200)]


def test_a_head_has_its_deadline_from_its_first_byte(served):
    client = served.connect(HIT)
    client.recv(1000)
    for number in range(6):
        client.sendall(HIT[number : number + 1])
        served.turn()
        served.pass_time(1)
    assert_refused(client, 408)


def test_who_does_not_read_is_given_up(served):
    served.hits.body = LARGE
    served.connect(HIT)
    assert served.loop._unsent_bytes > 0
    served.pass_time(9)
    assert not served.released
    served.pass_time(len(LARGE) / looping.SLOWEST_BYTES_PER_S + 2)
    assert served.released == 1 and served.loop._unsent_bytes == 0


def test_who_sends_on_after_a_refusal_may_read_it_first(served):
    client = served.connect(b"GET / HTTP/1.1\nHost: x\n")
    client.sendall(b"more")
    served.turn()
    assert_refused(client, 400)
    assert not served.released
    served.pass_time(looping.LINGER_S + 0.1)
    assert served.released == 1


def test_too_long(served):
    assert_refused(served.connect(b"GET /" + b"a" * 40_000, b"a" * 40_000), 414)
    assert_refused(served.connect(HIT[:-2] + b"X: " + b"a" * 40_000, b"a" * 40_000), 431)


@pytest.fixture
def full(settings, clock):
    """A loop of which the queue is full."""
    served = Served(settings, clock, depth=1)
    served.connect(b"POST /api/v1/lessons/1/completions HTTP/1.1\r\nHost: x\r\n\r\n")
    yield served
    served.close()


@pytest.mark.parametrize("sent", [MISS, MISS[:-2] + b"Connection: keep-alive\r\n\r\n", POST + b"0123456789"])
def test_who_is_shed_may_ask_again_on_the_same_connection(full, sent):
    client = full.connect(sent)
    assert_refused(client, 503, keeps=True)
    client.sendall(HIT)
    full.turn()
    assert client.recv(1000).endswith(b"hit")


@pytest.mark.parametrize(
    "sent",
    [
        MISS[:-2] + b"Connection: close\r\n\r\n",
        MISS.replace(b"1.1", b"1.0"),
        MISS[:-2] + b"X: y\nContent-Length: 5\r\n\r\n",
        MISS[:-2] + b"X: y\r\n Content-Length: 5\r\n\r\n",
        MISS[:-2] + b"Content-Length : 5\r\n\r\n",
        MISS[:-2] + b"Transfer_Encoding: chunked\r\n\r\n",
        MISS[:-2] + b"Upgrade: h2c\r\n\r\n",
        POST.replace(b"10", b"0")[:-2] + b"Expect: 100-continue\r\n\r\n",
        MISS + HIT,
        POST.replace(b"Content-Length: 10", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    ],
)
def test_who_is_shed_and_wants_no_more_or_may_be_misread_is_not_kept(full, sent):
    assert_refused(full.connect(sent), 503)


def test_the_answer_to_head_has_no_body(full):
    client = full.connect(MISS.replace(b"GET", b"HEAD"))
    client.sendall(HIT)
    full.turn()
    head, rest, hit = client.recv(1000).split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ") and rest.startswith(b"HTTP/1.1 200 OK") and hit == b"hit"


def test_half_a_head_as_long_as_the_request_before_is_not_kept(served, monkeypatch):
    client = served.connect(POST + b"0123456789")
    served.done(served.get())
    client.recv(1000)
    half = b"GET /" + b"a" * (len(POST) + 10)
    client.sendall(half[: len(POST) + 10])
    served.turn()
    monkeypatch.setattr(looping, "RECEIVED_BYTES", 10)
    served.pass_time(0.1)
    assert_refused(client, 503)


def test_why_one_request_was_to_be_refused_is_not_why_the_next_one_is(full):
    full.hits.answer = lambda head, client: "too many requests"
    client = full.connect(MISS)
    assert_refused(client, 503, keeps=True)
    full.done(full.get())
    client.sendall(POST + b"0123456789")
    full.turn()
    assert full.get().refused is None


def test_a_body_that_nobody_here_reads_is_a_threads(served):
    length = b"%d" % (looping.LONGEST_UPLOAD_BYTES + 1)
    for head in (
        POST.replace(b"10", length),
        POST[:-2] + b"Expect: 100-continue\r\n\r\n",
        POST.replace(b"Content-Length: 10", b"Transfer-Encoding: chunked"),
    ):
        served.connect(head)
        assert served.waiting() == 1
        served.done(served.get(), keeps=False)


# ---- room


def test_requests_that_are_not_complete_have_so_much_room(served, monkeypatch):
    monkeypatch.setattr(looping, "RECEIVED_BYTES", 1000)
    large = POST.replace(b"10", b"5000")
    first = served.connect(large + b"x" * 400)
    served.pass_time(0.1)
    second = served.connect(large + b"x" * 400)
    served.pass_time(0.1)
    assert not has_ended(first) and not has_ended(second)
    second.settimeout(10)
    second.sendall(b"x" * 200)
    served.turn()
    served.pass_time(0.1)
    assert_refused(second, 503)  # the larger one, though the other has less time left
    assert not has_ended(first)
    assert served.loop._received_bytes == len(large) + 400


def test_a_small_request_is_served_however_much_others_hold(served, monkeypatch):
    monkeypatch.setattr(looping, "RECEIVED_BYTES", 1000)
    served.connect(POST.replace(b"10", b"5000") + b"x" * 2000)
    served.connect(MISS)
    assert served.waiting() == 1


def test_complete_requests_take_room_until_they_are_answered(served, monkeypatch):
    """Or a thousand of them would wait with four million bytes each."""
    monkeypatch.setattr(looping, "RECEIVED_BYTES", 1000)
    monkeypatch.setattr(looping, "SMALL_BYTES", 100)
    large = POST.replace(b"10", b"400") + b"x" * 400
    clients = [served.connect(large) for _ in range(3)]
    assert_refused(clients[2], 503, keeps=True)
    half = served.connect(POST.replace(b"10", b"500") + b"x" * 100)
    served.pass_time(0.1)
    assert_refused(half, 503)
    assert served.waiting() == 2
    for client in clients[:2]:
        served.done(served.get())
        assert client.recv(1000) == OK + b"ok"
    assert served.loop._received_bytes == 0
    served.connect(large)
    assert served.waiting() == 1


def test_answers_that_are_not_read_have_so_much_room(served, monkeypatch):
    monkeypatch.setattr(looping, "UNSENT_BYTES", 4_500_000)
    served.hits.body = LARGE
    served.connect(HIT)
    served.pass_time(0.1)
    served.connect(HIT)
    served.pass_time(0.1)
    assert served.released == 1 and 0 < served.loop._unsent_bytes < 4_500_000


# ---- the end


def test_leaving_ends_what_is_idle_soon_and_answers_the_rest(served):
    idle, busy = served.connect(HIT), served.connect(MISS)
    idle.recv(1000)
    connection = served.get()
    served.loop.leave()
    served.pass_time(looping.LINGER_S - 0.1)
    assert not has_ended(idle)
    served.pass_time(0.2)
    assert has_ended(idle)
    served.done(connection)
    assert busy.recv(1000) == OK + b"ok"
    busy.sendall(HIT)
    served.turn()
    assert served.waiting() == 1, "a hit would not tell the client that the connection ends"
    served.done(served.get(), keeps=False)
    served.pass_time(looping.LINGER_S + 0.1)
    assert served.released == 2


def test_closing_ends_everything_once(served):
    clients = [served.connect(), served.connect(HIT[:5]), served.connect(POST), served.connect(HIT)]
    late = served.connect(MISS)
    connection = served.get()
    clients[-1].recv(1000)
    served.loop.close()
    assert all(has_ended(client) for client in clients) and served.released == 4
    served.loop.close()
    assert served.released == 4
    served.done(connection, keeps=False)
    assert late.recv(1000) == OK + b"ok"
    served.loop.close()
    served.loop.answered(connection, False)
    assert served.released == 5


def test_who_waits_for_a_thread_in_the_end_hears_that_there_is_none(served):
    client = served.connect(MISS)
    served.loop.leave()
    served.admission.close()
    served.loop.close()
    assert_refused(client, 503)
    assert served.released == 1
