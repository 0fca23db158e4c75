"""Whatever the fast path answers equals what gunicorn and the application without it answer, and it answers nothing doubtful.

Heads are made by a grammar with mutations (`head_grammar`). On SQLite only: no head reaches a statement that differs between
engines. Short form in `make test`; `make faults` runs 100,000 heads.
"""

from __future__ import annotations

import inspect
import random
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import time_machine
from hypothesis import HealthCheck, given, strategies
from hypothesis import settings as hypothesis_settings

from codyverse.server import heads
from tests.faults.completions import FULL
from tests.front import fuzz
from tests.front.fuzz import PEERS, START, Fuzz
from tests.front.head_grammar import FRIEND, Grammar

HEADS = 100_000 if FULL else 5_000
SEED = 5
MOST = 20_000  # heads, of which only those are answered that `heads` should not have read
AN_HOUR_S = 3600  # after which nothing that was counted matters any more
HEADS_AN_HOUR = 1_000

VARIANTS: dict[str, dict[str, Any]] = {
    "alone": {},
    "behind one proxy": {"trusted_proxies": 1, "https": True, "cors_origins": [FRIEND, "https://*.replit.example"]},
    "behind two, little else": {"trusted_proxies": 2, "feature_compression": False, "feature_security": False},
    "refused now and then": {"limit_endpoint": "30 per minute", "limit_client": "80 per minute"},
}

# What `heads` must not do without, and whether its loss shows in the answers too, not only to the second reading (`doubts`).
LOOSENED = [
    ("a field twice", "len(environ) != len(lines) or ", "", True),
    ("Content-Length", '"HTTP_CONTENT_LENGTH", ', "", True),
    ("Transfer-Encoding", '"HTTP_TRANSFER_ENCODING", ', "", True),
    ("Content-Type", '"HTTP_CONTENT_TYPE", ', "", True),
    ("Expect", ', "HTTP_EXPECT"', "", True),
    ("Upgrade", '"HTTP_UPGRADE", ', "", False),
    ("HTTP/1.0", r'HTTP/1\.1"', r'HTTP/1\.[01]"', True),
    ("an underscore in a name", "[A-Za-z0-9-]++: ", "[A-Za-z0-9_-]++: ", True),
    ("space behind a value", r"(?<! )", "", True),
    ("bytes above ASCII", r"[\x20-\x7e]*+", r"[\x20-\xff]*+", True),
    ("an escaped path", "+,;=:@/-]*+)(?:", "+,;=:@/%-]*+)(?:", True),
    ("a fragment", r"/?%-]*+))?", r"/?%#-]*+))?", True),
    ("//", 'b"//" in path or ', "", False),
    ("/.", ' or b"/." in path', "", False),
    ("another method", "(GET|HEAD)", "([A-Z]+)", True),
    ("no host", ' or "HTTP_HOST" not in environ', "", False),
    ("the connection", 'environ["HTTP_CONNECTION"].lower() != "keep-alive"', "False", True),
    ("many fields", "MOST_PLAIN_FIELDS = 60", "MOST_PLAIN_FIELDS = 70", True),
    ("a long head", "LONGEST_PLAIN_BYTES = 4_000", "LONGEST_PLAIN_BYTES = 20_000", True),
]


@pytest.fixture
def time() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture(scope="module")
def uncounted(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzz]:
    """Without limits, so that one test that fails, as some here should, leaves nothing behind for the next."""
    with Fuzz(tmp_path_factory.mktemp("uncounted"), sqlite_template, feature_rate_limit=False) as made:
        made.fill()
        yield made


