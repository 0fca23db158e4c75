from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.browsing import DESK, Watched, chromium
from tests.browser.platform import EMAIL, PASSWORD, Platform, served

Open = Callable[..., Watched]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for a module: while it runs, this thread has an event loop, which tests of other modules would trip over."""
    with chromium() as browser:
        yield browser


def serve(request: pytest.FixtureRequest, folder: Path, **settings: str) -> Iterator[Platform]:
    path = folder / "test.sqlite3"
    shutil.copy(request.getfixturevalue("sqlite_template"), path)
    with served(folder, f"sqlite:///{path}", **settings) as platform:
        yield platform


@pytest.fixture(scope="module")
def platform(browser: Browser, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One with a day of figures."""
    for found in serve(request, tmp_path_factory.mktemp("platform"), operations_stream_s="60"):
        found.keep_a_day()
        yield found


@pytest.fixture
def open_page(browser: Browser, platform: Platform) -> Iterator[Open]:
    """Open pages, each in a browser of its own: `open_page("/operations", color_scheme="dark")`, signed in unless `nobody`."""
    contexts = []

    def open_page(path: str, nobody: bool = False, **options: Any) -> Watched:
        context = browser.new_context(base_url=platform.url, **{"viewport": DESK, "reduced_motion": "reduce", **options})
        contexts.append(context)
        if not nobody:
            sign_in(context)
        watched = Watched(context)
        watched.page.goto(path)
        return watched

    yield open_page
    for context in contexts:
        context.close()


def sign_in(context: Any) -> None:
    answer = context.request.post("/api/v1/auth/login", data={"email": EMAIL, "password": PASSWORD})
    assert answer.status == 200, answer.text()
