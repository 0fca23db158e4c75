"""A head answered in both ways, and the answers compared."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

import time_machine
from flask import Flask

import config
from codyverse import create_app
from codyverse.database import Database
from codyverse.learning import content
from codyverse.learning.models import lessons
from codyverse.learning.service.catalogue import import_catalogue
from codyverse.operations import components
from codyverse.server import heads
from codyverse.server.hits import Answer
from codyverse.server.shell import Refused
from tests.conftest import IMAGE_DIGEST, make_settings
from tests.faults.completions import make_learners
from tests.front.both_ways import BothWays, Outcome, message
from tests.front.doubts import doubts
from tests.front.head_grammar import FRIEND, HOST, Words

START = 1_795_521_600.0  # where time stands, so that dates, waiting times and limits are equal too
PEERS: list[Any] = [("127.0.0.1", 40_000), ("192.0.2.1", 1), ("2001:db8::1", 40_000, 0, 0), ""]
ELSEWHERE = {"REMOTE_ADDR": "198.51.100.9"}  # what only one of both is asked must not count for the others
CONTENT = Path(__file__).parent.parent / "content"
ADA = {"email": "ada@example.org", "password": "seven quiet otters", "display_name": "Ada", "birth_date": "1990-12-10"}


class Fuzz:
    """A context with an application that has the fast path, another that keeps no answers, and what was seen of both."""

    def __init__(self, folder: Path, template: Path, **chosen: Any) -> None:
        shutil.copy(template, folder / "test.sqlite3")
        self.seen: Counter[str] = Counter()
        self._behind_proxies = chosen.get("trusted_proxies", 0) > 0
        with time_machine.travel(START, tick=False):
            self._apps = [create_app(_settings(folder, on, chosen)) for on in (True, False)]
            self.ways = BothWays(*self._apps)
            self.words = _words(self._apps[1], self._behind_proxies)

    def __enter__(self) -> Fuzz:
        return self

    def fill(self) -> None:
        """Have the usual answers kept."""
        proxies = "X-Forwarded-Proto: https, https\r\n" if self._behind_proxies else ""
        with time_machine.travel(START, tick=False):
            for target in self.words.targets:
                for origin in ("", f"Origin: {FRIEND}\r\n"):
                    for _ in range(2):
                        self.check(f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{proxies}{origin}\r\n".encode(), PEERS[0])
        self.seen.clear()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.ways.close()
        for app in self._apps:
            components.of(app).close()

    def check(self, head: bytes, peer: Any) -> None:
        """Answer a head in both ways, count it once in each, and compare. Raises AssertionError, whose notes name the head."""
        try:
            self._check(head, peer)
        except AssertionError as error:
            error.add_note(f"{head!r} from {peer!r}")
            raise

    def _check(self, head: bytes, peer: Any) -> None:
        variables = heads.plain(head)
        fast = self.ways.fast(head, peer)
        theirs = self.ways.without.ask(head, peer)
        if variables is not None:
            assert not doubts(head)
            _compare_readings(variables, theirs)
        if isinstance(fast, Answer):
            ours = Outcome(fast.head + fast.body, keeps=True, left=b"", is_asked_for_more=False, environ=None)
        else:
            ours = self.ways.with_store.ask(head, peer, fast)
        assert re.match(rb"HTTP/1\.[01] 500 ", theirs.sent) is None, "no head may break the application"
        _compare(ours, theirs, head.lstrip().startswith(b"HEAD "))
        self._note(fast, theirs)

    def _note(self, fast: Answer | Refused | None, theirs: Outcome) -> None:
        if isinstance(fast, Answer):
            self.seen.update(["answered", f"answered {fast.status}"])
        elif fast is not None:
            self.seen["refused by a limit"] += 1
        else:
            self.seen.update(["left alone", "left to the application" if theirs.environ else "refused by gunicorn"])


def _compare_readings(variables: dict[str, Any], theirs: Outcome) -> None:
    """Fail unless gunicorn has read the same out of the head, and nothing else."""
    assert theirs.environ is not None
    for name, value in theirs.environ.items():
        if name.startswith(("HTTP_", "CONTENT_")) or name in ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING"):
            assert variables.pop(name, None) == value
    assert not variables
    assert theirs.environ["SCRIPT_NAME"] == ""
    assert theirs.environ["wsgi.url_scheme"] == "http"


def _compare(ours: Outcome, theirs: Outcome, is_head: bool) -> None:
    assert (ours.left, ours.is_asked_for_more) == (theirs.left, theirs.is_asked_for_more)
    if ours.sent == theirs.sent:
        assert ours.keeps == theirs.keeps
        return
    mine, other = message(ours.sent, is_head), message(theirs.sent, is_head)
    left_out: set[str] = set()
    if theirs.sent.startswith(b"HTTP/1.0 ") and not other.has_length:
        # Its end is that of the connection, and a kept answer has a length.
        left_out = {"connection", "content-length"}
    else:
        assert ours.keeps == theirs.keeps
    assert mine.status == other.status
    kept, wanted = (sorted(pair for pair in each.headers if pair[0] not in left_out) for each in (mine, other))
    assert kept == wanted, f"{set(kept) ^ set(wanted)}"
    assert mine.body == other.body


def _settings(folder: Path, optimized: bool, chosen: dict[str, Any]) -> config.Settings:
    own = folder / str(optimized)  # each counts for itself
    own.mkdir()
    url = f"sqlite:///{folder}/test.sqlite3"
    return make_settings(own, url, feature_optimization=optimized, **{"cors_origins": [FRIEND]} | chosen)


def _words(app: Flask, behind_proxies: bool) -> Words:
    database: Database = app.extensions["codyverse.database"]
    import_catalogue(database, content.read(CONTENT))
    with database.read() as reader:
        lesson = reader.execute(lessons.select().order_by(lessons.c.id)).scalars().first()
    targets = [
        *("/", "/", "/?from=mail", "/courses/machines", f"/lessons/{lesson}", "/api/v1/courses", "/api/v1/courses?limit=1"),
        *("/api/v1/courses/machines", f"/api/v1/lessons/{lesson}", f"/media/machines/{IMAGE_DIGEST}/three-dots.svg"),
        *("/static/app.css", "/static/app.css?v=x", "/api/v1/openapi.json"),
    ]
    return Words(
        targets,
        others=["/livez", "/api/docs", "/api/v1/me", "/static/missing", "/lessons/0", "/api/v1/courses?limit=0"],
        tags=_tags(app, targets),
        credentials=_credentials(app),
        behind_proxies=behind_proxies,
    )


def _tags(app: Flask, targets: list[str]) -> list[str]:
    """Return values for If-None-Match: the tags of some answers in each encoding, lists of them, and what is none."""
    found = []
    for target in targets:
        for encoding in ("", "br", "gzip"):
            headers = {"Accept-Encoding": encoding, "X-Forwarded-Proto": "https, https"}
            with app.test_client().get(target, headers=headers, environ_base=ELSEWHERE) as answer:
                found.append(answer.headers.get("ETag", '"none"'))
    known = sorted(set(found))
    tags = [*known, *(f"W/{tag}" for tag in known if tag.startswith('"')), *(tag.removeprefix("W/") for tag in known)]
    return [
        *tags,
        ", ".join(known),
        ",".join(['"x"', *known[:2]]),
        f"{known[0]}, *",
        "*",
        "*",
        '"x"',
        "nonsense",
        known[0].strip('"'),
    ]


def _credentials(app: Flask) -> list[str]:
    """Return field lines of who is signed in, and of who is not."""
    client = app.test_client()
    assert client.post("/api/v1/auth/register", json=ADA, base_url="https://localhost", environ_base=ELSEWHERE).status_code == 201
    session = client.get_cookie("codyverse")
    assert session is not None
    _, token = make_learners(app.extensions["codyverse.database"], 1)[0]
    return [
        *(f"Cookie: codyverse={session.value}", f"Cookie: other=1; codyverse={session.value}", f"Authorization: Bearer {token}"),
        *(
            "Authorization: Bearer nobody's",
            "Authorization: Basic !",
            "Cookie: codyverse=nobody's",
            "Cookie: a=b",
            'Cookie: a="; b',
        ),
    ]
