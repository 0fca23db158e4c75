"""The gunicorn worker: an event loop that reads requests and answers hits, and threads that run the application.

Beside gunicorn's gthread worker, whose parser, protocol and handling of errors this keeps:

- Heads and bodies are read in the event loop, under deadlines; a client that sends slowly, or nothing, holds no thread (`loop`).
- A plain GET or HEAD whose finished response is kept is answered there and then (`hits`).
- What is for a thread waits by class and age, and is refused when it would wait too long (`admission`).
- What a client does not read at once is sent by the event loop, so one that reads slowly holds no thread either (`wire`).
- Connections are accepted only while this worker holds no more than any other (`acceptor`).
- On SIGTERM it goes on for `drain_s`, while /readyz tells balancers to look elsewhere, before it accepts no more.

It overrides what is gunicorn's own business, so gunicorn is pinned; tests/front/test_gunicorn.py tells when that has changed.
With settings for which this is not made (TLS, HTTP/2, the PROXY protocol) everything is left to gthread.
"""

from __future__ import annotations

import logging
import math
import re
import selectors
import sys
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gunicorn.workers.gthread import ThreadWorker

from codyverse.server.acceptor import Acceptor
from codyverse.server.admission import Admission, Class, for_worker
from codyverse.server.front import NAME, Front
from codyverse.server.loop import Loop
from codyverse.server.oversight import Oversight
from codyverse.server.shares import shares
from codyverse.server.shell import REFUSED
from codyverse.server.wire import Connection

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = logging.getLogger("codyverse.performance")

TURN_S = 0.1

# For how long a thread may keep the interpreter from the event loop when both want it. Python's own 5 ms made the loop send its
# refusals half a second late while threads computed; this made it 3 ms, at the same throughput.
SWITCH_S = 0.0002
CLOSING_S = 2.0  # of the graceful time, for closing what the application has open


