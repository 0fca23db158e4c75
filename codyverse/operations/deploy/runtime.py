"""HAProxy while it runs: what it says of its servers, and what it is told to do, through its runtime socket.

The generated configuration has two backends, `stable` and `canary`, and a map file `canary.map` with the line `pct 10`: the
percentage of visitors, by the number in their cookie, that the canary gets.
"""

from __future__ import annotations

import csv
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from codyverse.operations.commands import CommandError

SOCKET = "/run/haproxy/codyverse.sock"
TIMEOUT_S = 2.0
BACKEND = "BACKEND"  # HAProxy's name for the row that sums a backend up

option: Callable[[Any], Any] = click.option(
    "--socket", "address", default=SOCKET, show_default=True, metavar="PATH|HOST:PORT", help="HAProxy's runtime socket."
)


class Unreachable(CommandError):
    """HAProxy does not answer at its runtime socket."""


@dataclass(frozen=True, slots=True)
class Row:
    """What `show stat` says of a server, or of a backend (its name is then BACKEND), counted from HAProxy's last reload on."""

    backend: str
    name: str
    address: str  # HOST:PORT as the configuration has it; empty for a backend
    status: str  # UP, DOWN, DRAIN, MAINT, `no check`, or what is becoming one of them: `UP 1/2`
    is_checked: bool
    is_spare: bool  # gets requests only when no other server is up
    sessions: int  # in progress
    waiting: int  # in its queue
    requests: int
    errors: int  # answers from 500 on, HAProxy's own for want of an answer among them
    mean_ms: int  # until the answer begins, over the last 1,024 of them

    @property
    def is_up(self) -> bool:
        """Say whether it gets new requests."""
        return self.status.startswith("UP") or self.status == "no check"


class Runtime:
    """HAProxy behind its runtime socket: a path, or HOST:PORT. Everything raises Unreachable, and CommandError for a refusal."""

    def __init__(self, address: str, timeout_s: float = TIMEOUT_S) -> None:
        self.address = address
        self._timeout_s = timeout_s

    def rows(self) -> list[Row]:
        """Return a row for every server, and one for every backend."""
        head, *lines = self._tell("show stat").splitlines() or [""]
        if not head.startswith("# pxname"):
            raise CommandError(f"{self.address} is no runtime socket of HAProxy's, or lets nobody read.")
        read = csv.DictReader(lines, head.removeprefix("# ").split(","))
        return [_row(columns) for columns in read if columns["pxname"] and columns["svname"] != "FRONTEND"]

    def set_state(self, server: Row, state: str) -> None:
        """Make a server `ready`, have it `drain`, or put it into `maint`enance."""
        self._order(f"set server {server.backend}/{server.name} state {state}")

    def distrust(self, server: Row) -> None:
        """Take a server for down until its checks have found it up. One without checks is left as it is: it would stay down."""
        if server.is_checked:
            self._order(f"set server {server.backend}/{server.name} health down")

    def map_id(self, file_name: str) -> tuple[str, str] | None:
        """Return the number and the path of the map that was read from a file of this name, None when there is none."""
        maps = re.findall(r"^(\d+) \((.+?)\) pattern loaded", self._tell("show map"), re.M)
        return next(((number, path) for number, path in maps if path.split("/")[-1] == file_name), None)

    def map_value(self, number: str, key: str) -> str | None:
        """Return what a map has for a key, None when it has nothing."""
        entries = (line.split(maxsplit=2) for line in self._tell(f"show map #{number}").splitlines())
        return next((entry[2] for entry in entries if len(entry) == 3 and entry[1] == key), None)

    def set_map_value(self, number: str, key: str, value: str) -> None:
        """Give a key of a map another value."""
        known = self.map_value(number, key) is not None
        self._order(f"{'set' if known else 'add'} map #{number} {key} {value}")

    def _order(self, command: str) -> None:
        answer = self._tell(command)
        if answer:  # HAProxy is silent about what it has done
            raise CommandError(f"HAProxy refuses `{command}`: {answer}")

    def _tell(self, command: str) -> str:
        until = time.monotonic() + self._timeout_s
        try:
            with _connect(self.address, self._timeout_s) as connection:
                connection.sendall(f"{command}\n".encode())
                answer = b""
                while chunk := connection.recv(65_536):
                    answer += chunk
                    connection.settimeout(max(until - time.monotonic(), 0.001))
        except (OSError, ValueError) as error:
            raise Unreachable(f"HAProxy does not answer at {self.address}: {error}") from None
        return answer.decode("utf-8", "replace").strip()


def _connect(address: str, timeout_s: float) -> socket.socket:
    """Return a connection. Raises OSError, and ValueError for what is no address."""
    if "/" not in address:
        host, _, port = address.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), timeout_s)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout_s)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def _row(columns: dict[str, str]) -> Row:
    def number(name: str) -> int:
        return int(columns.get(name) or 0)

    return Row(
        backend=columns["pxname"],
        name=columns["svname"],
        address=columns["addr"],
        status=columns["status"],
        is_checked=bool(columns["check_status"]),
        is_spare=columns["bck"] == "1" and columns["svname"] != BACKEND,
        sessions=number("scur"),
        waiting=number("qcur"),
        requests=number("req_tot"),
        errors=number("hrsp_5xx"),
        mean_ms=number("rtime"),
    )
