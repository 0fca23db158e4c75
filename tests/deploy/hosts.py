"""Three hosts for three servers: network namespaces on a bridge, or, for who may make none, three places on 127.0.0.1."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.deploy.tiny_server import TinyServer
from tests.network import Place, _attach, _ip
from tests.server import free_port

NETWORK = "198.19"  # the other half of what RFC 2544 set aside; tests.network has the first


@contextmanager
def three_servers() -> Iterator[list[TinyServer]]:
    """Lend three servers, each on a host of its own."""
    with ExitStack() as made:
        try:
            places = _apart(made)
        except (OSError, subprocess.CalledProcessError):
            made.close()
            places = [Place("127.0.0.1", "127.0.0.1")] * 3
        yield [
            made.enter_context(TinyServer(f"s{number}", place.address, free_port(), place.prefix))
            for number, place in enumerate(places, 1)
        ]


def _apart(made: ExitStack) -> list[Place]:
    bridge, net = f"cw{os.getpid()}", f"{NETWORK}.{os.getpid() % 256}"
    _ip("link", "add", bridge, "type", "bridge")
    made.callback(_ip, "link", "del", bridge)
    _ip("addr", "add", f"{net}.1/24", "dev", bridge)
    _ip("link", "set", bridge, "up")
    return [
        Place(f"{net}.{number}", f"{net}.1", _attach(made, bridge, f"{bridge}{letter}", f"{net}.{number}"))
        for number, letter in ((2, "a"), (3, "b"), (4, "c"))
    ]
