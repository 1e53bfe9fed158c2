"""A session that ends and a server that is away, in a real browser: said in words, nothing lost, nothing sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import BrowserContext, Page, Route, expect

from tests.servers.browser import chromium, fill_in_log_in, log_in, open_page
from tests.support import BOSS, PASSWORD, USER, Box

NEW = "new@example.com"
SECRET = "a password that was typed"
EXPECTED = ("Failed to load resource", "htmx: htmx:error", "ERR_")

pytestmark = pytest.mark.gen_test(timeout=180)


@asynccontextmanager
async def users_page(box: Box, **options: Any) -> AsyncIterator[tuple[BrowserContext, Page]]:
    """Open the page as the administrator; what the browser complains of is only what the test brings about."""
    complaints: list[str] = []
    async with chromium(reduced_motion="reduce", **options) as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        await expect(page.locator("#mu-add-body [data-htmx-powered]").first).to_be_attached()
        yield context, page
    assert [text for text in complaints if not any(part in text for part in EXPECTED)] == []


async def fill_in(page: Page) -> None:
    """Fill in the form for a new user."""
    form = page.locator("#mu-add")
    await form.get_by_label("Email address").fill(NEW)
    await form.get_by_label("Password", exact=True).fill(SECRET)
    await form.get_by_label("Number").fill("7")


async def counted(box: Box, kind: str) -> int:
    """Return how many events of a kind there were."""
    return [event["type"] for event in await box.events()].count(kind)


async def test_a_lost_session(box: Box, admin: object, user: str) -> None:
    """Logging in over the form leaves it as it was, with the password; then it is sent, once."""
    async with users_page(box) as (context, page):
        await fill_in(page)
        await context.clear_cookies(name="mailusers_session")
        await page.get_by_role("button", name="Add user").click()
        dialog = page.get_by_role("dialog", name="Log in again")
        await expect(dialog.get_by_label("Email address")).to_be_focused()
        # What is fading in or out has another contrast for a moment.
        await page.evaluate("Promise.allSettled(document.getAnimations().map(one => one.finished))")
        results = await Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        await dialog.get_by_label("Email address").fill(BOSS)
        await dialog.get_by_label("Password").fill("wrong password")
        await page.keyboard.press("Enter")
        await expect(dialog.get_by_role("alert")).to_have_text("Incorrect email address or password.")
        await dialog.get_by_label("Password").fill(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(dialog).to_have_count(0)
        await expect(page.locator("#mu-status")).to_have_text("You are logged in again.")
        await expect(page.get_by_role("button", name="Add user")).to_be_focused()
        assert await box.find(NEW) is None
        await page.keyboard.press("Enter")
        await expect(page.locator("#mu-status")).to_have_text(f"{NEW} was added.")
    account = await box.find(NEW)
    assert account is not None
    assert account.quota == "7G"
    assert (await box.runtime.passwords.verify(SECRET, account.password_hash)).matches
    assert await counted(box, "UserAdded") == 3


async def test_a_lost_session_in_a_dialog(box: Box, admin: object, user: str) -> None:
    """The log-in opens over the dialog, which is there again afterwards, filled."""
    async with users_page(box) as (context, page):
        await page.locator(f'tr[data-email="{USER}"]').get_by_role("link", name="Set password").click()
        below = page.get_by_role("dialog", name="Set password")
        await below.get_by_label("New password").fill(SECRET)
        await context.clear_cookies(name="mailusers_session")
        await page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog", name="Log in again")
        await dialog.get_by_label("Email address").fill(BOSS)
        await dialog.get_by_label("Password").fill(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(dialog).to_have_count(0)
        await expect(below.get_by_label("New password")).to_have_value(SECRET)
        await expect(below.get_by_label("New password")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("#mu-status")).to_have_text(f"The password of {USER} was set.")
    assert await counted(box, "PasswordChanged") == 1


async def test_a_lost_session_without_scripts(box: Box, admin: object, user: str) -> None:
    """The log-in page leads back to the form, filled but for the password."""
    async with chromium(java_script_enabled=False) as context:
        page = await open_page(context, [])
        await log_in(page, box)
        await fill_in(page)
        await page.get_by_label("Unit").select_option("M")
        await context.clear_cookies(name="mailusers_session")
        await page.get_by_role("button", name="Add user").click()
        await fill_in_log_in(page)
        await expect(page.get_by_label("Email address")).to_have_value(NEW)
        await expect(page.get_by_label("Number")).to_have_value("7")
        await expect(page.get_by_label("Unit")).to_have_value("M")
        await expect(page.get_by_label("Password", exact=True)).to_have_value("")
    assert await box.find(NEW) is None


async def test_no_connection(box: Box, admin: object, user: str) -> None:
    """Without a connection it is said so, the form stays and works again; when it is back, the list shows what is."""
    async with users_page(box) as (context, page):
        await fill_in(page)
        await context.set_offline(True)
        await page.get_by_role("button", name="Add user").click()
        alert = page.locator("#mu-away").get_by_role("alert")
        await expect(alert).to_contain_text("The server cannot be reached.")
        await expect(page.get_by_role("button", name="Add user")).to_be_enabled()
        await expect(page.locator("#mu-add").get_by_label("Password", exact=True)).to_have_value(SECRET)
        await box.add("meanwhile@example.com")
        await context.set_offline(False)
        await expect(page.locator("#mu-status")).to_contain_text("The server answers again.")
        await expect(alert).to_have_count(0)
        await expect(page.locator('tr[data-email="meanwhile@example.com"]')).to_be_visible()
        assert await box.find(NEW) is None
        await page.get_by_role("button", name="Add user").click()
        await expect(page.locator("#mu-status")).to_have_text(f"{NEW} was added.")
    assert await counted(box, "UserAdded") == 4


async def test_an_answer_that_is_lost(box: Box, admin: object, user: str) -> None:
    """What was done although its answer was lost is not done again; the list shows it when the server is back."""
    async with users_page(box) as (_, page):
        await page.locator(f'tr[data-email="{USER}"]').get_by_role("link", name="Set quota").click()
        dialog = page.get_by_role("dialog", name="Set quota")
        await dialog.get_by_label("Number").fill("7")
        is_away = True
        sent = []

        async def lose(route: Route) -> None:
            if route.request.method == "POST" and route.request.url.endswith("/users/quota"):
                sent.append(route.request.post_data)
                await route.fetch()
                await route.abort("connectionreset")
            elif is_away:
                await route.abort("connectionrefused")
            else:
                await route.continue_()

        await page.route("**/*", lose)
        await page.keyboard.press("Enter")
        await expect(dialog.get_by_role("alert")).to_contain_text("may or may not have been done")
        # What is fading in or out has another contrast for a moment.
        await page.evaluate("Promise.allSettled(document.getAnimations().map(one => one.finished))")
        results = await Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        await asyncio.sleep(1.5)
        is_away = False
        await expect(page.locator("#mu-status")).to_contain_text("The server answers again.")
        await expect(dialog.get_by_role("alert")).to_have_count(0)
        await page.keyboard.press("Escape")
        await expect(page.locator(f'tr[data-email="{USER}"]')).to_contain_text("7G")
    assert len(sent) == 1
    assert await counted(box, "QuotaChanged") == 1


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (502, "The server cannot be reached."),
        (503, "The server cannot be reached."),
        (504, "The server cannot be reached."),
        (500, "an answer that this page does not understand"),
        (413, "an answer that this page does not understand"),
    ],
)
async def test_a_proxy_that_answers(box: Box, admin: object, user: str, status: int, text: str) -> None:
    """A proxy's error page is never put into ours; it is said what it means, and the dialog stays as it was."""
    async with users_page(box) as (_, page):
        await page.locator(f'tr[data-email="{USER}"]').get_by_role("link", name="Set password").click()
        dialog = page.get_by_role("dialog", name="Set password")
        # Before htmx has the form in hand Enter sends it as a plain one, and the proxy's page is shown.
        await expect(dialog.locator("[data-htmx-powered]").first).to_be_attached()
        await dialog.get_by_label("New password").fill(SECRET)

        async def answer(route: Route) -> None:
            if route.request.method == "POST":
                await route.fulfill(status=status, content_type="text/html", body="<h1>nginx</h1>")
            else:
                await route.continue_()

        await page.route("**/users/password*", answer)
        await page.keyboard.press("Enter")
        await expect(dialog.get_by_role("alert")).to_contain_text(text)
        await expect(page.get_by_text("nginx")).to_have_count(0)
        await expect(dialog.get_by_label("New password")).to_have_value(SECRET)
    assert await counted(box, "PasswordChanged") == 0


