"""How many times this thread waits for Redis: `with round_trips.at_most(1): client.get(…)`.

What a new connection says of itself is left out: a request meets it seldom, and a test whenever another thread has the other one.
"""

from __future__ import annotations

from typing import Any

import pytest
from redis.connection import AbstractConnection

from tests.recording import Recording, numbered


class RoundTrips(Recording[bytes]):
    """Records what this thread sends; the commands of a pipeline go together."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._is_connecting = False
        self._send = AbstractConnection.send_packed_command
        self._connect = AbstractConnection.connect_check_health
        monkeypatch.setattr(AbstractConnection, "send_packed_command", self._sending())
        monkeypatch.setattr(AbstractConnection, "connect_check_health", self._connecting())

    def told(self, sent: list[bytes], most: int) -> str:
        """Return what to fail with."""
        return f"{len(sent)} round trips, {most} at the most:\n{numbered(repr(command[:200]) for command in sent)}"

    def _sending(self) -> Any:
        def send(connection: AbstractConnection, command: Any, *arguments: Any, **named: Any) -> None:
            if self.is_of_this_thread() and not self._is_connecting:
                self.note([command if isinstance(command, bytes) else b"".join(command)])
            self._send(connection, command, *arguments, **named)

        return send

    def _connecting(self) -> Any:
        def connect(connection: AbstractConnection, *arguments: Any, **named: Any) -> None:
            if not self.is_of_this_thread():
                self._connect(connection, *arguments, **named)
                return
            self._is_connecting = True
            try:
                self._connect(connection, *arguments, **named)
            finally:
                self._is_connecting = False

        return connect


@pytest.fixture
def round_trips(monkeypatch: pytest.MonkeyPatch) -> RoundTrips:
    return RoundTrips(monkeypatch)
