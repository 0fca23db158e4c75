"""Which answers are the same for everybody, and what everybody is told about keeping them (report row R21).

- Of the catalogue: `public, no-cache`. Browsers and caches keep it and ask with its ETag before they use it, so that a learner
  sees what an author has changed.
- Files of pages have addresses with the digest of their content: kept for `static_max_age_s`. Without the digest: `no-cache`.
- What was made from outdated data, since nothing newer could be had, says so: `Age`, `Warning: 110`.

The first two kinds are kept by `server.responses`, unless `feature_optimization` is off. They are told by the tags that a request
read (see operations/cache/reading.py): an answer without tags, or for one caller, is never kept.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import brotli  # type: ignore[import-untyped]
from flask import Flask, Response, g, request
from flask_compress.compat import compression as codecs

from codyverse.http import clients, counting
from codyverse.operations import components, compression, cors, limits, metrics
from codyverse.operations.cache.generations import Generations
from codyverse.operations.cache.reading import Reading, reading
from codyverse.server.responses import LARGEST_BYTES, Compressors, Responses
from codyverse.server.shell import FINISHED, REFUSED, Duties, Finished, Refused, Shell, Told
from config import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

READING = "codyverse.reading"
STATIC = "static"
UNCHANGING = frozenset({STATIC, "openapi"})  # endpoints whose answers stay the same while the process lives
UNCHANGING_TAG = "static"
VERSION = "v"  # the query field with a file's digest

# Measured on a page, 16 kB: brotli 8 takes 0.3 ms and saves 9 % of what 4 sends; 9 takes 5 ms and saves nothing more, 11 saves
# another 8 % in 12 ms. zstd 9 takes 0.4 ms and saves 9 % of 3.
COMPRESSORS: Compressors = {
    "br": partial(brotli.compress, quality=8),
    "zstd": lambda body: codecs.zstd.compress(body, 9),
    "gzip": partial(gzip.compress, compresslevel=9, mtime=0),
}


@dataclass(frozen=True, slots=True)
class File:
    """A file of pages."""

    digest: str
    size_bytes: int


@cache
def files(folder: Path) -> dict[str, File]:
    """Return the files of a folder by name; they do not change while the process lives."""
    found = {}
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        content = path.read_bytes()
        found[path.relative_to(folder).as_posix()] = File(hashlib.sha256(content).hexdigest()[:16], len(content))
    return found


class _Noted:
    """WSGI: notes what a request reads."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with reading() as environ[READING]:
            return self._app(environ, start_response)


class _Finishing:
    """What is said of each answer."""

    def __init__(self, app: Flask, known: counting.Clients) -> None:
        self._settings: Settings = app.config["CODYVERSE"]
        self._config = app.config
        self._files = files(Path(app.static_folder or "."))
        self._known = known

    def address(self, endpoint: str, values: dict[str, Any]) -> None:
        """Put a file's digest into its address."""
        file = self._files.get(values.get("filename", "")) if endpoint == STATIC else None
        if file is not None:
            values.setdefault(VERSION, file.digest)

    def refuse(self) -> None:
        """Refuse what was counted, and found to be too much, before the application was asked. Raises TooManyRequests."""
        refused: Refused | None = request.environ.get(REFUSED)
        if refused is not None:
            limits.refuse(refused.why)

    def finish(self, response: Response) -> Response:
        """Say how an answer may be kept, by others and by the store."""
        noted: Reading = request.environ.get(READING) or Reading()
        if "caller" in g:
            self._learn()
        if noted.outdated_s is not None:
            response.headers["Age"] = str(int(noted.outdated_s))
            response.headers["Warning"] = '110 - "Response is Stale"'
        if request.method not in ("GET", "HEAD") or response.status_code not in (200, 304) or "personal" in g:
            return response
        tags = frozenset(noted.tags | ({UNCHANGING_TAG} if request.endpoint in UNCHANGING else set()))
        if tags:
            self._say_how_long(response)
            if noted.outdated_s is None and not g.get("csp_sources") and not self._is_too_large(response):
                request.environ[FINISHED] = self._finished(response, tags)
        return response

    def _say_how_long(self, response: Response) -> None:
        if request.endpoint != STATIC:
            response.headers.setdefault("Cache-Control", "public, no-cache")
            return
        file = self._files.get((request.view_args or {})["filename"])
        if file is not None and request.args.get(VERSION) == file.digest and self._settings.static_max_age_s:
            response.headers["Cache-Control"] = f"public, max-age={self._settings.static_max_age_s}, immutable"

    def _is_too_large(self, response: Response) -> bool:
        if request.endpoint == STATIC:  # compressed, its length is not known yet
            file = self._files.get((request.view_args or {})["filename"])
            return file is None or file.size_bytes > LARGEST_BYTES
        return response.is_streamed or (response.content_length or 0) > LARGEST_BYTES

    def _finished(self, response: Response, tags: frozenset[str]) -> Finished:
        compressible = (
            self._settings.feature_compression
            and response.mimetype in self._config["COMPRESS_MIMETYPES"]
            and (response.content_length or 0) >= compression.SMALLEST
        )
        return Finished(request.url_rule.rule if request.url_rule else "", tags, compressible)

    def _learn(self) -> None:
        authorization, cookie = request.headers.get("Authorization", ""), request.headers.get("Cookie", "")
        if authorization or cookie:
            self._known.learn(authorization, cookie, clients.client() if g.caller else counting.NOBODY)


class _Duties(Duties):
    """What the store has to do as the application does it."""

    def __init__(self, app: Flask, known: counting.Clients) -> None:
        self._app = app
        self._known = known
        self._admitted = lru_cache(1024)(self._is_admitted)
        self._metrics = metrics.of(app)

    def count(self, address: str, authorization: str, cookie: str, rule: str, waits: bool) -> Told | Refused | None:
        return counting.count(self._app, self._known, address, authorization, cookie, rule, waits)

    def encoding(self, accepted: str) -> str:
        return compression.encoding(accepted)

    def origin(self, origin: str, path: str) -> str:
        return origin if path.startswith(limits.API) and self._admitted(origin) else ""

    def _is_admitted(self, origin: str) -> bool:
        # Flask-cors compares without regard to case; an origin too many makes an entry too many, and no wrong one.
        return any(re.match(pattern.pattern, origin, re.I) for pattern in cors.of(self._app).all)

    def observe(self, rule: str, method: str, status: int, seconds: float) -> None:
        if self._metrics is not None:
            self._metrics.observe_hit(method, rule, status, seconds)


def init_app(app: Flask, generations: Generations | None) -> None:
    """Keep finished responses, while the generations of what they were made from can be known.

    Comes before the limits, and before every part that adds to an answer, so that it sees the answer last; and before the
    proxies' part, inside of which the address, the scheme and the host are the believed ones.
    """
    settings: Settings = app.config["CODYVERSE"]
    known = counting.Clients()
    finishing = _Finishing(app, known)
    app.url_defaults(finishing.address)
    app.before_request(finishing.refuse)
    app.after_request(finishing.finish)
    app.wsgi_app = _Noted(app.wsgi_app)  # type: ignore[method-assign]
    if settings.feature_optimization and generations is not None:
        store = Responses(settings.responses_mb * 1_000_000, settings.cache_process_s, generations, COMPRESSORS)
        app.extensions["codyverse.responses"] = store
        components.of(app).add("responses", store.clear, shrink=store.shrink)
        shell = app.extensions["codyverse.shell"] = Shell(app.wsgi_app, store, _Duties(app, known))
        app.wsgi_app = shell  # type: ignore[method-assign]
