"""The audit trail in a real browser: what axe says, narrow and wide, light and dark; hostile content; filters."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from tests.handlers.browsing import HOSTILE
from tests.handlers.test_audit import fill
from tests.servers.browser import chromium, log_in, open_page
from tests.support import USER, Box

WINDOWS: list[Any] = [
    pytest.param({"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"}, id="wide-light"),
    pytest.param({"viewport": {"width": 360, "height": 800}, "color_scheme": "dark"}, id="narrow-dark"),
    pytest.param({"viewport": {"width": 700, "height": 800}, "forced_colors": "active"}, id="forced"),
]

pytestmark = pytest.mark.gen_test(timeout=180)


async def check(page: Page) -> None:
    """Let axe look at the page, and measure it."""
    results = await Axe().run(page)
    assert results.response["passes"]
    assert results.violations_count == 0, results.generate_report()
    assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


@pytest.mark.parametrize("window", WINDOWS)
async def test_the_page_is_accessible_and_fits(box: Box, admin: object, window: dict[str, Any]) -> None:
    """Axe finds nothing, nothing is wider than the window, and what an attacker typed is text, in both directions."""
    await fill(box, 60)
    complaints: list[str] = []
    async with chromium(**window) as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        await page.get_by_role("link", name="Audit trail").click()
        await expect(page.get_by_role("heading", name="Audit trail")).to_be_visible()
        await expect(page.get_by_role("table", name="Audit trail").get_by_role("row")).to_have_count(51)
        await check(page)
        await page.get_by_role("link", name="Older entries").click()
        await expect(page.get_by_text(HOSTILE).first).to_be_visible()
        await check(page)
        await page.evaluate("document.getElementById('mu').dir = 'rtl'")
        await check(page)
    assert complaints == []


async def test_filters_without_scripts(box: Box, admin: object) -> None:
    """The form narrows the trail, says so when nothing is left, and is cleared."""
    await fill(box)
    async with chromium(java_script_enabled=False) as context:
        page = await open_page(context, [])
        await log_in(page, box)
        await page.goto(f"{box.base_url}/admin/mailusers/audit")
        await page.get_by_label("About the address").fill(USER)
        await page.get_by_label("What").select_option(label="Quota changed")
        await page.get_by_label("From the day").fill("2026-03-04")
        await page.get_by_role("button", name="Show").click()
        await expect(page.get_by_role("row")).to_have_count(2)
        await expect(page.get_by_text("0 → 5G")).to_be_visible()
        await page.get_by_label("To the day").fill("2026-03-04")
        await page.get_by_label("Done by").fill("nobody")
        await page.get_by_role("button", name="Show").click()
        await expect(page.get_by_text("There is no such entry.")).to_be_visible()
        await page.get_by_role("link", name="Clear filters").click()
        await expect(page.get_by_role("row")).to_have_count(8)
