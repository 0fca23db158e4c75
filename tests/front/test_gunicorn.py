"""What our worker takes for granted of gunicorn, which promises none of it: a new version is read before it is used."""

from __future__ import annotations

import hashlib
import inspect
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests
from gunicorn import arbiter, glogging, http, util
from gunicorn.config import Config
from gunicorn.http import message, parser, unreader, wsgi
from gunicorn.workers import base, gthread

from codyverse.server.front import NAME
from codyverse.server.worker import Worker
from tests.front.both_ways import gunicorn_config
from tests.front.raw_client import RawClient
from tests.one_engine import cheapest  # noqa: F401  (a fixture)
from tests.server import ROOT, Server, wait_until

READ = {"27.0.1"}  # versions whose code was read

# What is overridden, called, or known to be so: names, and digests of the source.
USED: dict[ModuleType, dict[str, str]] = {
    gthread: {
        "ThreadWorker.__init__": "5681b8b542ea",
        "ThreadWorker.init_process": "e4fc63a1a68e",
        "ThreadWorker.handle_exit": "b4e7decd4f92",
        "ThreadWorker.handle_quit": "36bd35a8dae5",
        "ThreadWorker.run": "f92c7394d857",
        "ThreadWorker.is_parent_alive": "3517612f7763",
        "ThreadWorker.wait_for_and_dispatch_events": "ea969b352482",
        "ThreadWorker.handle": "ca85c9be3df7",
        "ThreadWorker.handle_request": "6d0de5b91910",
        "ThreadWorker._keepalive_after": "4ebdbbc8bf5a",
        "PollableMethodQueue.init": "41e0b28738da",
        "PollableMethodQueue.fileno": "fd4ffde15b2d",
        "PollableMethodQueue.defer": "4d722900967b",
        "PollableMethodQueue.run_callbacks": "2583376785b0",
    },
    base: {
        "Worker.__init__": "e0f1de2d6057",
        "Worker.init_process": "114caccd7a0e",
        "Worker.load_wsgi": "18b02fc35e96",
        "Worker.notify": "7f509bc4046b",
        "Worker.handle_abort": "ca347b2ae368",
        "Worker.handle_error": "75426448389b",
    },
    http: {
        "get_parser": "b7d8dcde91e2",
    },
    parser: {
        "Parser.__init__": "604084ecb33b",
        "Parser.__next__": "b8536520e958",
        "Parser.finish_body": "54c5d0d28c26",
    },
    unreader: {
        "Unreader.__init__": "6219181af6ef",
        "Unreader.read": "cbfeead6687f",
        "Unreader.unread": "8e325744dfca",
        "Unreader.take_buffered": "89cef5e60e6f",
        "SocketUnreader.chunk": "9f62532259f8",
    },
    message: {
        "HeaderPolicy._apply_header_policy": "ac812cc2fe6b",
        "Message.__init__": "14b64a40f29f",
        "Message.parse_headers": "fe09a6b5e706",
        "Message.set_body_reader": "e3ba33f5ac7c",
        "Message.should_close": "37c454bfb3e3",
        "Request.parse": "34c084607ae1",
        "Request._parse_fast": "b4ab188cc0f9",
        "Request._parse_python": "ed07ffec5178",
        "Request.read_line": "13bf2e83f72a",
        "Request.parse_request_line": "77187ebabb46",
        "Request.set_body_reader": "db5c46d4c717",
    },
    wsgi: {
        "create": "2c35d4a2dc62",
        "default_environ": "b7e18b84d829",
        "Response.start_response": "59799d9ff136",
        "Response.process_headers": "496d84a357b0",
        "Response.is_chunked": "741304718d0b",
        "Response.default_headers": "cb490cea5d6f",
        "Response.send_headers": "7aff3b7d004f",
        "Response.write": "a13659ff072c",
        "Response.close": "1e78fc7777ff",
        "Response.should_close": "3888d47a96e2",
    },
    util: {
        "write": "cd995031295f",
        "write_chunk": "9cd46540c593",
        "write_error": "bd0143a03c15",
        "http_date": "c67e491c15bd",
        "split_request_uri": "6c113a84201f",
        "unquote_to_wsgi_str": "7bc6d0bf7f60",
    },
    glogging: {
        "Logger.__init__": "508cb885e4c0",
        "Logger.setup": "17c79acdddea",
        "Logger.access": "45fce61c353b",
        "Logger.reopen_files": "d15f18c51ebc",
    },
    arbiter: {
        "Arbiter.manage_workers": "518f2dd040ef",
        "Arbiter.reap_workers": "ebcf4187e9eb",
        "Arbiter.spawn_worker": "6abc0d90b0b9",
    },
}
CASES = [(module, name, digest) for module, members in USED.items() for name, digest in members.items()]

