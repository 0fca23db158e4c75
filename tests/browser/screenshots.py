"""Take the pictures of docs/operations/monitor.md anew: `python -m tests.browser.screenshots`, where Chromium and wrk are."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import expect

from tests.browser.browsing import chromium
from tests.browser.conftest import sign_in
from tests.browser.platform import Platform, served
from tests.conftest import make_settings, migrate

FOLDER = Path(__file__).parents[2] / "docs" / "operations" / "images"
PATHS = ("/", "/courses/machines", "/api/v1/courses", "/api/v1/courses?q=never", "/operations")
LOAD_S = 25
DESK = {"width": 1280, "height": 1000}
PHONE = {"width": 390, "height": 844}
PICTURES = (
    ("dashboard-light", "light", DESK, 1.0),
    ("dashboard-dark", "dark", DESK, 1.0),
    ("dashboard-phone", "light", PHONE, 2.0),
)


def main(folder: Path) -> None:
    """Serve, load, look."""
    with tempfile.TemporaryDirectory() as instance:
        database_url = f"sqlite:///{instance}/test.sqlite3"
        migrate(make_settings(Path(instance), database_url))
        with served(Path(instance), database_url, operations_stream_s="60") as platform:
            platform.keep_a_day()
            platform.fire("RequestsSlow", "pending", 8)
            loads = [_load(platform, path) for path in PATHS]
            try:
                time.sleep(LOAD_S / 2)
                _take(platform, folder)
            finally:
                for load in loads:
                    load.wait()


def _load(platform: Platform, path: str) -> subprocess.Popen[bytes]:
    wrk = shutil.which("wrk")
    assert wrk is not None, "wrk is missing (Debian: apt-get install wrk)"
    return subprocess.Popen([wrk, "-t1", "-c4", f"-d{LOAD_S}s", platform.url + path], stdout=subprocess.DEVNULL)


def _take(platform: Platform, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        for name, scheme, window, scale in PICTURES:
            context = browser.new_context(
                base_url=platform.url, viewport=window, color_scheme=scheme, device_scale_factor=scale, reduced_motion="reduce"
            )
            sign_in(context)
            page = context.new_page()
            page.goto("/operations")
            expect(page.locator(".uplot")).to_have_count(9, timeout=30_000)
            expect(page.locator("#live")).to_have_text("Live", timeout=30_000)
            path = folder / f"{name}.png"
            page.screenshot(path=path, full_page=window is DESK or "full" in sys.argv)
            _make_smaller(path)
            context.close()


def _make_smaller(path: Path) -> None:
    """Keep 128 colours, which a page like this has hardly more of: a third of the bytes."""
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else FOLDER)
