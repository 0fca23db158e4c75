"""Heads of requests, made at random: those that clients send, those that nobody should send, and bytes that were heads once.

Every draw comes from one `random.Random`, so a seed repeats a run, and hypothesis, which has such objects too, can shrink one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.front import odd_heads

HOST = "learn.example.org"
FRIEND = "https://app.example.org"  # an origin that the settings admit

HOSTS = [
    *("other.example.org", "learn.example.org:8000", "LEARN.example.org", "learn.example.org.", "192.0.2.1", "[2001:db8::1]:80"),
    *("user@learn.example.org", "learn.example.org:", "learn.example.org:99999", "<script>", "a b", "a,b", "a/b", "[::1", "_"),
]
ENCODINGS = [
    *("gzip", "br", "zstd", "gzip, deflate, br, zstd", "gzip, deflate", "identity", "gzip, br;q=0.5", "br;q=0, gzip", "br;q=0"),
    *("*", "*;q=0", "gzip;q=0, *;q=0.5", "identity;q=1, br;q=0.9", "GZIP", "deflate", "nonsense;;;q=x", "br;q=1.5,zstd;q=0.1"),
]
ORIGINS = [FRIEND, FRIEND, FRIEND.upper(), f"{FRIEND}.evil.example", "https://a.replit.example", "null", "https://foe.example"]
DATES = ["Tue, 24 Nov 2099 12:00:00 GMT", "Tue, 24 Nov 1998 12:00:00 GMT", "yesterday"]
FORWARDED_FOR = [
    "192.0.2.9",
    "192.0.2.9, 198.51.100.7",
    "a, b, 2001:db8::9",
    '"6.6.6.6, 192.0.2.9',
    "unknown",
    ",",
    "::ffff:192.0.2.9",
]
FORWARDED_PROTO = ["https", "https, https", "http", "https, http", "HTTPS", "ftp", "https,"]
FORWARDED_HOST = [HOST, f"evil.example, {HOST}", "other.example.org", "<script>", ","]
REQUEST_IDS = ["abc-1", "a" * 64, "a" * 65, "not usable", "<b>", "0"]

# What clients send beside what the grammar knows of.
USUAL = [
    *("User-Agent: Mozilla/5.0 (X11; Linux x86_64)", "Accept: */*", "Accept: text/html,application/xhtml+xml;q=0.9"),
    *("Accept-Language: de,en;q=0.5", "Cache-Control: no-cache", "Pragma: no-cache", "Referer: https://a.example/?q=1", "DNT: 1"),
    *("Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: cross-site", "X-Request-Start: t=1795521600000", "Via: 1.1 proxy", "X: y"),
    *("X-HTTP-Method-Override: DELETE", "X-Forwarded-Prefix: /evil", "X-Forwarded-Port: 1", "Forwarded: for=6.6.6.6;host=evil"),
    *(
        "X-Real-IP: 6.6.6.6",
        "Script-Name: /evil",
        "Priority: u=1",
        "Early-Data: 1",
        "Max-Forwards: 0",
        "X-Original-URL: /api/v1/me",
    ),
]

BYTES = [b"\r", b"\n", b"\r\n", b"\t", b" ", b"\0", *(bytes([byte]) for byte in b":/.%\\?#,;_-0\x80\xff")]


@dataclass(frozen=True)
class Words:
    """What heads are made of that depends on the application: targets whose answers are kept and others, tags, credentials."""

    targets: Sequence[str]
    others: Sequence[str]
    tags: Sequence[str]
    credentials: Sequence[str]  # field lines
    behind_proxies: bool = False


@dataclass
class Draft:
    """A head before it is bytes."""

    method: str
    target: str
    version: str = "HTTP/1.1"
    fields: list[bytes] = field(default_factory=list)
    before: bytes = b""
    behind: bytes = b""
    end: bytes = b"\r\n"

    def bytes(self) -> bytes:
        first = f"{self.method} {self.target} {self.version}".encode("latin-1")
        return self.before + self.end.join([first, *self.fields, b"", b""]) + self.behind


class Grammar:
    """Makes heads."""

    def __init__(self, draws: random.Random, words: Words) -> None:
        self._draws = draws
        self._words = words

    def head(self) -> bytes:
        """Return a head, in about half of all cases one that a client might send."""
        kind = self._draws.random()
        if kind < 0.5:
            return self.draft().bytes()
        if kind < 0.8:
            draft = self.draft()
            for _ in range(self._draws.choice([1, 1, 1, 2, 3])):
                self._twist(draft)
            return draft.bytes()
        if kind < 0.94:
            return self._damaged(self.draft().bytes())
        return self._crossed(self.draft().bytes(), self.draft().bytes())

    def draft(self) -> Draft:
        """Return a head as clients send them."""
        rest = self._words.targets if self._chance(0.95) else self._words.others
        fields = [line.encode("latin-1") for line in self._fields()]
        self._draws.shuffle(fields)
        method = "HEAD" if self._chance(0.25) else "GET"
        return Draft(method, self._draws.choice(rest), fields=[self._in_some_case(line) for line in fields])

    # ---- what clients send

    def _fields(self) -> list[str]:
        lines = [f"Host: {HOST if self._chance(0.93) else self._draws.choice(HOSTS)}"]
        for name, chance, values in (
            ("Accept-Encoding", 0.6, ENCODINGS),
            ("If-None-Match", 0.3, self._words.tags),
            ("If-Modified-Since", 0.04, DATES),
            ("If-Unmodified-Since", 0.01, DATES),
            ("If-Match", 0.01, self._words.tags),
            ("If-Range", 0.01, self._words.tags),
            ("Range", 0.02, ["bytes=0-9", "bytes=-1", "bytes=9-0", "lines=1"]),
            ("Origin", 0.2, ORIGINS),
            ("X-Request-ID", 0.1, REQUEST_IDS),
            ("Connection", 0.2, ["keep-alive", "Keep-Alive"]),
            ("Access-Control-Request-Private-Network", 0.01, ["true"]),
        ):
            if self._chance(chance):
                lines.append(f"{name}: {self._draws.choice(values)}")
        if self._chance(0.15):
            lines.append(self._draws.choice(self._words.credentials))
        if self._words.behind_proxies or self._chance(0.05):
            lines += self._forwarded()
        names = {line.partition(":")[0] for line in lines}
        more = self._draws.sample(USUAL, self._draws.randrange(6)) if self._chance(0.6) else []
        for line in more:
            if line.partition(":")[0] not in names:
                names.add(line.partition(":")[0])
                lines.append(line)
        return lines

    def _forwarded(self) -> list[str]:
        lines = []
        for name, usual, values in (
            ("X-Forwarded-For", "192.0.2.9, 198.51.100.7", FORWARDED_FOR),
            ("X-Forwarded-Proto", "https, https", FORWARDED_PROTO),
            ("X-Forwarded-Host", f"{HOST}, {HOST}", FORWARDED_HOST),
        ):
            if self._chance(0.9 if name.endswith("Proto") else 0.6):
                lines.append(f"{name}: {usual if self._chance(0.8) else self._draws.choice(values)}")
        return lines

    def _in_some_case(self, line: bytes) -> bytes:
        name, colon, value = line.partition(b":")
        changed = self._draws.choice([name, name, name, name.lower(), name.upper(), name.swapcase()])
        return changed + colon + value

    # ---- what nobody should send

    def _twist(self, draft: Draft) -> None:
        self._draws.choice(
            [
                *([self._twist_field] * 8),
                *([self._twist_target] * 4),
                self._twist_method,
                self._twist_version,
                self._twist_ends,
                self._twist_size,
                self._twist_size,
                self._lose_field,
            ]
        )(draft)

    def _twist_field(self, draft: Draft) -> None:
        draft.fields.insert(self._draws.randint(0, len(draft.fields)), self._draws.choice(odd_heads.FIELDS))

    def _twist_target(self, draft: Draft) -> None:
        path = draft.target.partition("?")[0] or "/"
        escaped = "/" + "".join(f"%{ord(letter):02X}" for letter in path[1:])
        form = self._draws.choice([*odd_heads.TARGETS, b""]).decode("latin-1")
        draft.target = form.format(path=path, host=HOST, escaped=escaped, upper=path.upper())

    def _twist_method(self, draft: Draft) -> None:
        draft.method = self._draws.choice([*odd_heads.METHODS, b""]).decode("latin-1")

    def _twist_version(self, draft: Draft) -> None:
        draft.version = self._draws.choice([*odd_heads.VERSIONS, b""]).decode("latin-1")

    def _twist_ends(self, draft: Draft) -> None:
        kind = self._draws.randrange(4)
        if kind == 0:
            draft.before = self._draws.choice(odd_heads.BEGINNINGS)
        elif kind == 1:
            draft.end = self._draws.choice([b"\n", b"\r", b"\n\r", b"\r\r\n", b" \r\n"])
        elif kind == 2:
            draft.behind = self._draws.choice([b"x", b"\r\n", b"\n", b"0\r\n\r\n", b"\0"])
        else:
            draft.behind = self.draft().bytes()

    def _twist_size(self, draft: Draft) -> None:
        """Reach one of the limits, or go one beyond it."""
        over = self._draws.choice([-1, 0, 1])
        kind = self._draws.randrange(4)
        if kind == 0:  # fields: `heads` reads 60, gunicorn 64
            wanted = self._draws.choice([60, 64]) + over
            draft.fields += [b"X-%d: y" % number for number in range(wanted - len(draft.fields))]
        elif kind == 1:  # the request line
            longer = 4094 + over - len(f"{draft.method} {draft.target}? {draft.version}")
            draft.target += "?" + "a" * longer
        elif kind == 2:  # a field
            draft.fields.append(b"X-Long: " + b"a" * (8190 + over - len(b"X-Long: \r\n")))
        else:  # the whole head
            longer = 4000 + over - len(draft.bytes()) - len(b"X-Long: \r\n")
            draft.fields.append(b"X-Long: " + b"a" * max(longer, 1))

    def _lose_field(self, draft: Draft) -> None:
        draft.fields = [line for line in draft.fields if not line.lower().startswith(b"host:")]

    # ---- bytes that were heads

    def _damaged(self, head: bytes) -> bytes:
        for _ in range(self._draws.choice([1, 1, 1, 1, 2, 3, 5])):
            at = self._draws.randint(0, len(head))
            kind = self._draws.randrange(5)
            if kind == 0:
                head = head[:at] + self._draws.choice(BYTES) + head[at:]
            elif kind == 1:
                head = head[:at] + head[at + self._draws.choice([1, 1, 1, 2, 4]) :]
            elif kind == 2:
                head = head[:at] + self._draws.choice(BYTES) + head[at + 1 :]
            elif kind == 3:
                head = head[:at] + bytes([self._draws.randrange(256)]) + head[at + 1 :]
            else:
                lines = head.split(b"\r\n")
                lines.insert(self._draws.randint(0, len(lines)), self._draws.choice(lines))
                head = b"\r\n".join(lines)
        return head

    def _crossed(self, one: bytes, other: bytes) -> bytes:
        return one[: self._draws.randint(0, len(one))] + other[self._draws.randint(0, len(other)) :]

    def _chance(self, of: float) -> bool:
        return self._draws.random() < of
