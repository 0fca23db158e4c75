"""How connections that stay spread over the workers of a server: draw after draw, who holds how many."""

from __future__ import annotations

import http.client
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from benchmarks.results import mark
from tests.server import Server, wait_until

CONNECTIONS, DRAWS = 16, 20
MOST = 9  # of one of two workers

_LOCAL, _STATE, _INODE, _ESTABLISHED = 1, 3, 9, "01"  # columns of /proc/net/tcp, see proc_net(5)


def held(server: Server) -> list[int]:
    """Return how many connections each worker holds."""
    of_server = _sockets(server.port)
    return [len(of_server & _open_files(pid)) for pid in server.workers()]


def draw(server: Server) -> list[int]:
    """Open connections, ask something on each, and return how many each worker holds, the fewest first."""
    wait_until(lambda: sum(held(server)) == 0)
    with ExitStack() as stack:
        opened = [
            stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)))
            for _ in range(CONNECTIONS)
        ]
        for connection in opened:
            connection.connect()
        for connection in opened:
            connection.request("GET", "/livez")
        for connection in opened:
            connection.getresponse().read()
        return sorted(held(server))


def row(name: str, server: Server, draws: int, counts: bool) -> dict[str, Any]:
    """Return what came of so many draws; `counts` says whether there is something to be met."""
    wait_until(lambda: len(server.workers()) == 2)
    return judged(name, [draw(server) for _ in range(draws)], counts)


def judged(name: str, drawn: list[list[int]], counts: bool) -> dict[str, Any]:
    """Return the row of these draws."""
    often = Counter(":".join(map(str, each)) for each in drawn).most_common()
    largest = max(max(each) for each in drawn)
    return {
        "server": name,
        "draws": len(drawn),
        "connections by worker": ", ".join(f"{split} × {times}" for split, times in often),
        "most": largest,
        "at most": MOST if counts else None,
        "met": mark(largest <= MOST and all(sum(each) == CONNECTIONS for each in drawn) if counts else None),
    }


def _sockets(port: int) -> set[str]:
    """Return the inodes of connections to a port of 127.0.0.1 that somebody has accepted."""
    lines = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
    local = f"0100007F:{port:04X}"
    found = {each[_INODE] for each in map(str.split, lines) if each[_LOCAL] == local and each[_STATE] == _ESTABLISHED}
    return found - {"0"}  # who waits to be accepted has none yet


def _open_files(pid: int) -> set[str]:
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            name = str(link.readlink())
        except FileNotFoundError:  # closed meanwhile
            continue
        found.add(name.removeprefix("socket:[").removesuffix("]"))
    return found
