"""Finished responses for WSGI: a layer before the application that answers what it can and fills the store with the rest.

The application says of an answer that it may be kept by leaving a `Finished` in the environment. To keep one, it is asked for the
whole answer without an encoding, whatever this client negotiates; the store does the rest as the application would have done it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from codyverse.server.responses import IDENTITY, Entry, Headers, Key, Responses, Variant

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

OK, NOT_MODIFIED = "200 OK", "304 NOT MODIFIED"
FINISHED = "codyverse.finished"
REFUSED = "codyverse.refused"

# Who sends one of these wants something that only the application knows to do, or may be refused by it.
_UNUSUAL = frozenset(
    {
        *("HTTP_RANGE", "HTTP_IF_RANGE", "HTTP_IF_MATCH", "HTTP_IF_UNMODIFIED_SINCE"),
        *("HTTP_UPGRADE", "HTTP_EXPECT", "HTTP_TRANSFER_ENCODING", "HTTP_CONTENT_ENCODING"),
        "HTTP_ACCESS_CONTROL_REQUEST_PRIVATE_NETWORK",
    }
)
# What the client negotiates about an answer, which the store does itself.
_NEGOTIATED = frozenset({"HTTP_ACCEPT_ENCODING", "HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE"})
# What an answer says of its request only: never kept.
_OF_REQUEST = frozenset(
    {
        *("ratelimit", "ratelimit-policy", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),
        *("date", "x-request-id", "server-timing"),
    }
)
_SHARED_VARY = frozenset({"accept-encoding", "origin"})  # what the key and the variants tell apart


_TAGS = re.compile(r'\*|(W/)?"[^"]*"(,[ \t]*(W/)?"[^"]*")*')  # If-None-Match (RFC 9110, 13.1.2)


@dataclass(frozen=True, slots=True)
class Finished:
    """The application's word that an answer is the same for everybody while these tags are as they are."""

    rule: str
    tags: frozenset[str]
    compressible: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A hit that a limit refuses; the application says so, and finds this under REFUSED."""

    why: Any


class Told(Protocol):
    """What an answer tells its client of how it was counted."""

    def fields(self) -> Headers:
        """Return the headers."""

    def lines(self) -> str:
        """Return the same as HTTP/1.1 has them."""


class _Untold:
    def fields(self) -> Headers:
        return []

    def lines(self) -> str:
        return ""


UNTOLD = _Untold()


@dataclass(slots=True)
class Hit:
    """A kept answer to a request: its headers are the variant's and those that are told."""

    status: str
    variant: Variant
    told: Told
    body: bytes


class Duties(Protocol):
    """What the application does for every request, and the shell for a hit."""

    def count(self, address: str, authorization: str, cookie: str, rule: str, waits: bool) -> Told | Refused | None:
        """Count a hit; returns what is to be told of it.

        None when the application has to find out who asks or, for who does not wait, when another server has to be asked.
        """

    def encoding(self, accepted: str) -> str:
        """Return the encoding that the application would choose for this Accept-Encoding, an empty text for none."""

    def origin(self, origin: str, path: str) -> str:
        """Return the origin if the answer differs for it, an empty text when it does not."""

    def observe(self, rule: str, method: str, status: int, seconds: float) -> None:
        """Hear of an answer that the application has not seen."""


