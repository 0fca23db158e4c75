"""The worker as it runs: what clients of all kinds get over the wire, and what signals do."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPResponse
from itertools import cycle, islice
from pathlib import Path

import orjson
import pytest
from gunicorn.workers.gthread import PollableMethodQueue

from codyverse.server.worker import Worker
from tests.faults.completions import FULL
from tests.faults.load import Load
from tests.front.raw_client import RawClient
from tests.front.serving import log_of
from tests.server import Server, wait_until

GET = b"GET /api/v1/courses HTTP/1.1\r\nHost: localhost\r\n\r\n"
LIVE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /test/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n"
CHUNKED = POST.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
EXPECTING = POST[:-2] + b"Expect: 100-continue\r\n\r\n"
DEADLINE_S = 0.5
DRAWS = 20


class Client:
    """A connection on which one request is sent, in pieces, and its answer read."""

    def __init__(self, server: Server, *pieces: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), 20)
        self.send(*pieces)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.socket.sendall(piece)

    def answer(self, method: str = "GET") -> HTTPResponse:
        """Return the answer, with its text in `text`, and whether the connection ended with it in `ended`."""
        answer = HTTPResponse(self.socket, method=method)
        answer.begin()
        answer.text = answer.read().decode()
        return answer

    def is_over(self) -> bool:
        """Wait until the server sends or ends; says whether it ended."""
        try:
            return self.socket.recv(1000) == b""
        except ConnectionResetError:
            return True

    def abort(self) -> None:
        """End the connection with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def serve(folder: Path, sqlite_template: Path, *arguments: str, **settings: str) -> Server:
    database = shutil.copy(sqlite_template, folder / "test.sqlite3")
    return Server(folder, f"sqlite:///{database}", *arguments, "tests.front.odd_app:app", **settings)


