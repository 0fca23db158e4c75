"""One JSON line a request, off the request's path."""

from __future__ import annotations

import logging
import os
import re
import select
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests
from gunicorn.config import Config
from hypothesis import example, given
from hypothesis import strategies as st

import config
from codyverse.operations.log_files import AppendedFile
from codyverse.operations.tallies import Tallies
from codyverse.server import access_log
from codyverse.server.access_lines import LONGEST_AGENT, LONGEST_PATH, line, masked
from codyverse.server.access_log import DROPPED, QUEUE, WRITTEN, AccessLog, Logger
from tests.conftest import make_settings
from tests.server import Server, wait_until

AT = 1_795_521_600.0625
Make = Callable[..., AccessLog]


@pytest.fixture
def counts() -> Counter[str]:
    return Counter()


@pytest.fixture
def make(tmp_path: Path, counts: Counter[str]) -> Iterator[Make]:
    made: list[AccessLog] = []

    def make(path: str | None = None, addresses: str = "masked", write: Any = os.write, **chosen: Any) -> AccessLog:
        def count(name: str, amount: float) -> None:
            counts[name] += int(amount)

        file = AppendedFile("the access log", path or str(tmp_path / "access.log"), write)
        made.append(AccessLog(file, addresses, count, **chosen))
        return made[-1]

    yield make
    for each in made:
        each.close()


def note(log: AccessLog, path: str = "/courses", request_id: str = "abc-1", agent: str = "Browser/1.0") -> None:
    log.note("GET", path, 200, 1234, 0.00125, "192.0.2.77", request_id, agent)


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(text) for text in path.read_bytes().splitlines()]


def test_it_works(make: Make, tmp_path: Path, counts: Counter[str]) -> None:
    log = make(clock=lambda: AT)
    note(log)
    log.close()
    assert lines(tmp_path / "access.log") == [
        {
            "time": "2026-11-24T12:00:00.062Z",
            "method": "GET",
            "path": "/courses",
            "status": 200,
            "bytes": 1234,
            "ms": 1.25,
            "address": "192.0.2.0",
            "request_id": "abc-1",
            "agent": "Browser/1.0",
            "pid": os.getpid(),
        }
    ]
    assert counts == {WRITTEN: 1}
    assert (tmp_path / "access.log").stat().st_mode & 0o7777 == 0o640


def test_lines_are_written_by_themselves_and_in_order(make: Make, tmp_path: Path) -> None:
    log = make()
    for number in range(500):
        note(log, f"/{number}")
    wait_until(lambda: (tmp_path / "access.log").exists() and len(lines(tmp_path / "access.log")) == 500)
    note(log, "/500")
    wait_until(lambda: len(lines(tmp_path / "access.log")) == 501)
    assert [each["path"] for each in lines(tmp_path / "access.log")] == [f"/{number}" for number in range(501)]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("192.0.2.77", "192.0.2.0"),
        ("::ffff:192.0.2.77", "192.0.2.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("fe80::1%eth0", "fe80::"),
        ("::1", "::"),
        ("", ""),
        ("not an address", ""),
    ],
)
def test_addresses_are_masked(address: str, shown: str) -> None:
    assert masked(address) == shown


@pytest.mark.parametrize(("addresses", "shown"), [("full", "192.0.2.77"), ("masked", "192.0.2.0"), ("none", "")])
def test_the_setting_says_how_addresses_are_shown(tmp_path: Path, addresses: str, shown: str) -> None:
    path = tmp_path / "access.log"
    log = access_log.make(make_settings(tmp_path, "", access_log=str(path), access_log_addresses=addresses), lambda *told: None)
    assert log is not None
    note(log)
    log.close()
    assert [each["address"] for each in lines(path)] == [shown]


@pytest.mark.parametrize(("seconds", "is_slow"), [(0.9999, False), (1.0, True), (9.0, True)])
def test_slow_requests_are_marked(make: Make, tmp_path: Path, seconds: float, is_slow: bool) -> None:
    log = make(slow_ms=1000)
    log.note("GET", "/courses", 200, 1234, seconds, "192.0.2.77", "abc-1", "Browser/1.0")
    log.close()
    assert [each.get("slow", False) for each in lines(tmp_path / "access.log")] == [is_slow]