# How we call it.
SIGNATURES = {
    "ThreadWorker.handle": (gthread.ThreadWorker.handle, "(self, conn)"),
    "ThreadWorker.handle_error": (gthread.ThreadWorker.handle_error, "(self, req, client, addr, exc)"),
    "ThreadWorker.handle_request": (gthread.ThreadWorker.handle_request, "(self, req, conn)"),
    "ThreadWorker.handle_exit": (gthread.ThreadWorker.handle_exit, "(self, sig, frame)"),
    "ThreadWorker.wait_for_and_dispatch_events": (gthread.ThreadWorker.wait_for_and_dispatch_events, "(self, timeout)"),
    "PollableMethodQueue.defer": (gthread.PollableMethodQueue.defer, "(self, callback, *args)"),
    "PollableMethodQueue.run_callbacks": (gthread.PollableMethodQueue.run_callbacks, "(self, _fileobj, max_callbacks=50)"),
    "get_parser": (http.get_parser, "(cfg, source, source_addr, http2_connection=False)"),
    "Unreader.unread": (unreader.Unreader.unread, "(self, data)"),
    "Unreader.take_buffered": (unreader.Unreader.take_buffered, "(self)"),
    "Parser.finish_body": (parser.Parser.finish_body, "(self, deadline=None, max_bytes=None)"),
    "Logger.access": (glogging.Logger.access, "(self, resp, req, environ, request_time)"),
}

UNUSUAL: list[tuple[str, Any]] = [
    ("certfile", "server.pem"),
    ("keyfile", "server.key"),
    ("proxy_protocol", "auto"),
    ("http_protocols", "h1,h2"),
    ("secure_scheme_headers", {"X-FORWARDED-PROTO": "https"}),
    ("forwarder_headers", "SCRIPT_NAME,PATH_INFO"),
]


def test_the_version_was_read() -> None:
    assert version("gunicorn") in READ, "read the methods named by the tests below again, then add the version and new digests"


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt"])
def test_no_other_version_is_installed(lock: str) -> None:
    (locked,) = re.findall(r"^gunicorn==(\S+)", (ROOT / lock).read_text("utf-8"), re.M)
    assert locked in READ


@pytest.mark.parametrize(("module", "name", "digest"), CASES, ids=[f"{module.__name__}.{name}" for module, name, _ in CASES])
def test_the_source_is_as_it_was_read(module: ModuleType, name: str, digest: str) -> None:
    now = hashlib.sha256(inspect.getsource(attrgetter(name)(module)).encode()).hexdigest()[:12]
    assert now == digest, f"{module.__name__}.{name} has changed: read it again, with what codyverse/server makes of it"


@pytest.mark.parametrize("name", SIGNATURES)
def test_it_is_called_in_the_same_way(name: str) -> None:
    method, signature = SIGNATURES[name]
    assert str(inspect.signature(method)) == signature


# When this is not the worker's business


class Loaded:
    """What gunicorn takes for the thing that loads the application, which is `self.wsgi()`."""

    def __init__(self, **extensions: Any) -> None:
        self.extensions = extensions

    def wsgi(self) -> Loaded:
        return self


