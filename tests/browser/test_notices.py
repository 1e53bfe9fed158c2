"""What was done stays in sight, in a real browser: also far down the list, inside any host, and with the keyboard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jinja2
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Locator, Page, expect

from mailusers_plugin.models import ADMIN
from tests.servers.browser import chromium, log_in, open_page
from tests.support import BOSS, Box, Boxes

DOMAIN = "school.example.com"
PUPIL = f"pupil40@{DOMAIN}"
HOST = """<html lang="en"><head><title>Host</title><meta name="viewport" content="width=device-width"></head>
<body><div id="hidden">{% block content %}{% endblock %}</div></body></html>"""
NARROW = {"width": 360, "height": 700}
WIDE = {"width": 1280, "height": 800}

pytestmark = pytest.mark.gen_test(timeout=180)


@asynccontextmanager
async def long_page(box: Box, **options: Any) -> AsyncIterator[Page]:
    """Open a list that is much longer than the window, and see that the browser never complains."""
    box.sql(
        "WITH RECURSIVE number(n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM number WHERE n < 54) "
        "INSERT INTO users (email, password, privileges, quota) "
        "SELECT printf('pupil%d@%s', n, ?), 'x', '', '1G' FROM number",
        DOMAIN,
    )
    complaints: list[str] = []
    async with chromium(reduced_motion="reduce", **options) as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        await page.goto(f"{box.base_url}/admin/users?domain={DOMAIN}&status=active")
        await expect(page.locator("#mu-add-body [data-htmx-powered]").first).to_be_attached()
        yield page
    # A host has no icon here.
    assert [complaint for complaint in complaints if "404" not in complaint] == []


def row(page: Page, email: str = PUPIL) -> Locator:
    """The line of a user."""
    return page.locator(f'tr[data-email="{email}"]')


async def archive(page: Page, email: str = PUPIL) -> None:
    """Archive a user who is far down the list."""
    link = row(page, email).get_by_role("link", name="Archive").first
    summary = row(page, email).locator("summary")
    if not await link.is_visible() and await summary.count():
        await summary.click()
    await link.scroll_into_view_if_needed()
    await link.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog").get_by_role("button", name="Archive")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(row(page, email)).to_have_count(0)


async def covers(page: Page, selector: str) -> bool:
    """Tell whether the notice lies over an element."""
    found: bool = await page.evaluate(
        """selector => {
            const one = document.querySelector("#mu-notices").getBoundingClientRect();
            const other = document.querySelector(selector).getBoundingClientRect();
            return one.top < other.bottom && other.top < one.bottom && one.left < other.right && other.left < one.right;
        }""",
        selector,
    )
    return found


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
async def test_what_was_done_far_down(box: Box, admin: object, viewport: Any) -> None:
    """The message and Undo are in the window; Undo goes on with the line that came back; scrolling up puts it back."""
    async with long_page(box, viewport=viewport) as page:
        await archive(page)
        assert await page.evaluate("scrollY") > 500
        await expect(row(page, f"pupil41@{DOMAIN}").locator(":focus")).to_have_count(1)
        undo = page.locator("#mu-status").get_by_role("button", name="Undo")
        for element in (undo, page.locator("#mu-status > p")):
            await expect(element).to_be_in_viewport(ratio=1)
        results = await Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        await undo.click()
        await expect(page.locator("#mu-status")).to_have_text(
            f"{PUPIL} is active again, with the old password."
        )
        await expect(page.locator("#mu-status")).to_be_in_viewport(ratio=1)
        await expect(row(page).locator(":focus")).to_have_count(1)
        await expect(row(page).locator(":focus")).to_be_in_viewport(ratio=1)
        assert not await covers(page, ":focus")
        await page.evaluate("scrollTo(0, 0)")
        await expect(page.locator("#mu-notices:popover-open")).to_have_count(0)
        await expect(page.locator("#mu-status")).to_be_in_viewport(ratio=1)


async def test_a_notice_by_keyboard(box: Box, admin: object) -> None:
    """Undo comes next after the line; what has the focus is never covered, a dialog neither; Escape closes it."""
    async with long_page(box, viewport=WIDE) as page:
        await archive(page)
        notice = page.locator("#mu-notices")
        await expect(notice).to_be_in_viewport(ratio=1)
        await page.keyboard.press("Tab")
        await expect(page.locator("#mu-status").get_by_role("button", name="Undo")).to_be_focused()
        await page.keyboard.press("Tab")
        await expect(notice.get_by_role("button", name="Close")).to_be_focused()
        for _ in range(12):
            await page.keyboard.press("Tab")
            assert not await covers(page, ":focus")
        await row(page, f"pupil53@{DOMAIN}").get_by_role("link", name="Set quota").first.focus()
        for _ in range(60):
            await page.keyboard.press("Tab")
            if await page.evaluate("document.activeElement === document.body"):
                break
            assert not await covers(page, ":focus"), await page.evaluate("document.activeElement.outerHTML")
        link = row(page, f"pupil30@{DOMAIN}").get_by_role("link", name="Set quota").first
        await link.focus()
        await page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_be_visible()
        await expect(page.locator("#mu-notices:popover-open")).to_have_count(0)
        await page.keyboard.press("Escape")
        await expect(dialog).to_have_count(0)
        await expect(page.locator("#mu-notices:popover-open")).to_have_count(1)
        await notice.get_by_role("button", name="Close").focus()
        await page.keyboard.press("Escape")
        await expect(page.locator("#mu-status")).to_have_text("")
        await expect(link).to_be_focused()


async def test_a_notice_inside_a_host(boxes: Boxes) -> None:
    """Neither a host's box that scrolls nor one that is turned or clipped hides what was done."""
    box = await boxes.open(base_template="host.html", template_loader=jinja2.DictLoader({"host.html": HOST}))
    await box.add(BOSS, (ADMIN,))
    async with long_page(box, viewport=WIDE) as page:
        await page.evaluate(
            """() => {
                const sheet = new CSSStyleSheet();
                sheet.replaceSync("#hidden { height: 90vh; overflow: auto; transform: translate(0) }");
                document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
            }"""
        )
        await archive(page)
        assert await page.evaluate("document.querySelector('#hidden').scrollTop") > 500
        await expect(page.locator("#mu-status").get_by_role("button", name="Undo")).to_be_in_viewport(ratio=1)
        for number in range(42, 54):
            await row(page, f"pupil{number}@{DOMAIN}").get_by_role("link", name="Set quota").first.focus()
            assert not await covers(page, ":focus")
        await page.locator("#mu-notices").get_by_role("button", name="Close").click()
        await expect(page.locator("#mu-status")).to_have_text("")