@pytest.mark.parametrize(
    ("chosen", "written"),
    [("-", "logs/access.log"), ("{folder}/mine.log", "mine.log")],
)
def test_files_that_take_turns_stand_in_for_standard_output(tmp_path: Path, chosen: str, written: str) -> None:
    chosen = chosen.format(folder=tmp_path)
    log = access_log.make(make_settings(tmp_path, "", access_log=chosen, log_path=str(tmp_path / "logs")), lambda *told: None)
    assert log is not None
    note(log)
    log.close()
    assert [each["path"] for each in lines(tmp_path / written)] == ["/courses"]
    assert len([path for path in tmp_path.rglob("*.log") if path.stat().st_size]) == 1


@pytest.mark.parametrize("chosen", ["off", ""])
def test_it_can_be_off(tmp_path: Path, chosen: str) -> None:
    assert access_log.make(make_settings(tmp_path, "", access_log=chosen), lambda *told: None) is None


@pytest.mark.parametrize(("environment", "chosen"), [("development", "off"), ("staging", "-"), ("production", "-")])
def test_developers_are_spared_it(tmp_path: Path, environment: str, chosen: str) -> None:
    settings = config.load(environment=environment, instance_path=tmp_path, secret_key="x" * 40)
    assert settings.access_log == chosen


def test_no_query_is_written(make: Make, tmp_path: Path) -> None:
    log = make()
    note(log, "/search?token=secret")
    log.close()
    assert [each["path"] for each in lines(tmp_path / "access.log")] == ["/search"]


TEXTS = st.text(st.characters(codec="latin-1"), max_size=3 * LONGEST_PATH)


def test_addresses_of_people_and_secrets_are_left_out(make: Make, tmp_path: Path) -> None:
    log = make()
    secret = "aB3" * 14
    note(log, f"/learners/ada%40example.org/{secret}/cv_12345678", agent=f"Browser/1.0 (ada@example.org; {secret})")
    log.close()
    [found] = lines(tmp_path / "access.log")
    assert found["path"] == "/learners/[left out]/[left out]/[left out]"
    assert found["agent"] == "Browser/1.0 ([left out]; [left out])"


@given(path=TEXTS, agent=TEXTS, method=TEXTS)
@example(path="/" + "a@b/" * LONGEST_PATH, agent="a@b " * LONGEST_AGENT, method="GET")  # what is left out is longer
@example(path='"' * LONGEST_PATH, agent='"' * LONGEST_AGENT, method="GET")
def test_whatever_clients_send_is_one_line_that_is_written_at_once(path: str, agent: str, method: str) -> None:
    address, request_id = "2001:db8:1111:2222:3333:4444:5555:6666", "x" * 64
    text = line(
        AT, method, path[:LONGEST_PATH], 200, 2**63 - 1, 1e9, address, request_id, agent[:LONGEST_AGENT], 2**22, True
    ).encode()
    assert len(text) < select.PIPE_BUF
    assert text.count(b"\n") == 1 and text.endswith(b"\n")
    found = orjson.loads(text)
    assert found["path"].isascii() and found["path"].isprintable() and "?" not in found["path"]
    assert found["agent"].isprintable() and len(found["agent"]) <= LONGEST_AGENT
    assert len(found["path"]) <= LONGEST_PATH


@pytest.mark.parametrize(("sent", "shown"), [("/a\r\nb", "/a%0D%0Ab"), ("/\x1b[2J", "/%1B[2J"), ("/é", "/%E9"), ("/%0a", "/%0a")])
def test_control_characters_are_written_as_escapes(make: Make, tmp_path: Path, sent: str, shown: str) -> None:
    log = make()
    note(log, sent, agent="a\x1b\x85b")
    log.close()
    assert [(each["path"], each["agent"]) for each in lines(tmp_path / "access.log")] == [(shown, "a??b")]


def test_a_flood_of_long_texts_is_cut_before_it_is_kept(make: Make) -> None:
    log = make()
    note(log, "/" + "x" * 100_000, agent="y" * 100_000)
    [kept] = log._queue
    assert len(kept) < 2 * LONGEST_PATH


def test_what_finds_the_queue_full_is_lost_and_counted(make: Make, counts: Counter[str]) -> None:
    goes_on = threading.Event()

    def write(file: int, data: bytes) -> int:
        assert goes_on.wait(30)
        return len(data)

    log = make(write=write)
    note(log)
    wait_until(lambda: not log._queue)  # the thread hangs in it
    for _ in range(QUEUE + 7):
        note(log)
    assert (len(log._queue), counts[DROPPED]) == (QUEUE, 7)
    goes_on.set()
    log.close()
    assert counts == {DROPPED: 7, WRITTEN: QUEUE + 1}


