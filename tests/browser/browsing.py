"""A browser for tests: the system's Chromium, driven by Playwright. Without one the tests are skipped; with CI=true they fail."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

WHY_NOT = "there is no Chromium on this machine (Debian: apt-get install chromium)"
AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text("utf-8")
PHONE = {"width": 360, "height": 780}
DESK = {"width": 1280, "height": 900}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the browser."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        assert os.environ.get("CI") != "true", WHY_NOT
        pytest.skip(WHY_NOT)
    with sync_playwright() as playwright:
        # As root it does not start inside its own sandbox; it sees only our server here.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page whose complaints are collected: errors of scripts, refusals of the Content-Security-Policy, files that failed."""

    def __init__(self, context: BrowserContext) -> None:
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def violations(self) -> list[str]:
        """Return what axe-core finds, with the elements that it is about."""
        self.page.evaluate(AXE)
        found: dict[str, Any] = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{violation['id']}: {violation['help']} {[node['target'] for node in violation['nodes']]}"
            for violation in found["violations"]
        ]

    def is_wider_than_its_window(self) -> bool:
        """Say whether the page scrolls sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))
