"""For modules whose tests come out the same on every engine: the fixture `engine_name` that is imported from here names one.

Making an application and emptying its database is most of what such a test costs. One that does need both engines says so with
`@pytest.mark.parametrize("engine_name", ENGINES, indirect=True)`.
"""

from __future__ import annotations

import pytest

from tests import postgresql
from tests.conftest import need_postgresql


@pytest.fixture(name="engine_name")
def cheapest(request: pytest.FixtureRequest) -> str:
    """SQLite, which needs no server."""
    return chosen(request, "sqlite")


@pytest.fixture(name="engine_name")
def strictest(request: pytest.FixtureRequest) -> str:
    """PostgreSQL, which refuses texts and numbers that SQLite takes; without a server SQLite."""
    return chosen(request, "postgresql" if postgresql.url() else "sqlite")


def chosen(request: pytest.FixtureRequest, by_default: str) -> str:
    name: str = getattr(request, "param", None) or by_default
    return need_postgresql() if name == "postgresql" else name
