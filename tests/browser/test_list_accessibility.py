"""The list for everybody: what axe says of its states, narrow and wide, with hostile content and from right to left."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Locator, Page, expect

from mailusers_plugin.models import ADMIN
from tests.browser.test_page import WINDOWS, check, fill_box
from tests.servers.browser import chromium, log_in, open_page
from tests.support import USER, Box

pytestmark = pytest.mark.gen_test(timeout=240)
HOSTILE = "\u202e<img src=x onerror=alert(1)>'\"&amp;@example.org"


def add_hostile(box: Box) -> None:
    """Put what no form of ours would take into a box."""
    for email, privileges, quota in (
        (HOSTILE, "<b>\nadmin", "9" * 31),
        ("x" * 240 + "@example.org", "\u202eevil", "<i>5G</i>"),
    ):
        box.sql(
            "INSERT INTO users (email, password, privileges, quota) VALUES (?, 'x', ?, ?)",
            email,
            privileges,
            quota,
        )
    box.make_mailbox("onerror='alert(1)'@<b>.example.org", "a message")
    box.runtime.refresh_usage()


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
async def test_states_of_the_list(box: Box, admin: object, user: str, width: int, scheme: str) -> None:
    """Axe finds nothing and all fits: grouped, flat, filtered, empty, marked, paged, chosen, and with a size open."""
    await fill_box(box)
    await asyncio.to_thread(add_hostile, box)
    for number in range(26):
        await box.add(f"user{number}@pages.example.net", quota="1G")
    complaints: list[str] = []
    async with chromium(
        viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
    ) as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        await check(page)
        for query in (
            *("sort=-size", "sort=-used&q=example.org", "q=there-is-nobody", "nearly_full=1", "limit=25"),
            *(f"done=added&email={USER}", f"done=added&email={USER}&domain=example.org"),
        ):
            await page.goto(f"{box.base_url}/admin/users?{query}")
            await check(page)
        await page.goto(f"{box.base_url}/admin/users?q=full")
        await page.get_by_role("button", name="exact size").click()
        await expect(page.locator(".mu-popover:popover-open")).to_be_visible()
        await page.get_by_label("Choose full@example.org").check()
        await check(page)
    assert complaints == []


async def test_from_right_to_left(box: Box, admin: object, user: str) -> None:
    """Turned round, nothing is cut off, and numbers stand at the other side."""
    await fill_box(box)
    async with chromium(viewport={"width": 1280, "height": 800}) as context:
        page = await open_page(context, [])
        await log_in(page, box)
        size = page.locator("th.mu-column-size")
        address = page.locator("th.mu-column-email")
        assert await left_of(page, address) < await left_of(page, size)
        await turn_round(page)
        assert await left_of(page, address) > await left_of(page, size)
        await check(page)
        await page.set_viewport_size({"width": 360, "height": 800})
        await check(page)


async def test_hostile_content_is_text(box: Box, admin: object) -> None:
    """Tags, quotes and marks that turn text round are shown as they are, and turn nothing else round."""
    await asyncio.to_thread(add_hostile, box)
    complaints: list[str] = []
    async with chromium() as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        row = page.locator("tr[data-email]").filter(has_text="<img src=x")
        await expect(row).to_contain_text(HOSTILE)
        await expect(row.get_by_text("Administrator", exact=True)).to_be_visible()
        assert await page.locator("#mu-list img, #mu-list b, #mu-list i").count() == 0
        await page.get_by_role("searchbox", name="Part of an address").fill("<img src=x onerror=alert(1)>")
        await expect(page.locator("tr[data-email]")).to_have_count(1)
        await page.get_by_role("searchbox", name="Part of an address").fill("\u202e'\"&amp;\x00%")
        await expect(page.get_by_text("No user goes with this search")).to_be_visible()
    assert complaints == []


async def test_the_keyboard_reaches_everything(box: Box, admin: object, user: str) -> None:
    """Tab goes through the search, the filters, the headings and each row's numbers and actions, and is always seen."""
    await box.add("second@example.com", (ADMIN,), quota="1G")
    async with chromium(viewport={"width": 1280, "height": 800}) as context:
        page = await open_page(context, [])
        await log_in(page, box)
        await page.get_by_role("searchbox", name="Part of an address").focus()
        seen = []
        for _ in range(40):
            await page.keyboard.press("Tab")
            name, outlined = await page.evaluate(
                """() => { const element = document.activeElement; const style = getComputedStyle(element);
                return [element.getAttribute('aria-label') || element.textContent.trim() || element.name
                        || element.dataset.muAll,
                    style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2]; }"""
            )
            seen.append(name)
            assert outlined, name
        for wanted in (
            "domain",
            "privilege",
            "nearly_full",
            "Size",
            "Quota",
            "Set quota of second@example.com",
        ):
            assert any(wanted in name for name in seen), (wanted, seen)


async def turn_round(page: Page) -> None:
    """Let the page run from right to left, as in a language that does."""
    await page.evaluate(
        """() => { document.documentElement.dir = 'rtl'; document.getElementById('mu').dir = 'rtl'; }"""
    )


async def left_of(page: Page, locator: Locator) -> float:
    """Return where an element begins, in pixels from the left."""
    found = await locator.bounding_box()
    assert found is not None
    return float(found["x"])
