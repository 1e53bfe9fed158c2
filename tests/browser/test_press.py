"""Pressing a button in a real browser while the page hears of what was typed before: the press counts."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from playwright.async_api import Locator, Page, expect

from tests.servers.browser import chromium, log_in, open_page
from tests.support import PASSWORD, USER, Box

pytestmark = pytest.mark.gen_test(timeout=180)


async def press_slowly(page: Page, button: Locator) -> None:
    """Press the main button where a button is, as slowly as a hand does, and let it go at the same place."""
    await button.scroll_into_view_if_needed()
    box = await button.bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 4)
    async with page.expect_response("**/users/check"):
        await page.mouse.down()
    await page.wait_for_timeout(300)
    await page.mouse.up()


async def test_words_that_come_during_a_press(box: Box, admin: object, user: str) -> None:
    """What is wrong with the last field is said after the press, which would miss its button otherwise."""
    complaints: list[str] = []
    posted: list[str] = []
    async with chromium(viewport={"width": 360, "height": 800}) as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        page.on("request", lambda request: posted.append(f"{request.method} {urlsplit(request.url).path}"))
        form = page.locator("#mu-add")
        await expect(form.locator("[data-htmx-powered]").first).to_be_attached()
        await form.get_by_label("Email address").fill(USER)
        await form.get_by_label("Password", exact=True).fill(PASSWORD)
        button = form.get_by_role("button", name="Add user")
        await expect(form.get_by_text("User already exists")).to_be_visible()
        await form.get_by_label("Number").fill("a quota of many words")
        await press_slowly(page, button)
        await expect(form.get_by_label("Number")).to_have_attribute("aria-invalid", "true")
        await expect(form.get_by_label("Number")).to_be_focused()
    assert posted.count("POST /admin/users/add") == 1
    assert complaints == []
