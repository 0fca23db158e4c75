"""Two hosts on one machine: network namespaces joined by a bridge, or, for who may make none, two places on 127.0.0.1."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

NETWORK = "198.18"  # set aside for measuring networks with each other (RFC 2544), so nothing else is there


@dataclass(frozen=True, slots=True)
class Place:
    """Where a host is: its address, that of the machine as it sees it, and what stands before a command to run it there."""

    address: str
    machine: str
    prefix: tuple[str, ...] = ()


@contextmanager
def two_places() -> Iterator[tuple[Place, Place]]:
    """Lend two places in namespaces of their own, or on 127.0.0.1 for who may not make any."""
    with ExitStack() as made:
        try:
            places = _apart(made)
        except (OSError, subprocess.CalledProcessError):
            made.close()
            places = (Place("127.0.0.1", "127.0.0.1"),) * 2
        yield places


def _apart(made: ExitStack) -> tuple[Place, Place]:
    bridge, net = f"cv{os.getpid()}", f"{NETWORK}.{os.getpid() % 256}"
    _ip("link", "add", bridge, "type", "bridge")
    made.callback(_ip, "link", "del", bridge)
    _ip("addr", "add", f"{net}.1/24", "dev", bridge)
    _ip("link", "set", bridge, "up")
    first, second = (_attach(made, bridge, f"{bridge}{letter}", f"{net}.{number}") for letter, number in (("a", 2), ("b", 3)))
    return Place(f"{net}.2", f"{net}.1", first), Place(f"{net}.3", f"{net}.1", second)


def _attach(made: ExitStack, bridge: str, name: str, address: str) -> tuple[str, ...]:
    _ip("netns", "add", name)
    made.callback(_ip, "netns", "del", name)
    _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
    made.callback(_gone, name)
    _ip("link", "set", name, "master", bridge, "up")
    _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        _ip("-n", name, "link", "set", device, "up")
    return ("ip", "netns", "exec", name)


def _gone(link: str) -> None:
    with suppress(subprocess.CalledProcessError):  # it goes by itself with the namespace of its other end, a moment later
        _ip("link", "del", link)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
