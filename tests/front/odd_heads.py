"""What nobody should send in a head: fields, targets, methods, versions and beginnings that parsers have disagreed about.

Lists are texts with escapes as Python has them, parted by ` | `.
"""

from __future__ import annotations


def _parted(text: str) -> list[bytes]:
    return [part.encode("ascii").decode("unicode_escape").encode("latin-1") for part in " ".join(text.split("\n")).split(" | ")]


# Bodies, and ways to smuggle one.
BODIES = _parted(
    r"""Content-Length: 0 | Content-Length: 1 | Content-Length: 00 | Content-Length: +0 | Content-Length: -1 |
Content-Length: 0, 0 | Content-Length: 0,0 | Content-Length: 0x0 | Content-Length:  0 | Content-Length:\x20 |
Content-Length: 1 1 | Content-Length: \xb2 | Transfer-Encoding: chunked | Transfer-Encoding: Chunked |
Transfer-Encoding: identity | Transfer-Encoding: xchunked | Transfer-Encoding: chunked, identity |
Transfer-Encoding: \x0bchunked | Transfer-Encoding: gzip, chunked | Transfer-Encoding: chunked, chunked |
Transfer-Encoding: "chunked" | Transfer-Encoding: chunked;q=1 | Transfer-Encoding:\x20 | Transfer-Encoding: \tchunked |
Transfer-Encoding : chunked | Transfer-Encoding\t: chunked | Transfer_Encoding: chunked | \x20Transfer-Encoding: chunked |
Content-Length : 1 | Content_Length: 1 | Content-Length: 1\r\nContent-Length: 1 | Transfer-Encoding:\r\n chunked |
X-A: b\rContent-Length: 1 | X-A: b\nContent-Length: 1 | X-A: b\x00Content-Length: 1 |
Content-Length: 0\r\nContent-Length: 0 | Content-Type: text/plain | Content-Encoding: gzip | Trailer: X | TE: trailers |
TE: chunked"""
)

# Other protocols, and what is about this connection only.
PROTOCOLS = _parted(
    r"""Expect: 100-continue | Expect: 100-Continue | Expect: more | Upgrade: h2c | Upgrade: websocket |
HTTP2-Settings: AAMAAABk | Connection: close | Connection: Close | Connection: keep-alive, Host | Connection: upgrade |
Connection: keep-alive\t | Connection:\x20 | Connection: te | Keep-Alive: timeout=5 | Proxy-Connection: close |
Proxy: http://evil.example | Connection: close\r\nConnection: keep-alive"""
)

# Names and values as they should not be.
SPELLINGS = _parted(
    r"""X-A : b | X-A\t: b | \x20X-A: b | X A: b | : b | X-A | X-\xe9: b | X_A: b | X-Forwarded_For: 6.6.6.6 | X(A): b |
X_Forwarded_For: 6.6.6.6 | X_Forwarded_Proto: https | X_Request_Id: evil | SCRIPT_NAME: /evil | Accept_Encoding: br |
X.A: b | X-A:b | X-A:  b | X-A:\tb | X-A: b\x20 | X-A: b\t | X-A:\x20 | X-A: | X-A: a\tb | X-A: \xe9 | X-A: \x7f |
X-A: \x00 | X-A: b\r\n c | X-A: b\r\n\tc | X-A: b\rc | X-A: b\nc | X-A: b\n\nc | X-A: b\r\r\nX-C: d | X-A: \x1b |
\x00X-A: b | X-A: \xff"""
)

# Twice what may be there once.
TWICE = _parted(
    r"""Host: evil.example | host: learn.example.org | Host: | Host : evil.example | Host: a\r\nHost: b | HOST: \t |
Host: a\x00b | Accept-Encoding: br\r\nAccept-Encoding: gzip | X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.9 |
Cookie: a=b\r\nCookie: c=d | If-None-Match: "x"\r\nIf-None-Match: * | Origin: null\r\nOrigin: https://app.example.org |
X-Request-ID: a\r\nX-Request-ID: b"""
)

FIELDS = [*BODIES, *PROTOCOLS, *SPELLINGS, *TWICE]

METHODS = _parted(
    r"""POST | OPTIONS | TRACE | PUT | get | Get | head | GETT | GE | G | PRI | CONNECT | GET\t | GET\x00 | HEAD\x20 | G%45T"""
)

VERSIONS = _parted(
    r"""HTTP/1.0 | HTTP/1.2 | HTTP/2.0 | HTTP/0.9 | HTTP/1 | http/1.1 | HTTP/1.1\x20 | HTTP/1.10 | HTTP/01.1 | HTTP"""
)

# Of a path that is read: `{path}`, escaped as a whole, in capitals.
TARGETS = _parted(
    r"""/{path} | //{path} | /.{path} | /..{path} | {path}/. | {path}/.. | {path}/./ | /%2e{path} | /%2E%2e{path} | /x/..{path} |
{escaped} | {path}%2F | {path}%00 | {path}% | {path}%zz | {path}# | {path}#fragment | {path}?a#b | \\{path} | {path}\\ |
http://{host}{path} | HTTP://{host}{path} | http://evil.example{path} | https://{host}{path} | http:/{path} |
http:{path} | http://user@{host}{path} | * | {host}:80 | {host}{path} | {path} x | {path}\t | {path}\x0b | {path}\xe9 |
{path}\x00 | {path};a=b | {path}/ | {path}// | {path}? | {path}?? | {path}?// | {path}?/. | {path}?a=%zz | {path}?a=\xe9 |
{path}?a=[] | {path}?a=b&a=c | {path}?limit=1 | {path}\x7c | {path}" | {path}<b> | {path}^ | {path}` | {path}{{}} |
{upper} | @{path} | ?{path}"""
)

# What stands before the request line.
BEGINNINGS = _parted(
    r"""\r\n | \n | \r | \x20 | \r\n\r\n | \x00 | \x16\x03\x01 | PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n |
PROXY TCP4 6.6.6.6 6.6.6.6 1 1\r\n"""
)
