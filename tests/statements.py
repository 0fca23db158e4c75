"""How many statements a piece of work sends to the database: `with statements.at_most(3): client.get(…)`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from codyverse.operations.statements import fingerprint


class Statements:
    """Records what this thread sends; BEGIN, which only SQLite is sent as a statement, is left out."""

    def __init__(self, engine: sa.Engine) -> None:
        self._thread = threading.get_ident()
        self._blocks: list[list[str]] = []
        sa.event.listen(engine, "before_cursor_execute", self._note)

    @contextmanager
    def recorded(self) -> Iterator[list[str]]:
        """Lend the list of the statements that the block sends."""
        sent: list[str] = []
        self._blocks.append(sent)
        try:
            yield sent
        finally:
            self._blocks.remove(sent)

    @contextmanager
    def at_most(self, most: int) -> Iterator[list[str]]:
        """Fail with the statements of the block if there are more."""
        with self.recorded() as sent:
            yield sent
        assert len(sent) <= most, told(sent, most)

    def _note(self, connection: sa.Connection, cursor: Any, text: str, parameters: Any, context: Any, many: bool) -> None:
        if threading.get_ident() != self._thread or text.startswith("BEGIN"):
            return
        # For several sets of parameters psycopg2 sends the statement as many times; SQLite has it in the process.
        times = len(parameters) if isinstance(parameters, list) and connection.dialect.driver == "psycopg2" else 1
        for sent in self._blocks:
            sent.extend([text] * times)


def told(sent: list[str], most: int) -> str:
    """Return what to fail with."""
    lines = "\n".join(f"{number}. {fingerprint(text)}" for number, text in enumerate(sent, 1))
    return f"{len(sent)} statements, {most} at the most:\n{lines}"


@pytest.fixture
def statements(app: Flask) -> Statements:
    return Statements(app.extensions["codyverse.database"].engine)
