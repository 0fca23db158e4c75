"""The dashboard in a browser: everybody can use it, it is live, and it is whole without scripts."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.browsing import DESK, PHONE
from tests.browser.conftest import Open
from tests.browser.platform import EMAIL, PASSWORD, Platform
from tests.server import wait_until

PATHS = ("/operations", "/operations?span=week", "/operations/docs/alerts.md", "/operations/docs/install.md", "/login")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("window", [DESK, PHONE], ids=["desk", "phone"])
def test_axe_finds_nothing(open_page: Open, platform: Platform, scheme: str, window: dict[str, int]) -> None:
    platform.fire("MemoryHigh")
    watched = open_page(PATHS[0], color_scheme=scheme, viewport=window)
    for path in PATHS:
        watched.page.goto(path)
        watched.page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        if path == "/operations":
            expect(watched.page.locator(".uplot")).to_have_count(9)
            expect(watched.page.locator("#live")).to_have_text("Live", timeout=30_000)
        assert watched.violations() == [], path
        assert not watched.is_wider_than_its_window(), path
    assert watched.complaints == []


@pytest.mark.parametrize("path", ["/login", "/operations"])
def test_axe_finds_nothing_for_who_is_not_signed_in(open_page: Open, path: str) -> None:
    watched = open_page(path, nobody=True)
    assert watched.violations() == []


@pytest.mark.parametrize("width", [320, 600, 1024, 2000])
def test_it_fits_every_window(open_page: Open, width: int) -> None:
    watched = open_page("/operations", viewport={"width": width, "height": 700})
    expect(watched.page.locator(".uplot")).to_have_count(9)
    assert not watched.is_wider_than_its_window()


def test_signing_in_leads_to_it(open_page: Open) -> None:
    watched = open_page("/operations?span=week", nobody=True)
    page = watched.page
    expect(page.get_by_role("heading", level=1)).to_have_text("Not signed in")
    page.get_by_role("link", name="Sign in").click()
    page.get_by_label("E-mail address").fill(EMAIL)
    page.get_by_label("Password").fill("not the password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("The e-mail address or the password is wrong.")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/operations?span=week")
    page.get_by_role("link", name="Account").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login")
    page.goto("/operations")
    expect(page.get_by_role("heading", level=1)).to_have_text("Not signed in")


def test_it_is_live(open_page: Open, platform: Platform) -> None:
    platform.fire("MemoryHigh", "inactive")
    page = open_page("/operations").page
    expect(page.locator("#live")).to_have_text("Live", timeout=30_000)
    expect(page.get_by_role("heading", level=1)).not_to_contain_text("firing")

    platform.fire("BreakerOpen", value=1)

    expect(page.get_by_role("heading", level=1)).to_have_text("1 alert is firing", timeout=30_000)
    expect(page.locator(".alert h3")).to_have_text("BreakerOpen")
    expect(page.locator("#announced")).to_have_text("1 alert is firing")
    expect(page).to_have_title(re.compile("1 alert is firing"))


def test_what_is_replaced_keeps_focus_and_what_is_open(open_page: Open, platform: Platform) -> None:
    platform.fire("MemoryHigh", "inactive")
    page = open_page("/operations").page
    page.locator("#quiet-alerts summary").click()
    page.locator("#runbook-DiskNearlyFull").focus()

    platform.fire("BreakerOpen", value=1)

    expect(page.locator(".alert h3")).to_have_text("BreakerOpen", timeout=30_000)
    expect(page.locator("#runbook-DiskNearlyFull")).to_be_focused()
    assert page.locator("#quiet-alerts").get_attribute("open") is not None


def test_a_stream_that_ends_is_opened_again(open_page: Open) -> None:
    page = open_page("/operations").page
    expect(page.locator("#live")).to_have_text("Live", timeout=30_000)
    page.context.set_offline(True)
    page.evaluate("disconnect()")
    page.evaluate("connect()")
    expect(page.locator("#live")).to_contain_text("Not live: ", timeout=30_000)
    page.context.set_offline(False)
    expect(page.locator("#live")).to_have_text("Live", timeout=30_000)


def test_without_scripts_it_is_whole(open_page: Open) -> None:
    watched = open_page("/operations", java_script_enabled=False)
    page = watched.page
    expect(page.locator(".target")).to_have_count(5)
    expect(page.locator(".chart svg path.line-1")).to_have_count(9)
    expect(page.locator("#live")).to_have_text("Not live")
    before = page.locator(".state time").get_attribute("datetime")

    def is_renewed() -> bool:
        page.get_by_role("link", name="Refresh").click()
        return page.locator(".state time").get_attribute("datetime") != before

    wait_until(is_renewed)  # what is shown of the moment is kept for two seconds
    page.locator("#by-hour summary").click()
    expect(page.locator("#by-hour tbody tr")).to_have_count(24)


def test_charts_are_read_with_the_keyboard(open_page: Open) -> None:
    page = open_page("/operations").page
    chart = page.get_by_role("slider", name=re.compile("^Response time"))
    chart.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    first = chart.get_attribute("aria-valuetext") or ""
    assert re.fullmatch(r"\d\d:\d\d UTC, mean [\d.]+ ms, p95 [\d.]+ ms", first)
    page.keyboard.press("PageUp")
    assert chart.get_attribute("aria-valuetext") != first
    page.keyboard.press("Home")
    assert chart.get_attribute("aria-valuenow") == "0"
    page.keyboard.press("Tab")
    expect(page.locator(".chart").filter(has_text="Response time").locator(".figures")).to_contain_text("at the most")


def test_the_whole_page_is_walked_with_the_keyboard(open_page: Open) -> None:
    page = open_page("/operations").page
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.textContent.trim() || document.activeElement.ariaLabel"))
        if seen[-1] == "90 days":
            break
    for name in ("Skip to the content", "Refresh", "Runbooks", "Account", "24 hours", "7 days", "90 days"):
        assert name in seen, name