class Worker(ThreadWorker):  # type: ignore[misc]
    """Serves an application that has left a `Front`; any other, and with unusual settings, as gthread does."""

    slot: int | None = None  # in what the workers share, given by the master
    front: Front | None = None
    _told_to_stop_at: float | None = None  # which may be before the application is loaded
    _ends = False
    _next_tick = 0.0

    # ---- gunicorn's hooks

    def load_wsgi(self) -> None:
        """Load the application, and look for what it has left for the worker."""
        super().load_wsgi()
        self._most_requests: float = self.max_requests  # type: ignore[has-type]
        if not _is_usual(self.cfg):
            return
        self.application = self.wsgi  # type: ignore[has-type]
        self.front = getattr(self.application, "extensions", {}).get(NAME)
        if self.front is not None:
            self.wsgi = self._call
            self.cfg.set("sendfile", False)  # would send before what is still to be sent
            self.max_requests = sys.maxsize  # gunicorn would end it at once; here it is replaced first

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to stop (SIGTERM)."""
        if self._told_to_stop_at is None:
            self._told_to_stop_at = time.monotonic()
        if self.front is None:
            super().handle_exit(sig, frame)
        else:
            self.method_queue.defer(lambda: None)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer what gunicorn could not parse: which status an error has is gunicorn's knowledge, the answer is ours."""
        if self.front is None:
            super().handle_error(req, client, addr, exc)
            return
        caught = _Caught()
        super().handle_error(req, caught, addr, exc)
        self._loop.refused(client, caught.status)

    def run(self) -> None:
        """Serve until told to stop, or done."""
        if self.front is None:
            super().run()
            return
        settings = self.front.settings
        self.admission: Admission[Connection] = for_worker(settings, self.cfg.threads, self.front.count)
        hits = self.front.hits if self.cfg.keepalive else None
        access_log = getattr(self.log, "access_log", None)
        access_log = access_log if hasattr(access_log, "note") else None
        self._oversight = Oversight(self.front, self.cfg, self.age)
        slot = self.slot if settings.feature_load_balancing else None
        self._acceptor = Acceptor(self.sockets, self.poller, self.worker_connections, shares, slot, self._take)
        released, refused = self._acceptor.released, self.front.refused
        self._loop = Loop(self.cfg, self.poller, self.admission, settings, hits, access_log, released, refused)
        self._tell()
        sys.setswitchinterval(SWITCH_S)
        for number in range(self.cfg.threads):
            threading.Thread(target=self._serve, name=f"request-{number}", daemon=True).start()
        self.poller.register(self.method_queue.fileno(), selectors.EVENT_READ, self.method_queue.run_callbacks)
        self._acceptor.open()
        while self._goes_on():
            self._turn()
        self._leave()

    def _tell(self) -> None:
        """Have told how many requests the worker has answered, and has in hand."""
        assert self.front is not None
        admission, tell = self.admission, self.front.tell
        tell("codyverse_worker_requests", {}, lambda: self.nr + self._loop.answered_here)
        tell("codyverse_worker_requests_in_flight", {}, lambda: sum(admission.running().values()))
        tell("codyverse_worker_requests_waiting", {}, lambda: sum(admission.waiting().values()))

    def _take(self, *accepted: Any) -> None:
        self._loop.take(*accepted)

    def _call(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Ask the application, which finds in the environment what the event loop has found out."""
        refused = environ["gunicorn.socket"].refused
        if refused is not None:
            environ[REFUSED] = refused
        answer: Iterable[bytes] = self.application(environ, start_response)
        return answer

    # ---- life

    def _goes_on(self) -> bool:
        assert self.front is not None
        if self._ends or not self.is_parent_alive():
            return False
        if self._told_to_stop_at is None:
            return True
        self.front.components.drain()
        return time.monotonic() < self._told_to_stop_at + self.front.settings.drain_s

    def _turn(self) -> None:
        wait_s = self._acceptor.turn()
        self.wait_for_and_dispatch_events(TURN_S if wait_s is None else min(TURN_S, wait_s))
        now = time.monotonic()
        if now >= self._next_tick:
            self._next_tick = now + TURN_S
            self._tick()

    def _tick(self) -> None:
        """Do what is to be done at times: for one worker among others to end, /readyz need not say no."""
        self.notify()
        self._loop.sweep()
        requests = self.nr + self._loop.answered_here
        if requests >= self._most_requests:
            self._oversight.ask(f"it has answered {self._most_requests} requests")
        reason = self._oversight.turn(requests, sum(self.admission.running().values()))
        if reason is not None and not self._ends:
            self._ends = True
            log.warning("worker %s ends: %s", self.pid, reason)

    def _leave(self) -> None:
        """Accept no more, finish what is begun."""
        self.alive = False  # from now on gunicorn says with every answer that the connection ends
        self._oversight.leave()
        self._acceptor.close()
        self._loop.leave()
        end = (self._told_to_stop_at or time.monotonic()) + self.cfg.graceful_timeout - CLOSING_S
        while self._acceptor.held and time.monotonic() < end:
            self._turn()
        self.admission.close()
        self._loop.close()

    # ---- threads

    def _serve(self) -> None:
        while (taken := self.admission.get()) is not None:
            try:
                self._answer(*taken)
            except BaseException:  # SystemExit, too, is the end of a request, whose thread has others to serve
                log.exception("a request ended its thread")

    def _answer(self, klass: Class, connection: Connection) -> None:
        assert self.front is not None
        began = time.monotonic()
        keeps = False
        outline, thread = connection.outline, threading.get_ident()
        what = f"{outline.method} {outline.path}" if outline is not None else "a request"
        self._oversight.watchdog.begin(thread, what, math.inf if klass is Class.STREAM else None)
        try:
            connection.prepare(self.front.settings.body_deadline_s)
            keeps = bool(self.handle(connection))
        finally:
            self._oversight.watchdog.end(thread)
            self.admission.done(klass, time.monotonic() - began)
            self.method_queue.defer(self._loop.answered, connection, keeps)


class _Caught:
    """Takes for a socket, one that does not block, what gunicorn answers to an error."""

    def __init__(self) -> None:
        self.status = 500

    def gettimeout(self) -> float:
        """Return how long it blocks."""
        return 0.0

    def sendall(self, data: bytes) -> None:
        """Note the status of an answer."""
        found = re.match(rb"HTTP/1\.1 ([0-9]{3}) ", data)
        if found is not None:
            self.status = int(found[1])


def _is_usual(cfg: Any) -> bool:
    """Say whether gunicorn is set to speak plain HTTP/1.1, and to read heads as `heads` does."""
    return bool(
        not cfg.is_ssl
        and cfg.proxy_protocol == "off"
        and list(cfg.http_protocols) == ["h1"]
        and not cfg.secure_scheme_headers
        and not cfg.forwarder_headers
        and "SCRIPT_NAME" not in cfg.env
    )
