"""How many statements a piece of work sends to the database: `with statements.at_most(3): client.get(…)`."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from codyverse.operations.statements import fingerprint
from tests.recording import Recording, numbered


class Statements(Recording[str]):
    """Records what this thread sends; BEGIN, which only SQLite is sent as a statement, is left out."""

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__()
        sa.event.listen(engine, "before_cursor_execute", self._sent)

    def told(self, sent: list[str], most: int) -> str:
        """Return what to fail with."""
        return f"{len(sent)} statements, {most} at the most:\n{numbered(fingerprint(text) for text in sent)}"

    def _sent(self, connection: sa.Connection, cursor: Any, text: str, parameters: Any, context: Any, many: bool) -> None:
        if text.startswith("BEGIN"):
            return
        # For several sets of parameters psycopg2 sends the statement as many times; SQLite has it in the process.
        times = len(parameters) if isinstance(parameters, list) and connection.dialect.driver == "psycopg2" else 1
        self.note([text] * times)


@pytest.fixture
def statements(app: Flask) -> Statements:
    return Statements(app.extensions["codyverse.database"].engine)