def test_a_full_disk_loses_lines_and_tells_once(make: Make, counts: Counter[str], caplog: pytest.LogCaptureFixture) -> None:
    log = make("/dev/full")
    with caplog.at_level(logging.WARNING, "codyverse.performance"):
        for _ in range(100):
            note(log)
        log.close()
    assert counts == {DROPPED: 100}
    assert [record.getMessage() for record in caplog.records] == ["the access log cannot be written: No space left on device"]


def test_a_folder_that_is_not_there_is_no_harm(make: Make, tmp_path: Path, counts: Counter[str]) -> None:
    log = make(str(tmp_path / "later" / "access.log"))
    note(log)
    wait_until(lambda: counts[DROPPED] == 1)
    (tmp_path / "later").mkdir()
    note(log, "/found")
    log.close()
    assert [each["path"] for each in lines(tmp_path / "later" / "access.log")] == ["/found"]


def test_a_line_for_which_there_was_no_room_spoils_no_other(make: Make, tmp_path: Path, counts: Counter[str]) -> None:
    room = [30]  # bytes for the first write

    def write(file: int, data: bytes) -> int:
        return os.write(file, data[: room.pop()] if room else data)

    log = make(write=write)
    note(log, "/torn")
    wait_until(lambda: counts[DROPPED] == 1)
    note(log, "/whole")
    log.close()
    first, second = (tmp_path / "access.log").read_bytes().splitlines()
    assert len(first) == 30
    assert orjson.loads(second)["path"] == "/whole"
    assert counts == {DROPPED: 1, WRITTEN: 1}


def test_a_reader_that_has_gone_is_no_harm(make: Make, tmp_path: Path, counts: Counter[str]) -> None:
    reading, writing = os.pipe()
    log = make(f"/dev/fd/{writing}")
    note(log)
    wait_until(lambda: counts[WRITTEN] == 1)
    os.close(reading)
    note(log)
    log.close()
    os.close(writing)
    assert counts == {WRITTEN: 1, DROPPED: 1}


