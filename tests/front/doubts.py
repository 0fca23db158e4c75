"""What the fast path must leave alone, told by a second reading of heads that has nothing in common with the first."""

from __future__ import annotations

NAME = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
TARGET = NAME | frozenset(b"._~!$&'()*+,;=:@/")
NOT_PLAIN = {
    *(b"content-length", b"content-type", b"transfer-encoding", b"trailer", b"te", b"expect", b"upgrade", b"http2-settings"),
    *(b"proxy-connection", b"keep-alive", b"proxy"),
}


def doubts(head: bytes) -> list[str]:
    """Return what can be read in two ways, what begins a body, and what changes the connection."""
    if head.find(b"\r\n\r\n") != len(head) - 4:
        return ["it ends elsewhere"]
    first, *fields = head[:-4].split(b"\r\n")
    found = []
    if any(not 0x20 <= byte <= 0x7E for line in (first, *fields) for byte in line):
        found.append("bytes that are no printable ASCII")
    parts = first.split(b" ")
    if len(parts) != 3 or parts[0] not in (b"GET", b"HEAD") or parts[2] != b"HTTP/1.1":
        return [*found, "another request line"]
    path, _, query = parts[1].partition(b"?")
    if not path.startswith(b"/") or b"//" in path or b"/." in path or not TARGET.issuperset(path):
        found.append("a path with several readings")
    if not (TARGET | frozenset(b"?%")).issuperset(query):
        found.append("a query with several readings")
    return found + _doubts_of_fields(head, fields)


def _doubts_of_fields(head: bytes, fields: list[bytes]) -> list[str]:
    found = []
    pairs = [line.split(b":", 1) for line in fields]
    if any(len(pair) != 2 or not pair[0] or not NAME.issuperset(pair[0]) for pair in pairs):
        return ["a line that is no field"]
    names = [name.lower() for name, _ in pairs]
    if any(value[:1] != b" " or value[1:] != value.strip() or not value.strip() for _, value in pairs):
        found.append("space")
    if len(set(names)) != len(names) or names.count(b"host") != 1:
        found.append("a field twice, or no host")
    if not NOT_PLAIN.isdisjoint(names):
        found.append("a body, or another protocol")
    if any(
        name == b"connection" and value.strip().lower() != b"keep-alive"
        for name, value in zip(names, (v for _, v in pairs), strict=True)
    ):
        found.append("the connection")
    if len(fields) > 60 or len(head) > 4000:
        found.append("size")
    return found
