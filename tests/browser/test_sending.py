"""What the page says of a form, in a real browser, between its being sent and the answer."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.test_actions import action, users_page
from tests.servers.browser import chromium, log_in, open_page
from tests.support import USER, Box

WRONG = "Quotas cannot contain"

pytestmark = pytest.mark.gen_test(timeout=180)


class Held:
    """Keeps what is sent on its way until it is let go."""

    def __init__(self) -> None:
        """Begin with holding."""
        self.goes = asyncio.Event()
        self.is_lost = False
        self.sent = 0

    async def take(self, route: Route) -> None:
        """Hold a request, then let it go or lose it."""
        if route.request.method != "POST":
            await route.continue_()
            return
        self.sent += 1
        await self.goes.wait()
        await (route.abort() if self.is_lost else route.continue_())


async def send_while_it_is_checked(page: Page) -> Held:
    """Send a wrong quota, and wait until the server has said what it thinks of the field alone."""
    held = Held()
    await page.route("**/users/quota", held.take)
    await action(page, "Set quota").click()
    number = page.get_by_role("dialog").get_by_label("Number")
    await number.fill("1.5")
    async with page.expect_response("**/users/check"):
        await page.keyboard.press("Enter")
    await page.wait_for_timeout(300)
    return held


async def test_wrong_is_said_once_and_for_what_stays(box: Box, admin: object, user: str) -> None:
    """Whoever mends what is said to be wrong mends it where it stays: the answer to the field alone is dropped."""
    async with users_page(box) as page:
        held = await send_while_it_is_checked(page)
        dialog = page.get_by_role("dialog")
        await expect(dialog.get_by_text(WRONG)).to_have_count(0)
        held.goes.set()
        await expect(dialog.get_by_text(WRONG)).to_be_visible()
        await dialog.get_by_label("Number").fill("7")
        await page.keyboard.press("Enter")
        await expect(page.locator("#mu-status")).to_have_text(f"The quota of {USER} is now 7G.")
        assert held.sent == 2


async def test_words_while_typing_after_an_answer_that_never_came(box: Box, admin: object, user: str) -> None:
    """A form whose answer was lost is as before, also when it was sent twice: the field is checked again."""
    # The browser complains of what is lost.
    async with chromium(reduced_motion="reduce") as context:
        page = await open_page(context, [])
        await log_in(page, box)
        await expect(page.locator("#mu-add-body [data-htmx-powered]").first).to_be_attached()
        held = await send_while_it_is_checked(page)
        dialog = page.get_by_role("dialog")
        await page.keyboard.press("Enter")
        held.is_lost = True
        held.goes.set()
        await expect(dialog.get_by_role("alert")).to_contain_text("may or may not have been done")
        await expect(dialog.get_by_text(WRONG)).to_have_count(0)
        await dialog.get_by_label("Number").fill("2.5")
        await expect(dialog.get_by_text(WRONG)).to_be_visible()
        assert held.sent == 1