def test_a_reader_that_does_not_read_holds_nobody_up(make: Make, counts: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    log = make(f"/dev/fd/{writing}")
    monkeypatch.setattr(log, "_closing_s", 0.01)
    for _ in range(QUEUE):
        note(log)
    thread = log._thread
    wait_until(lambda: 0 < len(log._queue) < QUEUE)
    for _ in range(QUEUE):
        note(log)
    log.close()
    assert counts[DROPPED] > 0
    assert thread is not None and thread.is_alive()  # in a write that does not end
    os.set_blocking(reading, False)

    def drain() -> bool:
        while select.select([reading], [], [], 0)[0]:
            os.read(reading, 1 << 16)
        return not thread.is_alive()

    wait_until(drain)
    os.close(reading)
    os.close(writing)


def test_it_goes_on_in_a_new_file(make: Make, tmp_path: Path, counts: Counter[str]) -> None:
    log, path = make(), tmp_path / "access.log"
    note(log, "/before")
    wait_until(lambda: counts[WRITTEN] == 1)
    path.rename(tmp_path / "access.log.1")
    note(log, "/meanwhile")
    wait_until(lambda: counts[WRITTEN] == 2)
    log.reopen()
    note(log, "/after")
    log.close()
    assert [each["path"] for each in lines(tmp_path / "access.log.1")] == ["/before", "/meanwhile"]
    assert [each["path"] for each in lines(path)] == ["/after"]


def test_what_fails_unforeseen_does_not_end_it(
    make: Make, tmp_path: Path, counts: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    log = make()
    log.note("GET", "/", "no number", 0, "no time", "", "", "")  # type: ignore[arg-type]
    log._queue.append(None)  # type: ignore[arg-type]
    wait_until(lambda: len(caplog.records) == 2)
    note(log)
    log.close()
    assert len(lines(tmp_path / "access.log")) == 1
    assert counts == {DROPPED: 1, WRITTEN: 1}


def test_after_its_end_it_begins_anew(make: Make, tmp_path: Path) -> None:
    log = make()
    for _ in range(2):
        note(log)
        log.close()
        log.close()
    assert len(lines(tmp_path / "access.log")) == 2


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_lines_of_several_processes_never_mix(make: Make, tmp_path: Path, kind: str) -> None:
    each, processes = 3000, 4
    path, reading, writing = tmp_path / "access.log", -1, -1
    if kind == "pipe":
        reading, writing = os.pipe()
    log = make(str(path) if kind == "file" else f"/dev/fd/{writing}")
    note(log, "/parent")  # a thread of the parent's, and lines of its
    pids = []
    for number in range(processes):
        pid = os.fork()
        if pid == 0:
            log._closing_s = 60.0
            for line_number in range(each):
                note(log, f"/{number}/{line_number}/{'x' * (line_number % 700)}")
            log.close()
            os._exit(0)
        pids.append(pid)
    if kind == "pipe":
        log.close()
        os.close(writing)
        with os.fdopen(reading, "rb") as end, path.open("wb") as copy:
            copy.write(end.read())
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * processes
    log.close()
    found = [each["path"].split("/")[1:3] for each in lines(path)]
    assert found.count(["parent"]) == 1
    for number in range(processes):
        assert [int(told[1]) for told in found if told[0] == str(number)] == list(range(each))


# ---- Gunicorn's logger


class Answer:
    status, sent = "404 NOT FOUND", 17


class Request:
    path = "/nothing"


class Elapsed:
    @staticmethod
    def total_seconds() -> float:
        return 0.5


def test_gunicorns_logger_notes_in_a_worker(make: Make, tmp_path: Path) -> None:
    logger = Logger(Config())
    logger.access(Answer(), Request(), {}, Elapsed())  # in the master: gunicorn's own, which is off
    log = logger.access_log = make()
    environ = {"REQUEST_METHOD": "PUT", "REMOTE_ADDR": "192.0.2.77", "HTTP_USER_AGENT": "curl", "codyverse.request_id": "abc"}
    logger.access(Answer(), Request(), environ, Elapsed())
    logger.access(Answer(), object(), {"REQUEST_METHOD": None}, Elapsed())  # what could not be parsed
    log.close()
    told = [tuple(each[name] for name in ("method", "path", "status", "bytes", "ms")) for each in lines(tmp_path / "access.log")]
    assert told == [("PUT", "/nothing", 404, 17, 500.0), ("", "", 404, 17, 500.0)]
    logger.access_log = None
    logger.access(Answer(), Request(), environ, Elapsed())
    logger.reopen_files()


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
@pytest.mark.parametrize("arguments", [(), ("-k", "gthread")], ids=["our worker", "gthread"])
def test_the_real_server_writes_a_line_a_request(database_url: str, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    with Server(tmp_path, database_url, *arguments, access_log=str(path)) as server, requests.Session() as client:
        client.headers["User-Agent"] = "Test/1.0"
        answers = [client.get(f"{server.url}/api/v1/courses?limit=9", timeout=30) for _ in range(12)]  # of one connection
        ids = [answer.headers["X-Request-ID"] for answer in answers]
        missing = client.get(f"{server.url}/nothing", timeout=30, headers={"Cookie": "codyverse=secret", "Accept": "*/*"})
        with socket.create_connection(("127.0.0.1", server.port), 30) as broken:
            broken.sendall(b"GET /broken HTTP/1.1\r\nHost : x\r\n\r\n")
            assert broken.recv(100).startswith(b"HTTP/1.1 400 ")
        wait_until(lambda: path.exists() and missing.headers["X-Request-ID"] in path.read_text("ascii"))
        path.rename(old)
        os.kill(server.process.pid, signal.SIGUSR1)  # the master tells its workers
        wait_until(path_is_made_anew(path, lambda: client.get(f"{server.url}/livez", timeout=30)))
        last = client.get(f"{server.url}/livez", timeout=30).headers["X-Request-ID"]
    told = [each for each in lines(old) if each["agent"] == "Test/1.0"]
    assert [each["request_id"] for each in told] == [*ids, missing.headers["X-Request-ID"]]
    assert {each["path"] for each in told} == {"/api/v1/courses", "/nothing"}
    assert {each["address"] for each in told} == {"127.0.0.0"}
    assert all(each["bytes"] > 0 and each["ms"] >= 0 for each in told)
    assert last in path.read_text("ascii")  # the end loses nothing
    everything = old.read_text("ascii") + path.read_text("ascii")
    assert not re.search("secret|limit=9", everything)
    counted = Tallies(tmp_path / "tallies.sqlite3").totals("access-log:")
    assert counted == {WRITTEN: everything.count("\n")}


def path_is_made_anew(path: Path, ask: Callable[[], Any]) -> Callable[[], bool]:
    def is_there() -> bool:
        ask()
        return path.exists()

    return is_there


@pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
def test_on_standard_output_and_off(database_url: str, tmp_path: Path) -> None:
    for chosen, there in (("-", True), ("off", False)):
        with Server(tmp_path, database_url, access_log=chosen) as server:
            told = requests.get(f"{server.url}/nothing", timeout=30).headers["X-Request-ID"]
        assert (told in (tmp_path / "server.log").read_text("utf-8")) == there
