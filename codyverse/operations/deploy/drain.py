"""Take an application server out of the balancer's rotation without cutting anybody off, and put it back."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from codyverse.operations.commands import CommandError
from codyverse.operations.deploy.canary import CANARY
from codyverse.operations.deploy.runtime import BACKEND, Row, Runtime

LOOK_S = 0.1


class Late(CommandError):
    """The server is not yet as it should be; what was asked of HAProxy stays asked."""

    exit_code = 1


def servers(runtime: Runtime) -> list[Row]:
    """Return a row for every server of every backend."""
    return [row for row in runtime.rows() if row.name != BACKEND]


def drain(runtime: Runtime, where: str, wait_s: float, is_forced: bool = False) -> None:
    """Send the server at HOST:PORT nothing new, and wait until it has answered what it had.

    Raises CommandError when nobody else is up to take its place, unless forced, and Late when it is busy for longer.
    """
    found = _at(runtime, where)
    if not is_forced:
        _refuse_the_last(servers(runtime), found)
    for server in found:
        runtime.set_state(server, "drain")
    if not _until(wait_s, lambda: _busy(runtime, where) == 0):
        raise Late(f"{where} gets nothing new, but {_busy(runtime, where)} requests are still in progress after {wait_s:g} s.")


def undrain(runtime: Runtime, where: str, wait_s: float) -> None:
    """Put the server at HOST:PORT back, and wait until HAProxy's checks have found it ready. Raises Late when they do not.

    HAProxy is made to forget what it found before: a server that was restarted between two checks would get requests at once.
    """
    for server in _at(runtime, where):
        runtime.distrust(server)
        runtime.set_state(server, "ready")
    if not _until(wait_s, lambda: all(server.is_up for server in _at(runtime, where))):
        raise Late(f"{where} is not ready after {wait_s:g} s. It gets requests as soon as it is.")


def _at(runtime: Runtime, where: str) -> list[Row]:
    """Return the rows of the server at HOST:PORT: a backend and its spare may both have it. Raises CommandError when none has."""
    known = servers(runtime)
    names = {where, *_addresses(where)}
    found = [row for row in known if row.address in names]
    if not found:
        there = ", ".join(sorted({row.address for row in known})) or "none"
        raise CommandError(f"HAProxy has no server {where}. It has {there}.")
    return found


def _addresses(where: str) -> list[str]:
    """Return HOST:PORT with what the name stands for, as HAProxy writes it."""
    host, _, port = where.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError, OverflowError):
        return []
    return [f"[{to[0]}]:{port}" if family == socket.AF_INET6 else f"{to[0]}:{port}" for family, *_, to in found]


def _refuse_the_last(known: list[Row], leaving: list[Row]) -> None:
    """Raise CommandError when a backend would be left without a server. The canary may be: its visitors then go to stable."""
    addresses = {row.address for row in leaving}
    for backend in {row.backend for row in leaving if row.backend != CANARY and not row.is_spare}:
        if not any(row.is_up for row in known if row.backend == backend and not row.is_spare and row.address not in addresses):
            raise CommandError(f"No other server of {backend} is up. With --force it is drained all the same.")


def _busy(runtime: Runtime, where: str) -> int:
    return sum(server.sessions + server.waiting for server in _at(runtime, where))


def _until(wait_s: float, is_done: Callable[[], bool]) -> bool:
    until = time.monotonic() + wait_s
    while not is_done():
        if time.monotonic() >= until:
            return False
        time.sleep(LOOK_S)
    return True
