"""Pressing a button in a real browser while the page hears of what was typed before: the press counts."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.test_notices import NARROW, archive, long_page
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


def quota_of(page: Page, name: str) -> Locator:
    """The link to the quota of a user in a long list."""
    return page.locator(f'tr[data-email^="{name}@"]').get_by_role("link", name="Set quota").first


async def put_above_the_notice(page: Page, button: Locator) -> tuple[float, float]:
    """Scroll until a button ends a little above the notice at the foot of the window; return a point at its end."""
    notice = await page.locator("#mu-notices").bounding_box()
    assert notice is not None
    await button.evaluate(
        "(one, top) => scrollBy({ top: one.getBoundingClientRect().bottom - top, behavior: 'instant' })",
        notice["y"] - 2,
    )
    box = await button.bounding_box()
    assert box is not None
    assert notice["y"] - 4 < box["y"] + box["height"] < notice["y"]
    return box["x"] + box["width"] / 2, box["y"] + box["height"] - 4


@pytest.mark.parametrize("touch", [False, True], ids=["mouse", "finger"])
async def test_what_is_pressed_beside_a_notice(box: Box, admin: object, touch: bool) -> None:
    """A notice makes room for what has the focus; what gets it by a press stays where it is until that is over."""
    async with long_page(box, viewport=NARROW, has_touch=touch) as page:
        await archive(page)
        await expect(page.locator("#mu-notices:popover-open")).to_have_count(1)
        x, y = await put_above_the_notice(page, quota_of(page, "pupil30"))
        scrolled = await page.evaluate("scrollY")
        if touch:
            await page.touchscreen.tap(x, y)
        else:
            await page.mouse.move(x, y)
            await page.mouse.down()
            await page.wait_for_timeout(200)
            assert await page.evaluate("scrollY") == scrolled
            await page.mouse.up()
        await expect(page.get_by_role("dialog")).to_be_visible()


async def test_a_notice_that_comes_during_a_press(box: Box, admin: object) -> None:
    """It comes to the foot of the window after the press, which may be for what it will lie over."""
    async with long_page(box, viewport=NARROW) as page:
        link = quota_of(page, "pupil30")
        await link.evaluate("one => one.scrollIntoView({ block: 'end', behavior: 'instant' })")
        place = await link.bounding_box()
        assert place is not None
        await page.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
        await page.mouse.down()
        # As what another administrator does is told.
        await page.evaluate("document.getElementById('mu-status').innerHTML = '<p>Something was done.</p>'")
        await page.wait_for_timeout(200)
        assert await page.locator("#mu-notices:popover-open").count() == 0
        await page.mouse.up()
        await expect(page.get_by_role("dialog")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.locator("#mu-notices:popover-open")).to_have_count(1)


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