@pytest.fixture
def cfg() -> Config:
    return gunicorn_config()


def load(cfg: Config, loaded: Loaded) -> Worker:
    worker = Worker(0, 0, [], loaded, 30, cfg, glogging.Logger(cfg))
    worker.tmp.close()
    worker.load_wsgi()
    return worker


def test_it_serves_with_the_settings_of_gunicorn_conf(cfg: Config) -> None:
    front = object()
    loaded = Loaded(**{NAME: front})
    worker = load(cfg, loaded)
    assert worker.front is front
    assert worker.application is loaded
    assert worker.wsgi == worker._call


@pytest.mark.parametrize(("name", "value"), UNUSUAL, ids=[name for name, _ in UNUSUAL])
def test_with_unusual_settings_everything_is_left_to_gthread(
    cfg: Config, name: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg.set(name, value)
    loaded = Loaded(**{NAME: object()})
    worker = load(cfg, loaded)
    assert worker.front is None
    assert worker.wsgi is loaded
    called: list[str] = []
    for method in ("run", "handle_exit", "handle_error"):
        monkeypatch.setattr(gthread.ThreadWorker, method, lambda self, *given, method=method: called.append(method))
    worker.run()
    worker.handle_exit(signal.SIGTERM, None)
    worker.handle_error(None, None, None, ValueError())
    assert called == ["run", "handle_exit", "handle_error"]


def test_another_application_is_served_as_by_gthread(cfg: Config) -> None:
    loaded = Loaded()
    worker = load(cfg, loaded)
    assert worker.front is None
    assert worker.wsgi is loaded


def test_the_proxy_protocol_is_gunicorns(database_url: str, tmp_path: Path) -> None:
    with Server(tmp_path, database_url, "-w", "1", "--proxy-protocol", "auto") as server, RawClient(server.port) as client:
        client.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /livez HTTP/1.1\r\nHost: a.example\r\n\r\n")
        reply = client.reply("GET")
        assert reply is not None
        assert reply.status == 200
        client.end()


# The same service without our worker


class FlaskRun(Server):
    """The platform under `flask run`."""

    def __enter__(self) -> FlaskRun:
        command = [sys.executable, "-m", "flask", "--app", "wsgi", "run", "--port", str(self.port)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)
        wait_until(self.is_ready)
        return self


@pytest.fixture(params=["our worker", "gthread", "flask run"])
def server(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Iterator[Server]:
    if request.param == "flask run":
        with FlaskRun(tmp_path, database_url) as running:
            yield running
    else:
        more = ("-k", "gthread") if request.param == "gthread" else ()
        with Server(tmp_path, database_url, "-w", "1", *more) as running:
            yield running


@pytest.mark.usefixtures("catalogue")
def test_the_service_is_the_same_everywhere(server: Server) -> None:
    with requests.Session() as session:
        answers = [session.get(f"{server.url}/api/v1/courses", timeout=10) for _ in range(4)]
        for answer in answers:
            assert answer.status_code == 200
            assert answer.json() == answers[0].json()
            assert answer.headers["ETag"] == answers[0].headers["ETag"]
            assert answer.headers["Content-Type"] == "application/json"
            assert {"X-Request-ID", "RateLimit", "Cache-Control", "Vary", "X-Content-Type-Options"} <= answer.headers.keys()
        assert len({answer.headers["X-Request-ID"] for answer in answers}) == len(answers)
        left = [int(answer.headers["X-RateLimit-Remaining"]) for answer in answers]
        assert left == [left[0] - number for number in range(len(left))]
        known = session.get(f"{server.url}/api/v1/courses", headers={"If-None-Match": answers[0].headers["ETag"]}, timeout=10)
        assert known.status_code == 304
        missing = session.get(f"{server.url}/api/v1/lessons/0", timeout=10)
        assert (missing.status_code, missing.headers["Content-Type"]) == (404, "application/problem+json")
