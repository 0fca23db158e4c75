"""Every statement that the database runs is timed, by fingerprint: its text without values (report row R9).

A fingerprint has its literals, numbers and parameters replaced by `?`, lists behind IN and rows behind VALUES shortened to the
first, comments cut and white space folded, so that what is kept names no learner and stays bounded whatever is asked.

A text is taken apart once in a process; later a statement costs a look-up and three sums. Times go into buckets whose borders
grow by the square root of two, so a percentile is off by 19 % at the most. A time ends when the driver's `execute` returns: with
SQLite, which works the rest out while it is read, that is the first row, and how many rows were read is not known. COMMIT and
PostgreSQL's BEGIN are no statements of a cursor and are not seen.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from flask import Flask, has_request_context, request

from codyverse.operations import tallies
from codyverse.operations.tallies import Tallies

log = logging.getLogger("codyverse.database")

MOST_FINGERPRINTS = 500  # of a process; the rest have OTHER for their name
MOST_TEXTS = 2_000  # that a process knows the fingerprint of; IN lists of different lengths are different texts
LONGEST_READ = 4_000  # characters of a text that its fingerprint is made of
LONGEST_KEPT = 1_000  # characters of a fingerprint
OTHER = "other"
OTHERS = "(all other statements)"
UNKNOWN = "(its text was lost)"

FIGURES = "statement:"
TEXTS = "statement-text:"  # the number behind such a name means nothing: the name itself is what is kept
LAST_BUCKET = 63  # begins at 50 minutes

_TOKENS = re.compile(
    r"""
    (?P<comment> --[^\n]* | /\*.*?(?:\*/|\Z) )
  | (?P<value>
        [eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)
      | (?:[bBxXnN]|[uU]&)?'(?:[^']|'')*(?:'|\Z)
      | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)
      | %\(\w+\)s | %s | \? | \$\d+ | (?<!:):\w+
      | 0[xX][0-9a-fA-F]+ | (?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?
    )
  | "(?:[^"]|"")*(?:"|\Z) | [^\W\d][\w$]*
    """,
    re.VERBOSE | re.DOTALL,
)
_SPACE = re.compile(r"\s+")
_ITEM = r"(?:\?|\([?, ]*\))"
# A text that was cut may end within a parameter, a list or a row.
_HALF_PARAMETER = re.compile(r"%(?:\(\w*\)?)?\Z")
_IN = re.compile(rf"\bIN ?\( ?{_ITEM}(?: ?, ?{_ITEM})*(?: ?\)|[?, (]*\Z)", re.IGNORECASE)
_ROW = r"\((?:[^()]|\([^()]*\))*"
_VALUES = re.compile(rf"({_ROW}\))(?: ?, ?\1)+(?: ?,? ?(?:{_ROW}(?:\([^()]*)?)?\Z)?")


def fingerprint(text: str) -> str:
    """Return what a statement has in common with those that differ from it in values only."""
    text = _HALF_PARAMETER.sub("", text[:LONGEST_READ])
    text = _TOKENS.sub(lambda found: " " if found["comment"] else "?" if found["value"] else found[0], text)
    text = _SPACE.sub(" ", text).strip()
    text = _VALUES.sub(r"\1, …", _IN.sub("IN (?, …)", text))
    return text if len(text) <= LONGEST_KEPT else f"{text[: LONGEST_KEPT - 1]}…"


@dataclass(frozen=True, slots=True)
class _Known:
    """A fingerprint, and the names of its figures among the tallies."""

    digest: str
    text: str
    total: str = field(init=False)
    largest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", self.name("ms"))
        object.__setattr__(self, "largest", self.name("max"))

    def name(self, figure: str) -> str:
        return f"{FIGURES}{self.digest}:{figure}"


class Statements:
    """Times the statements of a process and counts them among the tallies."""

    def __init__(self, counts: Tallies, slow_ms: float, where: Callable[[], tuple[str, str]]) -> None:
        """Log statements that take `slow_ms` or longer; `where` gives the method and the route that one is run for."""
        self._counts = counts
        self._slow_ms = slow_ms
        self._where = where
        self._by_text: dict[str, _Known] = {}
        self._by_digest: dict[str, _Known] = {}
        self._others = _Known(OTHER, OTHERS)
        self._guard = threading.Lock()

    def attach(self, engine: sa.Engine) -> None:
        """Time what the engine, and those made from it with other options, run from now on.

        These events stand around the driver's call alone: 2 µs a statement in all, where those of connections took 5 µs.
        """
        dialect = engine.dialect
        sa.event.listen(engine, "do_execute", self._timed(dialect.do_execute))
        sa.event.listen(engine, "do_executemany", self._timed(dialect.do_executemany))
        sa.event.listen(engine, "do_execute_no_params", self._timed(dialect.do_execute_no_params))

    def _timed(self, execute: Callable[..., None]) -> Callable[..., bool]:
        def run(cursor: Any, text: str, *more: Any) -> bool:
            began_ns = time.perf_counter_ns()
            try:
                execute(cursor, text, *more)
            except BaseException:
                self._count(text, time.perf_counter_ns() - began_ns, 0, failed=True)
                raise
            self._count(text, time.perf_counter_ns() - began_ns, cursor.rowcount)
            return True  # it has been executed

        return run

    def _count(self, text: str, took_ns: int, rows: int, failed: bool = False) -> None:
        known = self._by_text.get(text) or self._learn(text)
        took_ms = took_ns / 1e6
        amounts = [(known.total, took_ms), (f"{FIGURES}{known.digest}:{_bucket(took_ns)}", 1)]
        if rows > 0:
            amounts.append((known.name("rows"), rows))
        if failed:
            amounts.append((known.name("errors"), 1))
        if took_ms >= self._slow_ms:
            amounts.append((known.name("slow"), 1))
            # One line each: a statement that is slow keeps a thread that long, so there cannot be many.
            log.warning(
                "slow statement: ms=%.1f method=%s route=%s fingerprint=%s statement=%s",
                *(took_ms, *self._where(), known.digest, known.text),
            )
        self._counts.count_all(amounts, ((known.largest, took_ms),))

    def _learn(self, text: str) -> _Known:
        key = text[:LONGEST_READ]
        found = self._by_text.get(key)
        if found is not None:
            return found
        shown = fingerprint(key)
        digest = hashlib.sha256(shown.encode()).hexdigest()[:12]
        with self._guard:
            known = self._by_digest.get(digest)
            if known is None and len(self._by_digest) < MOST_FINGERPRINTS:
                known = self._by_digest[digest] = _Known(digest, shown)
                self._counts.count(f"{TEXTS}{digest}:{shown}")
            if len(self._by_text) >= MOST_TEXTS:
                self._by_text.clear()
            self._by_text[key] = known or self._others
            return self._by_text[key]


@dataclass(frozen=True, slots=True)
class Figures:
    """What the processes of a host have counted of one fingerprint."""

    fingerprint: str
    statement: str
    calls: int
    total_ms: float
    p95_ms: float
    max_ms: float
    rows: int
    errors: int
    slow: int


ORDERS: dict[str, Callable[[Figures], float]] = {
    "total": lambda one: one.total_ms,
    "p95": lambda one: one.p95_ms,
    "max": lambda one: one.max_ms,
    "calls": lambda one: one.calls,
}


def figures(counts: Tallies, by: str = "total") -> list[Figures]:
    """Return every fingerprint's figures, the largest of `by` (one of ORDERS) first."""
    texts = dict(name.removeprefix(TEXTS).split(":", 1) for name in counts.totals(TEXTS)) | {OTHER: OTHERS}
    amounts: dict[str, dict[str, float]] = {}
    for name, amount in counts.totals(FIGURES).items():
        _, digest, figure = name.split(":")
        amounts.setdefault(digest, {})[figure] = amount
    found = [_figures(digest, texts.get(digest, UNKNOWN), of_digest) for digest, of_digest in amounts.items()]
    return sorted(found, key=ORDERS[by], reverse=True)


def reset(counts: Tallies) -> None:
    """Begin every figure anew. The texts stay: processes tell the text of a fingerprint once."""
    counts.forget(FIGURES)


def of(app: Flask) -> Statements:
    """Return what times the application's statements."""
    found: Statements = app.extensions["codyverse.statements"]
    return found


def init_app(app: Flask) -> None:
    """Time the statements of the application's database. Comes after it."""
    found = Statements(tallies.of(app), app.config["CODYVERSE"].slow_statement_ms, _where)
    found.attach(app.extensions["codyverse.database"].engine)
    app.extensions["codyverse.statements"] = found


def _where() -> tuple[str, str]:
    """Return the method and the rule of the present request; what matches no rule may hold any text and is not named."""
    if not has_request_context() or request.url_rule is None:
        return "-", "-"
    return request.method, request.url_rule.rule


def _bucket(took_ns: int) -> int:
    """Return which bucket a time belongs to: that of n reaches from 2^(n/2) to 2^((n+1)/2) microseconds."""
    return min(LAST_BUCKET, int(2 * math.log2(took_ns / 1000))) if took_ns > 1000 else 0


def _figures(digest: str, text: str, amounts: dict[str, float]) -> Figures:
    buckets = {int(figure): int(amount) for figure, amount in amounts.items() if figure.isdigit()}
    calls, longest_ms = sum(buckets.values()), amounts.get("max", 0.0)
    return Figures(
        fingerprint=digest,
        statement=text,
        calls=calls,
        total_ms=round(amounts.get("ms", 0.0), 3),
        p95_ms=round(min(_percentile_ms(buckets, calls * 0.95), longest_ms), 3),
        max_ms=round(longest_ms, 3),
        rows=int(amounts.get("rows", 0)),
        errors=int(amounts.get("errors", 0)),
        slow=int(amounts.get("slow", 0)),
    )


def _percentile_ms(buckets: dict[int, int], rank: float) -> float:
    """Return the middle, in ratios, of the bucket that holds the time of a rank."""
    below = 0
    for bucket in sorted(buckets):
        below += buckets[bucket]
        if below >= rank:
            return math.pow(2, (2 * bucket + 1) / 4) / 1000
    return 0.0