@pytest.mark.parametrize("name", VARIANTS)
def test_fuzz(name: str, sqlite_template: Path, tmp_path: Path, time: time_machine.Traveller) -> None:
    wanted = HEADS // len(VARIANTS)
    draws = random.Random(f"{SEED} {name}")
    with Fuzz(tmp_path, sqlite_template, **VARIANTS[name]) as both:
        both.fill()
        grammar = Grammar(draws, both.words)
        for number in range(1, wanted + 1):
            both.check(grammar.head(), draws.choice(PEERS))
            if number % HEADS_AN_HOUR == 0:
                time.shift(AN_HOUR_S)
        seen = both.seen
    print(f"\n{name}: {dict(seen)}")
    assert seen["answered"] >= wanted / 5
    assert seen["left alone"] >= wanted / 5
    assert seen["refused by gunicorn"] >= wanted / 10
    assert seen["answered 304"] >= wanted / 200
    assert ("limit_endpoint" in VARIANTS[name]) == (seen["refused by a limit"] >= wanted / 50)


@hypothesis_settings(max_examples=2_000 if FULL else 150, suppress_health_check=list(HealthCheck))
@given(draws=strategies.randoms(use_true_random=False))
def test_fuzz_that_shrinks(uncounted: Fuzz, draws: random.Random) -> None:
    with time_machine.travel(START, tick=False):
        uncounted.check(Grammar(draws, uncounted.words).head(), PEERS[0])


# What the fuzz has found once: the heads are sent one after the other.
FOUND = {
    "credentials that Werkzeug cannot decode": [b"GET / HTTP/1.1\r\nHost: a.example\r\nAuthorization: Basic \xe9\r\n\r\n"],
    "a path that Werkzeug takes for another": [
        *[b"GET //api/v1/courses HTTP/1.1\r\nHost: a.example\r\n\r\n"] * 2,
        b"GET //api/v1/courses HTTP/1.1\r\nHost: a.example\r\nOrigin: https://app.example.org\r\n\r\n",
    ],
    "a date beside a broken tag": [
        b"GET /static/app.css HTTP/1.1\r\nHost: learn.example.org\r\n"
        b'If-None-Match: "x\r\nIf-Modified-Since: Tue, 24 Nov 2099 12:00:00 GMT\r\n\r\n'
    ],
}


@pytest.mark.parametrize("heads", FOUND.values(), ids=FOUND)
def test_what_was_found_once(heads: list[bytes], sqlite_template: Path, tmp_path: Path, time: time_machine.Traveller) -> None:
    with Fuzz(tmp_path, sqlite_template) as both:
        both.fill()
        for head in heads:
            both.check(head, PEERS[0])


CASES = [
    pytest.param(old, new, by_answers, id=f"{name}, by answers alone" if by_answers else name)
    for name, old, new, shows in LOOSENED
    for by_answers in ([False, True] if shows else [False])
]


@pytest.mark.parametrize(("old", "new", "by_answers"), CASES)
def test_the_fuzz_falls_when_heads_are_read_less_strictly(
    uncounted: Fuzz, monkeypatch: pytest.MonkeyPatch, old: str, new: str, by_answers: bool
) -> None:
    strict, loose = heads.plain, _loosened(old, new)
    monkeypatch.setattr(heads, "plain", loose)
    if by_answers:
        monkeypatch.setattr(fuzz, "doubts", lambda head: [])
    grammar = Grammar(random.Random(SEED), uncounted.words)
    made = (grammar.head() for _ in range(MOST))
    differently_read = (head for head in made if _reads(loose, head) and strict(head) is None)
    with time_machine.travel(START, tick=False):
        assert any(_falls(uncounted, head) for head in differently_read)


def _loosened(old: str, new: str) -> Callable[[bytes], dict[str, Any] | None]:
    source = inspect.getsource(heads)
    assert source.count(old) == 1, f"{old} is not in heads.py as it was: see what stands there now"
    module = types.ModuleType("loosened")
    exec(compile(source.replace(old, new), "loosened", "exec", dont_inherit=True), module.__dict__)
    plain: Callable[[bytes], dict[str, Any] | None] = module.plain
    return plain


def _reads(plain: Callable[[bytes], dict[str, Any] | None], head: bytes) -> bool:
    try:
        return plain(head) is not None
    except UnicodeDecodeError:  # takes more than it can read, which the fuzz must notice
        return True


def _falls(both: Fuzz, head: bytes) -> bool:
    try:
        both.check(head, PEERS[0])
    except (AssertionError, UnicodeDecodeError):
        return True
    return False
