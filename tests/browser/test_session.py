"""A session that ends while somebody types, in a real browser: nothing is lost, and no password is shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import BrowserContext, Page, expect
from tornado.web import RequestHandler

from mailusers_plugin import Identity
from mailusers_plugin.models import ADMIN
from tests.servers.browser import chromium, log_in, open_page
from tests.support import BOSS, PASSWORD, USER, Box, Boxes

NEW = "new@example.com"
SECRET = "a password that was typed"
EXPECTED = ("Failed to load resource",)
WORDS = "Your session has ended, so that this is not checked now."

pytestmark = pytest.mark.gen_test(timeout=180)


class Staff:
    """A host that knows people by a cookie of its own."""

    login_url = "/sign-in"

    def identify(self, handler: RequestHandler) -> Identity | None:
        """Return who has the cookie."""
        name = handler.get_cookie("staff")
        return None if name is None else Identity(name, "cookie")

    def may(self, identity: Identity, permission: str) -> bool:
        """Allow everything."""
        return True


class SignIn(RequestHandler):
    """The host's log-in, which needs no password."""

    def get(self) -> None:
        """Log in and lead back."""
        self.set_cookie("staff", "ada")
        self.redirect(self.get_query_argument("next"))


@asynccontextmanager
async def staff_page(boxes: Boxes, query: str = "", **options: Any) -> AsyncIterator[tuple[Box, Page]]:
    """Open the page in a panel with a log-in of its own."""
    box = await boxes.open(host=Staff())
    box.app.add_handlers(".*", [("/sign-in", SignIn)])
    await box.add(BOSS, (ADMIN,))
    await box.add(USER)
    complaints: list[str] = []
    async with chromium(reduced_motion="reduce", **options) as context:
        page = await open_page(context, complaints)
        await page.goto(f"{box.base_url}/sign-in?next=/admin/users{query}")
        await ready(page)
        yield box, page
    assert [text for text in complaints if not any(part in text for part in EXPECTED)] == []


@asynccontextmanager
async def own_page(box: Box, **options: Any) -> AsyncIterator[tuple[BrowserContext, Page]]:
    """Open the page with our own log-in."""
    complaints: list[str] = []
    async with chromium(reduced_motion="reduce", **options) as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        await ready(page)
        yield context, page
    assert [text for text in complaints if not any(part in text for part in EXPECTED)] == []


async def ready(page: Page) -> None:
    """Wait for the scripts."""
    await expect(page.locator("#mu-add-body [data-htmx-powered]").first).to_be_attached()


async def type_user(page: Page) -> None:
    """Type an address and a password without a pause, as somebody does who looks at the keys."""
    await page.locator("#mu-email").focus()
    await page.keyboard.type(NEW, delay=10)
    await page.keyboard.press("Tab")
    await page.keyboard.type(SECRET, delay=30)


async def test_typing_in_a_panel_with_its_own_log_in(boxes: Boxes) -> None:
    """The browser stays where it is; sending offers the log-in in a new tab, and then the form is sent as typed."""
    async with staff_page(boxes, "?q=e%26sort=-size") as (box, page):
        shown = page.url
        await page.context.clear_cookies(name="staff")
        await type_user(page)
        await expect(page.locator("#mu-email-note")).to_contain_text(WORDS)
        await expect(page.locator("#mu-password")).to_be_focused()
        await expect(page.locator("#mu-password")).to_have_value(SECRET)
        results = await Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        await page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog", name="Log in again")
        link = dialog.get_by_role("link", name="Log in in a new tab")
        await expect(link).to_be_focused()
        results = await Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        assert page.url == shown
        async with page.context.expect_page() as opened:
            await page.keyboard.press("Enter")
        other = await opened.value
        await expect(other.get_by_role("heading", name="Add a mail user")).to_be_visible()
        await other.close()
        await page.evaluate("window.dispatchEvent(new Event('focus'))")
        await expect(dialog).to_have_count(0)
        await expect(page.locator("#mu-status")).to_have_text("You are logged in again.")
        await expect(page.locator("#mu-password")).to_have_value(SECRET)
        await expect(page.locator("#mu-password")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("#mu-status")).to_have_text(f"{NEW} was added.")
        assert page.url == shown
        account = await box.find(NEW)
        assert account is not None
        assert (await box.runtime.passwords.verify(SECRET, account.password_hash)).matches


