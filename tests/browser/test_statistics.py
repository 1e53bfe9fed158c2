"""The statistics page in a real browser: what axe says, narrow and wide, light, dark, forced colours, right to left."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from mailusers_plugin.store import samples
from tests.servers.browser import chromium, log_in, open_page
from tests.support import Box

WINDOWS: list[Any] = [
    pytest.param({"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"}, id="wide-light"),
    pytest.param({"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"}, id="wide-dark"),
    pytest.param({"viewport": {"width": 360, "height": 800}, "color_scheme": "light"}, id="narrow-light"),
    pytest.param({"viewport": {"width": 360, "height": 800}, "color_scheme": "dark"}, id="narrow-dark"),
    pytest.param({"viewport": {"width": 700, "height": 800}, "forced_colors": "active"}, id="forced"),
]

pytestmark = pytest.mark.gen_test(timeout=180)


async def fill(box: Box) -> None:
    """Put mailboxes of all sizes into the box, with names that are hard to show, and a past with a gap."""
    names = ("a", "full", "a-rather-long-name.with-many-parts-123456", "nearly", "<b>bold", "unlimited")
    for number, name in enumerate(names):
        for domain in ("example.com", "sub-domain-with-a-long-name." * 3 + "example.org"):
            email = f"{name}@{domain}"
            quota = "0" if name == "unlimited" else "1M"
            box.sql(
                "INSERT INTO users (email, password, privileges, quota, extra) VALUES (?, 'x', '', ?, '')",
                *(email, quota),
            )
            box.make_mailbox(email)
            (box.maildir(email) / "maildirsize").write_text(f"0S\n{200_000 * (number + 1)} 3\n")
    await asyncio.to_thread(box.runtime.refresh_usage)
    today = datetime.now(UTC).date()
    for ago in range(200):
        if not 50 < ago < 70:
            await box.runtime.state.write(samples.keep, today - timedelta(days=ago))


async def check(page: Page) -> None:
    """Let axe look at the page, and measure it."""
    results = await Axe().run(page)
    assert results.response["passes"]
    assert results.violations_count == 0, results.generate_report()
    assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    cut = await page.evaluate(
        """() => [...document.querySelectorAll(".mailusers *")].filter(element => {
            const box = element.getBoundingClientRect();
            return !element.closest(".mu-hidden") && (box.right > innerWidth + 1 || box.left < -1);
        }).map(element => element.outerHTML.slice(0, 200))"""
    )
    assert cut == []
    # Texts of a chart stay inside it and do not touch one another.
    crowded = await page.evaluate(
        """() => [...document.querySelectorAll(".mu-chart")].filter(chart => chart.getClientRects().length)
            .flatMap(chart => {
                const frame = chart.getBoundingClientRect();
                const boxes = [...chart.querySelectorAll("text")].map(text => text.getBoundingClientRect());
                return boxes.filter((box, index) => box.left < frame.left - 1 || box.right > frame.right + 1
                    || boxes.slice(index + 1).some(other => box.left < other.right && other.left < box.right
                        && box.top < other.bottom && other.top < box.bottom)).map(box => box.toJSON());
            })"""
    )
    assert crowded == []


@pytest.mark.parametrize("window", WINDOWS)
async def test_the_page_is_accessible_and_fits(box: Box, admin: object, window: dict[str, Any]) -> None:
    """Axe finds nothing, nothing is wider than the window, one drawing of each picture is shown."""
    await fill(box)
    complaints: list[str] = []
    async with chromium(**window) as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        await page.get_by_role("link", name="Statistics").click()
        await expect(page.get_by_role("heading", name="Statistics")).to_be_visible()
        charts = page.get_by_role("img")
        await expect(charts).to_have_count(2)
        await expect(charts.first).to_have_accessible_name("Size of all mailboxes")
        await check(page)
        await page.get_by_text("The numbers").click()
        numbers = page.get_by_role("region", name="The numbers")
        await expect(numbers.get_by_text("Nothing was recorded.")).to_be_visible()
        await check(page)
        await page.evaluate("document.getElementById('mu').dir = 'rtl'")
        await check(page)
    assert complaints == []


async def test_a_new_box_says_that_the_picture_begins(box: Box, admin: object) -> None:
    """Where there is nothing to draw yet, words say so."""
    complaints: list[str] = []
    async with chromium() as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        await page.goto(f"{box.base_url}/admin/users/statistics")
        await expect(page.get_by_text("The picture begins today")).to_be_visible()
        await expect(page.get_by_text("No mailbox has been measured yet.")).to_have_count(2)
        await check(page)
    assert complaints == []


async def test_a_bar_leads_to_its_users(box: Box, admin: object) -> None:
    """A domain opens the list of its users."""
    await fill(box)
    async with chromium(java_script_enabled=False) as context:
        page = await open_page(context, [])
        await log_in(page, box)
        await page.goto(f"{box.base_url}/admin/users/statistics")
        table = page.get_by_role("table", name="By domain")
        await table.get_by_role("link", name="example.com").click()
        await expect(page).to_have_url(f"{box.base_url}/admin/users?domain=example.com")