@pytest.fixture(scope="module")
def server(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One worker that waits for nobody for long."""
    folder = tmp_path_factory.mktemp("worker")
    deadlines = dict.fromkeys(("head_deadline_s", "body_deadline_s"), str(DEADLINE_S))
    with serve(folder, sqlite_template, "-w", "1", access_log=str(folder / "access.log"), **deadlines) as server:
        server.access_log = folder / "access.log"
        yield server


def assert_refused(answer: HTTPResponse, status: int) -> None:
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json"), answer.text
    assert answer.headers["X-Request-ID"] and answer.headers["Connection"] == "close"
    assert orjson.loads(answer.text)["status"] == status


# ---- the wire


@pytest.mark.parametrize("first", [GET, LIVE])
def test_pipelined_requests_are_answered_in_order(server, first):
    with RawClient(server.port) as client:
        client.send(first + POST + b"first" + GET + POST + b"other" + LIVE)
        replies = [client.reply("GET") for _ in range(5)]
        assert [reply.status for reply in replies] == [200] * 5
        assert [reply.body for reply in replies[1::2]] == [b"first", b"other"]


def test_a_request_may_come_byte_by_byte(server):
    with Client(server, *(bytes([byte]) for byte in POST + b"hello")) as client:
        assert client.answer().text == "hello"


@pytest.mark.parametrize("half", [GET[:1], GET[:-1], POST, POST + b"hell"])
def test_half_a_request_is_answered_in_time(server, half):
    with Client(server, half) as client:
        assert_refused(client.answer(), 408)
        assert client.is_over()


def test_who_says_nothing_hears_nothing(server):
    with Client(server) as client:
        assert client.is_over()


def test_who_asks_whether_to_send_is_told_to(server):
    with Client(server, EXPECTING) as client:
        assert client.socket.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"hello")
        assert client.answer().text == "hello"


def test_a_body_in_chunks(server):
    with Client(server, CHUNKED, b"2\r\nhe\r\n3\r\nllo\r\n", b"0\r\n\r\n") as client:
        assert client.answer().text == "hello"
        client.send(GET)
        assert client.answer().status == 200


@pytest.mark.parametrize("half", [CHUNKED + b"2\r\nhe\r\n3\r\nl", EXPECTING])
def test_who_sends_a_body_slowly_to_a_thread_is_cut(server, half):
    with Client(server, half) as client:
        while not client.is_over():
            pass


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (400, b"GET / HTTP/1.1\r\nHost: x\r\nX y: z\r\n\r\n"),
        (400, b"GET / HTTP/1.1\nHost: x\n\n"),
        (414, b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
        (431, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9000 + b"\r\n\r\n"),
        (431, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(100)) + b"\r\n"),
        (431, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000),
    ],
)
def test_what_cannot_be_read_is_refused_as_other_problems_are(server, status, request_):
    with Client(server, request_) as client:
        assert_refused(client.answer(), status)


def test_head(server):
    for path in (b"/api/v1/courses", b"/livez", b"/nowhere"):
        with Client(server, b"HEAD " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n") as client:
            answer = client.answer("HEAD")
            assert answer.text == "" and answer.status in (200, 404)
            client.send(LIVE)
            assert client.answer().status == 200, "nothing came behind the head"


@pytest.mark.parametrize("path", [b"/api/v1/courses", b"/livez"])
def test_http_1_0(server, path):
    with Client(server, b"GET " + path + b" HTTP/1.0\r\n\r\n") as client:
        answer = client.answer()
        assert (answer.status, answer.headers["Connection"]) == (200, "close") and client.is_over()
    with Client(server) as client:
        for _ in range(2):
            client.send(b"GET " + path + b" HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            answer = client.answer()
            assert (answer.status, answer.headers["Connection"]) == (200, "keep-alive")


@pytest.mark.parametrize("path", [b"/api/v1/courses", b"/livez"])
def test_who_wants_no_more_than_one_answer(server, path):
    with Client(server, b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") as client:
        answer = client.answer()
        assert (answer.status, answer.headers["Connection"]) == (200, "close") and client.is_over()


@pytest.mark.parametrize("sent", [b"", bytes(1_000_000)])
def test_a_body_that_is_too_long_is_refused_before_it_is_read(server, sent):
    with Client(server, POST.replace(b"Content-Length: 5", b"Content-Length: 50000000") + sent) as client:
        assert client.answer().status == 413
        assert client.is_over()


def test_threads_outlive_what_they_run(server):
    for _ in range(20):
        with Client(server, b"GET /test/leave HTTP/1.1\r\nHost: localhost\r\n\r\n") as client:
            assert client.is_over()
    with Client(server, POST, b"hello") as client:
        assert client.answer().text == "hello"


def kinds() -> list[tuple[bytes, ...]]:
    return [
        (),
        (GET,),
        (LIVE,),
        (GET[:20],),
        (POST, b"he"),
        (POST, b"hello"),
        (CHUNKED, b"5\r\nhello\r\n0\r\n\r\n"),
        (CHUNKED, b"5\r\nhel"),
        (EXPECTING,),
        (b"nonsense\r\n\r\n",),
        (GET, GET + LIVE + GET),
    ]


def descriptors(pid: int) -> int:
    return len([*Path(f"/proc/{pid}/fd").iterdir()])


def test_descriptors_come_back(server):
    (worker,) = server.workers()
    for pieces in kinds():  # what is opened once, for the threads, stays
        Client(server, *pieces).abort()
    with Client(server, LIVE) as client:
        client.answer()
    wait_until(lambda: connections(server, worker) == 0)
    before = descriptors(worker)
    with ExitStack() as kept:
        for number, pieces in enumerate(islice(cycle(kinds()), 500)):
            client = Client(server, *pieces)
            if number % 3 == 0:
                client.abort()
            elif number % 3 == 1:
                client.__exit__()
            else:
                kept.enter_context(client)
        wait_until(lambda: connections(server, worker) == 0)
    wait_until(lambda: descriptors(worker) <= before)
    assert server.workers() == [worker]


def test_the_access_log_tells_of_all(server):
    for status, pieces in ((200, [GET]), (408, [POST]), (431, [GET[:-2] + b"X: " + b"a" * 9000 + b"\r\n\r\n"])):
        with Client(server, *pieces) as client:
            assert client.answer().status == status

    def logged() -> set[tuple[str, str, int]]:
        lines = [orjson.loads(line) for line in server.access_log.read_bytes().splitlines()]
        return {(line["method"], line["path"], line["status"]) for line in lines}

    wanted = {("GET", "/api/v1/courses", 200), ("POST", "/test/echo", 408), ("GET", "/api/v1/courses", 431)}
    wait_until(lambda: wanted <= logged())


# ---- several workers


def connections(server: Server, worker: int) -> int:
    """Return how many connections of clients a worker has open."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    inodes = {row[9] for row in rows if row[1].endswith(f":{server.port:04X}") and row[3] != "0A"}
    links = []
    for descriptor in Path(f"/proc/{worker}/fd").iterdir():
        with suppress(FileNotFoundError):
            links.append(str(descriptor.readlink()))
    return sum(link.removeprefix("socket:[").rstrip("]") in inodes for link in links)


def both_accept(server: Server) -> bool:
    workers = server.workers()
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(Client(server, LIVE)).answer()
        return len(workers) == 2 and all(connections(server, worker) for worker in workers)


@pytest.mark.parametrize("request_", [GET, LIVE])
def test_connections_are_spread(tmp_path, sqlite_template, request_):
    drawn = []
    with serve(tmp_path, sqlite_template, "-w", "2") as server:
        wait_until(lambda: both_accept(server))
        for _ in range(DRAWS // 2):
            wait_until(lambda: sum(connections(server, pid) for pid in server.workers()) == 0)
            with ExitStack() as stack:
                clients = [stack.enter_context(Client(server)) for _ in range(16)]
                for client in clients:
                    client.send(request_)
                for client in clients:
                    assert client.answer().status == 200
                drawn.append(tuple(sorted(connections(server, pid) for pid in server.workers())))
    assert set(drawn) <= {(8, 8), (7, 9)}, drawn


def test_a_stopped_worker_does_not_hold_up_others(tmp_path, sqlite_template):
    with serve(tmp_path, sqlite_template, "-w", "2") as server:
        wait_until(lambda: both_accept(server))
        stopped, other = server.workers()
        os.kill(stopped, signal.SIGSTOP)
        try:
            with ExitStack() as stack:
                for number in range(20):
                    client = stack.enter_context(Client(server, LIVE))
                    assert client.answer().status == 200
                    assert connections(server, other) == number + 1
        finally:
            os.kill(stopped, signal.SIGCONT)


def test_when_there_is_no_more_room_others_wait(tmp_path, sqlite_template):
    with serve(tmp_path, sqlite_template, "-w", "1", "--worker-connections", "8", head_deadline_s="2") as server:
        (worker,) = server.workers()
        wait_until(lambda: connections(server, worker) == 0)
        with ExitStack() as stack:
            for _ in range(8):
                stack.enter_context(Client(server))
            wait_until(lambda: connections(server, worker) == 8)
            clients = [stack.enter_context(Client(server, GET[:-2] + b"Connection: close\r\n\r\n")) for _ in range(20)]
            assert connections(server, worker) == 8
            for client in clients:
                with client:
                    assert client.answer().status == 200


# ---- signals


@contextmanager
def asked(server: Server) -> Iterator[Load]:
    """Have clients ask all the time; every request is answered 200."""
    with Load(server.url) as load:
        load.read("any", ["/livez", "/api/v1/courses"], clients=8)
        wait_until(lambda: len(load.of("any")) > 50)
        yield load
        answers = len(load.of("any"))
        wait_until(lambda: len(load.of("any")) > answers + 50)
    assert {answer.status for answer in load.of("any")} == {200}


def test_after_so_many_requests_a_worker_is_replaced_first(tmp_path, sqlite_template):
    arguments = ("-w", "2", "--max-requests", "300", "--max-requests-jitter", "50")
    with serve(tmp_path, sqlite_template, *arguments, admission_wait_s="30") as server:
        wait_until(lambda: both_accept(server))
        before = set(server.workers())
        with asked(server):
            wait_until(lambda: not before & set(server.workers()), 60)
        wait_until(lambda: len(server.workers()) == 2)
    assert re.search(r"worker \d+ ends: it has answered \d+ requests", log_of(tmp_path))


def test_a_reload_costs_nobody_an_answer(tmp_path, sqlite_template):
    with serve(tmp_path, sqlite_template, "-w", "2", admission_wait_s="30") as server:
        wait_until(lambda: both_accept(server))
        for _ in range(3 if FULL else 1):
            before = set(server.workers())
            with asked(server):
                server.process.send_signal(signal.SIGHUP)
                wait_until(lambda before=before: len(server.workers()) == 2 and not before & set(server.workers()), 60)


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT])
def test_it_ends_at_once_when_told_to(tmp_path, sqlite_template, number):
    with serve(tmp_path, sqlite_template, "-w", "2") as server, Client(server, GET) as idle:
        wait_until(lambda: len(server.workers()) == 2)
        workers = server.workers()
        idle.answer()
        with Client(server, b"GET /test/sleep HTTP/1.1\r\nHost: localhost\r\n\r\n") as busy:
            wait_until(lambda: sum(connections(server, pid) for pid in workers) == 2)
            server.process.send_signal(number)
            assert server.process.wait(15) == 0, "it waits for a request that takes 30 s"
            assert busy.is_over() and idle.is_over()
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_a_worker_that_is_told_to_stop_while_it_loads_does_not_serve_for_ever():
    worker = Worker.__new__(Worker)
    worker.alive = True
    worker.method_queue = PollableMethodQueue()
    worker.method_queue.init()
    worker.handle_exit(signal.SIGTERM, None)
    worker.method_queue.close()
    assert worker._told_to_stop_at is not None
