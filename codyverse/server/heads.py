"""Request heads, read from their bytes: strictly for an answer in the event loop, loosely for what a queue has to know.

`plain` accepts only what can be read in one way: canonical GET and HEAD requests with ordinary header lines. Of everything else,
an error, an attack or a rare form, gunicorn's parser decides. Smuggling lives on two readers that differ about a head, so this
one may only ever know less than the other.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import unquote

END = b"\r\n\r\n"

# What `plain` reads, less than gunicorn.conf.py allows: a longer head is gunicorn's.
LONGEST_PLAIN_BYTES = 4_000
MOST_PLAIN_FIELDS = 60
MOST_KEPT, LONGEST_KEPT_BYTES = 2_000, 200  # header lines, some 1 MB

# Targets and values hold printable ASCII only; no escapes, no `//`, no `/.`, about which parsers have ideas of their own. The
# groups are possessive: there is one way to read a line, so there is nothing to go back for.
_REQUEST = re.compile(rb"(GET|HEAD) (/[A-Za-z0-9._~!$&'()*+,;=:@/-]*+)(?:\?([A-Za-z0-9._~!$&'()*+,;=:@/?%-]*+))? HTTP/1\.1")
_FIELD = re.compile(rb"[A-Za-z0-9-]++: [\x21-\x7e](?:[\x20-\x7e]*+(?<! ))?")
# A body, a change of protocol, or something about this connection only.
_NOT_PLAIN = frozenset(
    {
        *("HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_TRANSFER_ENCODING", "HTTP_TRAILER", "HTTP_TE", "HTTP_EXPECT"),
        *("HTTP_UPGRADE", "HTTP_HTTP2_SETTINGS", "HTTP_PROXY_CONNECTION", "HTTP_KEEP_ALIVE", "HTTP_PROXY"),
    }
)
_CREDENTIALS = ("HTTP_AUTHORIZATION", "HTTP_COOKIE")

_TARGET = re.compile(rb"(?:\r\n)?([!-~]{1,20}) ([!-~]+) HTTP/1\.[01]\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,12})[ \t]*(?=\r\n)", re.I)
_FRAMING = re.compile(rb"\r\n(?:content-length|transfer-encoding)[ \t]*:", re.I)
_EXPECT = re.compile(rb"\r\nexpect[ \t]*:", re.I)
_ACCEPT = re.compile(rb"\r\naccept:[ \t]*([!-~ \t]*)\r\n", re.I)
_STARTED = re.compile(rb"\r\nx-request-start:[ \t]*([!-~]{1,30})[ \t]*\r\n", re.I)


class Outline(NamedTuple):
    """What is known of a request before it is parsed.

    `length` is its body's, None when only reading it will tell; `started` what a proxy says of when it was received.
    """

    method: str
    path: str
    accept: str
    length: int | None
    started: str | None


class _Fields(dict[bytes, tuple[str, str]]):
    """Header lines that were read, as WSGI variables: browsers send the same ones again and again.

    No credentials and no long lines are kept, and when there are MOST_KEPT it begins anew.
    """

    def __missing__(self, line: bytes) -> tuple[str, str]:
        """Read a line. Raises KeyError when it is not plain."""
        if _FIELD.fullmatch(line) is None:
            raise KeyError(line)
        name, _, value = line.decode("ascii").partition(": ")
        variable = "HTTP_" + name.upper().replace("-", "_")
        if variable in _NOT_PLAIN:
            raise KeyError(line)
        if variable not in _CREDENTIALS and len(line) <= LONGEST_KEPT_BYTES:
            if len(self) >= MOST_KEPT:
                self.clear()
            self[line] = variable, value
        return variable, value


_fields = _Fields()


def plain(head: bytes) -> dict[str, Any] | None:
    """Return the WSGI variables that a head consists of, None when there is any doubt about it."""
    if len(head) > LONGEST_PLAIN_BYTES or not head.endswith(END):
        return None
    first, *lines = head[: -len(END)].split(b"\r\n")
    request = _REQUEST.fullmatch(first)
    if request is None or len(lines) > MOST_PLAIN_FIELDS:
        return None
    method, path, query = request.groups()
    if b"//" in path or b"/." in path:
        return None
    try:
        environ: dict[str, Any] = dict(map(_fields.__getitem__, lines))
    except KeyError:
        return None
    if len(environ) != len(lines) or "HTTP_HOST" not in environ:
        return None
    if "HTTP_CONNECTION" in environ and environ["HTTP_CONNECTION"].lower() != "keep-alive":
        return None
    environ["REQUEST_METHOD"] = method.decode("ascii")
    environ["PATH_INFO"] = path.decode("ascii")
    environ["QUERY_STRING"] = query.decode("ascii") if query else ""
    return environ


def outline(head: bytes) -> Outline:
    """Return what a queue has to know of a head; texts are empty where they cannot be read."""
    target = _TARGET.match(head)
    method, path = (target[1].decode("ascii"), target[2].decode("ascii")) if target else ("", "")
    framing = _FRAMING.findall(head)
    length: int | None = 0
    if framing:
        told = _LENGTH.findall(head)
        length = int(told[0]) if len(told) == len(framing) == 1 else None
    if length != 0 and _EXPECT.search(head):
        length = None  # the client waits to be told that it may send
    accept, started = _ACCEPT.search(head), _STARTED.search(head)
    return Outline(
        method,
        unquote(path.partition("?")[0]),
        accept[1].decode("ascii") if accept else "",
        length,
        started[1].decode("ascii") if started else None,
    )