async def test_searching_in_a_panel_with_its_own_log_in(boxes: Boxes) -> None:
    """A search that goes on says that the session has ended, and leaves the focus and the page."""
    async with staff_page(boxes) as (_, page):
        await page.locator("#mu-email").fill(NEW)
        await page.context.clear_cookies(name="staff")
        await page.locator("#mu-q").press_sequentially("user@ex", delay=60)
        state = page.locator("#mu-live-state")
        await expect(state).to_contain_text("Your session has ended")
        await expect(page.locator("#mu-q")).to_have_value("user@ex")
        await expect(page.locator("#mu-q")).to_be_focused()
        await expect(page.locator("#mu-email")).to_have_value(NEW)
        link = state.get_by_role("link", name="Log in again in a new tab")
        async with page.context.expect_page() as opened:
            await link.click()
        await (await opened.value).close()
        await page.evaluate("window.dispatchEvent(new Event('focus'))")
        await expect(state).to_have_text("")
        await expect(page.locator("#mu-email")).to_have_value(NEW)


async def test_typing_with_our_own_log_in(box: Box, admin: object) -> None:
    """No dialog comes between the address and the password; sending asks to log in."""
    async with own_page(box) as (context, page):
        await context.clear_cookies(name="mailusers_session")
        await type_user(page)
        await expect(page.locator("#mu-password-note")).to_contain_text(WORDS)
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await expect(page.locator("#mu-password")).to_have_value(SECRET)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog", name="Log in again")).to_be_visible()


async def test_a_list_that_is_loaded_anew(box: Box, admin: object) -> None:
    """A refresh without a session takes the focus from nobody; the link in its words opens the log-in over the page."""
    async with own_page(box) as (context, page):
        await context.clear_cookies(name="mailusers_session")
        await page.locator("#mu-password").focus()
        await page.evaluate(
            "document.body.dispatchEvent(new CustomEvent('mailusers:refresh', {bubbles: true}))"
        )
        state = page.locator("#mu-live-state")
        await expect(state).to_contain_text("Your session has ended")
        await page.keyboard.type(SECRET)
        await expect(page.locator("#mu-password")).to_have_value(SECRET)
        await state.get_by_role("link", name="Log in again").click()
        await log_in_again(page)
        await expect(state).to_have_text("")
        await expect(page.locator("#mu-password")).to_have_value(SECRET)


async def log_in_again(page: Page) -> None:
    """Fill in the dialog."""
    dialog = page.get_by_role("dialog", name="Log in again")
    await dialog.get_by_label("Email address").fill(BOSS)
    await dialog.get_by_label("Password").fill(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(dialog).to_have_count(0)


async def test_all_cookies_are_gone(box: Box, admin: object) -> None:
    """Also without the token the log-in works at once, and then the form as it was typed, and logging out."""
    async with own_page(box) as (context, page):
        await page.locator("#mu-email").fill(NEW)
        await page.locator("#mu-password").fill(SECRET)
        await expect(page.locator("#mu-password-note .mu-strength")).to_be_visible()
        await context.clear_cookies()
        await page.get_by_role("button", name="Add user").click()
        await log_in_again(page)
        await page.get_by_role("button", name="Add user").click()
        await expect(page.locator("#mu-status")).to_have_text(f"{NEW} was added.")
        await context.clear_cookies(name="_xsrf")
        await page.locator("#mu-email").fill("second@example.com")
        await page.locator("#mu-password").fill(SECRET)
        await page.get_by_role("button", name="Add user").click()
        again = page.get_by_role("alertdialog")
        await expect(again).to_contain_text("send it once more")
        await page.keyboard.press("Escape")
        await expect(page.locator("#mu-password")).to_have_value(SECRET)
        await page.get_by_role("button", name="Add user").click()
        await expect(page.locator("#mu-status")).to_have_text("second@example.com was added.")
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