async def test_our_own_trouble(box: Box, admin: object, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the database is away our own words are shown in the form, which stays as it was."""
    from mailusers_plugin.errors import UnavailableError

    async def fail(*_: object) -> None:
        raise UnavailableError("The account database is busy. Try again in a moment.")

    monkeypatch.setattr(box.service, "set_quota", fail)
    async with users_page(box) as (_, page):
        await page.locator(f'tr[data-email="{USER}"]').get_by_role("link", name="Set quota").click()
        dialog = page.get_by_role("dialog", name="Set quota")
        await dialog.get_by_label("Number").fill("7")
        await page.keyboard.press("Enter")
        await expect(dialog.get_by_role("alert")).to_have_text(
            "The account database is busy. Try again in a moment."
        )
        await expect(dialog.get_by_label("Number")).to_have_value("7")


async def test_a_server_that_hangs(
    box: Box, admin: object, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some seconds without an answer it is said that it is waited for, until the answer comes."""
    set_quota, goes_on = box.service.set_quota, asyncio.Event()

    async def hang(*args: Any) -> Any:
        await goes_on.wait()
        return await set_quota(*args)

    monkeypatch.setattr(box.service, "set_quota", hang)
    async with users_page(box) as (_, page):
        await page.locator(f'tr[data-email="{USER}"]').get_by_role("link", name="Set quota").click()
        dialog = page.get_by_role("dialog", name="Set quota")
        await dialog.get_by_label("Unit").select_option("G")
        await dialog.get_by_label("Number").fill("7")
        await page.keyboard.press("Enter")
        await expect(dialog.get_by_role("alert")).to_contain_text("has not answered yet", timeout=12_000)
        goes_on.set()
        await expect(page.locator("#mu-status")).to_have_text(f"The quota of {USER} is now 7G.")
        await expect(page.locator(".mu-waiting")).to_have_count(0)
    assert await counted(box, "QuotaChanged") == 1
