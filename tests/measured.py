"""Coverage is measured while a domain's own tests run, and paused for the rest.

The floor of `make test` is about the domains. Tracing makes what runs a third slower, and that the tests of another part come by
a line of a domain says little about whether it is tested.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from coverage import Coverage

HERE = Path(__file__).parent
DOMAINS = ("accounts", "learning", "rewards")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    measured = Coverage.current()
    if measured is None or item.path.relative_to(HERE).parts[0] in DOMAINS:
        return (yield)
    measured.stop()
    try:
        return (yield)
    finally:
        measured.start()
