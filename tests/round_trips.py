"""How many times this thread waits for Redis: `with round_trips.at_most(1): client.get(…)`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis.connection import AbstractConnection


class RoundTrips:
    """Records what this thread sends; the commands of a pipeline go together."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._thread = threading.get_ident()
        self._blocks: list[list[bytes]] = []
        self._send = AbstractConnection.send_packed_command
        monkeypatch.setattr(AbstractConnection, "send_packed_command", self._noting())

    @contextmanager
    def recorded(self) -> Iterator[list[bytes]]:
        """Lend the list of what the block sends."""
        sent: list[bytes] = []
        self._blocks.append(sent)
        try:
            yield sent
        finally:
            self._blocks.remove(sent)

    @contextmanager
    def at_most(self, most: int) -> Iterator[list[bytes]]:
        """Fail with what the block sends if there is more."""
        with self.recorded() as sent:
            yield sent
        lines = "\n".join(repr(command[:200]) for command in sent)
        assert len(sent) <= most, f"{len(sent)} round trips, {most} at the most:\n{lines}"

    def _noting(self) -> Any:
        def send(connection: AbstractConnection, command: Any, *arguments: Any, **named: Any) -> None:
            if threading.get_ident() == self._thread:
                for sent in self._blocks:
                    sent.append(command if isinstance(command, bytes) else b"".join(command))
            self._send(connection, command, *arguments, **named)

        return send


@pytest.fixture
def round_trips(monkeypatch: pytest.MonkeyPatch) -> RoundTrips:
    return RoundTrips(monkeypatch)