class _Caught:
    """What an application says before its body."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: Headers = []

    def start_response(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
        self.status, self.headers = status, headers
        return self._write

    @staticmethod
    def _write(data: bytes) -> None:
        raise NotImplementedError  # the old way of sending, which Flask does not use


class Shell:
    """WSGI: the store before an application."""

    def __init__(self, app: WSGIApplication, store: Responses, duties: Duties) -> None:
        self._app = app
        self._store = store
        self._duties = duties

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if REFUSED in environ:  # by `hit`, which counted it
            return self._app(environ, start_response)
        key = self._key(environ)
        if key is None:
            return self._app(environ, start_response)
        entry = self._store.find(key)
        if entry is None:
            return self._meet(key, environ, start_response)
        if not self._store.fresh(entry):
            return self._fill(key, entry, environ, start_response)
        found = self._hit(key, entry, environ, waits=True)
        if not isinstance(found, Hit):
            if found is not None:
                environ[REFUSED] = found
            return self._app(environ, start_response)
        start_response(found.status, found.variant.headers + found.told.fields())
        return [found.body] if found.body else []

    def hit(self, environ: WSGIEnvironment, start_response: StartResponse | None = None) -> Hit | Refused | None:
        """Return the kept answer to a request, counted, without waiting for anything; None when the application has to be asked.

        Takes what a WSGI application takes, so that what stands before the shell can stand before this.
        """
        key = self._key(environ)
        entry = self._store.find(key) if key is not None else None
        if key is None or entry is None or not self._store.fresh(entry):
            return None
        return self._hit(key, entry, environ, waits=False)

    def _hit(self, key: Key, entry: Entry, environ: WSGIEnvironment, waits: bool) -> Hit | Refused | None:
        began = time.perf_counter()
        get = environ.get
        address, authorization, cookie = get("REMOTE_ADDR", ""), get("HTTP_AUTHORIZATION", ""), get("HTTP_COOKIE", "")
        told = self._duties.count(address, authorization, cookie, entry.rule, waits)
        if told is None or isinstance(told, Refused):
            return told
        status, variant = self._choose(key, entry, environ)
        method = environ["REQUEST_METHOD"]
        self._duties.observe(entry.rule, method, int(status[:3]), time.perf_counter() - began)
        return Hit(status, variant, told, b"" if method == "HEAD" else variant.body)

    def _key(self, environ: WSGIEnvironment) -> Key | None:
        """Return the key of a request, None for one that only the application can answer."""
        get = environ.get
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD") or not _UNUSUAL.isdisjoint(environ):
            return None
        host = get("HTTP_HOST")
        if not host or get("CONTENT_LENGTH") not in (None, "", "0") or get("CONTENT_TYPE") or get("SCRIPT_NAME"):
            return None
        if "HTTP_IF_MODIFIED_SINCE" in environ and _TAGS.fullmatch(get("HTTP_IF_NONE_MATCH", "")) is None:
            return None  # a tag is worth more than a date, and dates are the application's business
        path = environ["PATH_INFO"]
        if path.startswith("//"):
            return None  # Werkzeug takes it for the same without the first stroke, others do not
        origin = get("HTTP_ORIGIN", "")
        if origin:
            origin = self._duties.origin(origin, path)
        return environ["wsgi.url_scheme"], host, path, get("QUERY_STRING", ""), origin

    def _choose(self, key: Key, entry: Entry, environ: WSGIEnvironment) -> tuple[str, Variant]:
        encoding = self._duties.encoding(environ.get("HTTP_ACCEPT_ENCODING", "")) if entry.compressible else IDENTITY
        if_none_match = environ.get("HTTP_IF_NONE_MATCH")
        if if_none_match:
            known = entry.known_as(if_none_match, encoding)
            if known is not None:
                return NOT_MODIFIED, entry.not_modified(known)
        return OK, self._store.variant(key, entry, encoding)

    def _meet(self, key: Key, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer what is not kept: at the first time as if there were no store."""
        if self._store.wants(key):
            return self._fill(key, None, environ, start_response)
        answer = self._app(environ, start_response)
        if FINISHED in environ:
            self._store.note(key)
        return answer

    def _fill(self, key: Key, old: Entry | None, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Ask the application for the whole answer, keep it, and answer this request from it.

        When the application is not available and there is an old answer, that one is sent.
        """
        as_of = self._store.generations.as_of()  # before anything is read: a change that comes now outdates the answer
        whole = {name: value for name, value in environ.items() if name not in _NEGOTIATED} | {"REQUEST_METHOD": "GET"}
        caught = _Caught()
        body = self._app(whole, caught.start_response)
        finished: Finished | None = whole.get(FINISHED)
        if finished is not None and _is_shared(caught):
            entry = self._kept(key, finished, caught, _read(body), as_of)
            return self._send(key, entry, [], environ, caught, start_response)
        age_s = self._store.outdated_s(old) if old is not None else None
        if old is not None and age_s is not None and caught.status.startswith("503 "):
            _close(body)
            told = [("Age", str(age_s)), ("Warning", '110 - "Response is Stale"')]
            return self._send(key, old, told, environ, caught, start_response)
        if old is not None and caught.status.startswith(("404 ", "410 ")):
            self._store.forget(key)  # or what was withdrawn would come back while the database is away
        start_response(caught.status, caught.headers)
        if environ["REQUEST_METHOD"] == "HEAD":
            _close(body)
            return []
        return body

    def _kept(self, key: Key, finished: Finished, caught: _Caught, body: bytes, as_of: int) -> Entry:
        headers = [pair for pair in caught.headers if pair[0].lower() not in _OF_REQUEST]
        slots = self._store.generations.slots(finished.tags)
        entry = self._store.make(finished.rule, headers, body, finished.compressible, as_of, slots)
        kept = self._store.keep(key, entry)
        if kept is None:
            entry.compressible = False  # what is used once is not worth compressing this hard
        return kept or entry

    def _send(
        self,
        key: Key,
        entry: Entry,
        told: Headers,
        environ: WSGIEnvironment,
        caught: _Caught,
        start_response: StartResponse,
    ) -> Iterable[bytes]:
        status, variant = self._choose(key, entry, environ)
        counted = [pair for pair in caught.headers if pair[0].lower() in _OF_REQUEST]
        start_response(status, [*variant.headers, *told, *counted])
        return [] if environ["REQUEST_METHOD"] == "HEAD" or not variant.body else [variant.body]


def _is_shared(caught: _Caught) -> bool:
    """Say whether an answer is one for everybody by what HTTP knows of it."""
    if not caught.status.startswith("200 "):
        return False
    for name, value in ((name.lower(), value.lower()) for name, value in caught.headers):
        if name in ("set-cookie", "content-encoding"):
            return False
        if name == "cache-control" and ("no-store" in value or "private" in value):
            return False
        if name == "vary" and not _SHARED_VARY.issuperset(part.strip() for part in value.split(",")):
            return False
    return True


def _read(body: Iterable[bytes]) -> bytes:
    try:
        return b"".join(body)
    finally:
        _close(body)


def _close(body: Iterable[bytes]) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()
