"""Changes of others on an open page, in a real browser: shown without reload, and nobody's work is pulled away."""

from __future__ import annotations

import asyncio
import re

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Locator, Page, Request, Route, expect

from mailusers_plugin.auth.authenticator import COOKIE
from mailusers_plugin.auth.session_cookie import COOKIE_NAME
from mailusers_plugin.handlers.live import Events
from mailusers_plugin.models import ADMIN
from tests.servers.browser import chromium, log_in, open_page
from tests.support import BOSS, CONSOLE, PASSWORD, USER, Box

OTHER = "other@example.org"
MARKED = re.compile(r"\bmu-changed\b")

pytestmark = pytest.mark.gen_test(timeout=180)


def row(page: Page, email: str) -> Locator:
    """A user's line."""
    return page.locator(f'tr[data-email="{email}"]')


async def streams(box: Box, number: int) -> None:
    """Wait until so many pages hear of changes."""
    async with asyncio.timeout(15):
        while len(box.handle._streams._open) != number:
            await asyncio.sleep(0.02)


async def open_quota(page: Page, email: str) -> Locator:
    """Open the dialog of a user's quota."""
    link = row(page, email).get_by_role("link", name="Set quota")
    if not await link.is_visible():
        await row(page, email).locator("summary").click()
    await link.click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_be_visible()
    return dialog


async def test_two_administrators_see_each_others_changes(box: Box, admin: object, user: str) -> None:
    """While one has a dialog open, the other archives somebody: the line changes behind it, the dialog stays."""
    await box.add(OTHER)
    await box.add("second@example.com", (ADMIN,))
    complaints: list[str] = []
    async with chromium() as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        await streams(box, 1)
        dialog = await open_quota(page, user)
        number = dialog.get_by_label("Number")
        await dialog.get_by_label("Unit").select_option("G")
        await number.fill("12")

        assert context.browser is not None
        elsewhere = await context.browser.new_context()
        key = await box.session_key("second@example.com", COOKIE)
        await elsewhere.add_cookies([{"name": COOKIE_NAME, "value": key, "url": box.base_url}])
        second = await open_page(elsewhere, complaints)
        await second.goto(f"{box.base_url}/admin/users/archive?email={OTHER}")
        await second.get_by_role("button", name="Archive").click()
        await expect(second.get_by_text(f"{OTHER} was archived").first).to_be_visible()

        await expect(row(page, OTHER)).to_contain_text("Archived")
        await expect(row(page, OTHER)).to_have_class(MARKED)
        await expect(dialog).to_be_visible()
        await expect(number).to_be_focused()
        await expect(number).to_have_value("12")
        assert await dialog.locator(".mu-meanwhile").count() == 0
        await dialog.get_by_role("button", name="Set quota").click()
        await expect(dialog).to_have_count(0)
        await expect(row(page, user)).to_contain_text("12G")
        await expect(row(second, user)).to_contain_text("12G")
        await elsewhere.close()
        await streams(box, 1)
        await page.goto("about:blank")
        await streams(box, 0)
    assert complaints == []


async def test_whose_dialog_is_open_and_was_changed(box: Box, admin: object, user: str) -> None:
    """The dialog says in words that somebody else was there, stays, and the line waits until it is closed."""
    complaints: list[str] = []
    async with chromium() as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        await streams(box, 1)
        dialog = await open_quota(page, user)
        await dialog.get_by_label("Unit").select_option("G")
        await box.service.set_quota(CONSOLE, user, "77G")
        await expect(dialog.get_by_role("alert")).to_contain_text(f"Somebody else has changed {user}")
        results = await Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        await page.wait_for_timeout(1000)
        await expect(row(page, user)).not_to_contain_text("77G")
        await page.keyboard.press("Escape")
        await expect(row(page, user)).to_contain_text("77G")
    assert complaints == []


async def test_what_one_has_in_hand_stays(box: Box, admin: object, user: str) -> None:
    """A chosen box stays chosen and the focus stays where it is while lines come, change and go around it."""
    await box.add(OTHER)
    complaints: list[str] = []
    async with chromium() as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        await streams(box, 1)
        choice = row(page, user).get_by_role("checkbox")
        await choice.check()
        await expect(choice).to_be_focused()
        await box.add("first@example.com")
        await expect(row(page, "first@example.com")).to_have_class(MARKED)
        await expect(page.locator("#mu-live-said")).to_have_text(
            "The list is up to date: first@example.com has changed."
        )
        await box.service.archive(CONSOLE, OTHER)
        await expect(row(page, OTHER)).to_contain_text("Archived")
        await expect(choice).to_be_checked()
        await expect(choice).to_be_focused()
        # Its own line is left alone as long as somebody works in it.
        await box.service.set_quota(CONSOLE, user, "33G")
        for _ in range(4):
            await page.keyboard.press("Shift")
            await page.wait_for_timeout(500)
        await expect(row(page, user)).not_to_contain_text("33G")
        await page.get_by_role("searchbox").focus()
        await expect(row(page, user)).to_contain_text("33G")
        await expect(row(page, "first@example.com")).not_to_have_class(MARKED, timeout=10_000)
    assert complaints == []


async def test_sizes_appear(box: Box, admin: object, user: str) -> None:
    """A mailbox that was measured shows its size, without a word to those who listen."""
    complaints: list[str] = []
    async with chromium() as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        await streams(box, 1)
        await expect(row(page, user)).to_contain_text("not measured yet")
        box.make_mailbox(user)
        (box.maildir(user) / "maildirsize").write_text("0S\n3145728 3\n")
        await asyncio.to_thread(box.runtime.refresh_usage)
        await expect(row(page, user)).to_contain_text("3.0M")
        await expect(page.locator("#mu-live-said")).to_be_empty()
    assert complaints == []


async def test_a_flood_of_changes_is_few_loads(box: Box, admin: object) -> None:
    """However much happens, the list is loaded every two seconds at the most, and what is elsewhere not at all."""
    loads: list[str] = []

    def note(request: Request) -> None:
        if request.headers.get("hx-request"):
            loads.append(request.url)

    complaints: list[str] = []
    async with chromium() as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        await page.goto(f"{box.base_url}/admin/users?domain=example.com")
        await streams(box, 1)
        page.on("request", note)
        for number in range(30):
            await box.add(f"user{number}@example.org")
        await page.wait_for_timeout(1000)
        assert loads == []
        began = asyncio.get_running_loop().time()
        for number in range(60):
            await box.add(f"user{number}@example.com")
            await asyncio.sleep(0.05)
        await expect(
            row(page, "user59@example.com").or_(page.get_by_role("link", name="Next"))
        ).to_be_visible()
        await expect(page.locator(".mu-count").first).to_contain_text("91 active")
        seconds = asyncio.get_running_loop().time() - began
        assert 1 <= len(loads) <= seconds / 2 + 1
    assert complaints == []


async def test_a_tab_that_is_not_looked_at_costs_nothing(box: Box, admin: object) -> None:
    """A hidden tab has no stream; shown again, it has missed nothing."""
    complaints: list[str] = []
    set_hidden = """hidden => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    async with chromium() as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        await streams(box, 1)
        await page.evaluate(set_hidden, True)
        await streams(box, 0)
        await box.add(USER)
        await page.wait_for_timeout(700)
        await expect(row(page, USER)).to_have_count(0)
        await page.evaluate(set_hidden, False)
        await expect(row(page, USER)).to_be_visible()
        await streams(box, 1)
    assert complaints == []


async def test_an_ended_session_is_said(box: Box, admin: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page says that it shows no more what others change, and no dialog gets into anybody's way."""
    monkeypatch.setattr(Events, "heartbeat_seconds", 0.2)
    complaints: list[str] = []
    async with chromium() as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        await streams(box, 1)
        box.state_sql("DELETE FROM mailusers_session")
        state = page.locator("#mu-live-state")
        await expect(state).to_contain_text("Your session has ended")
        await streams(box, 0)
        results = await Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        await state.get_by_role("link", name="Log in again").click()
        dialog = page.get_by_role("dialog", name="Log in again")
        await dialog.get_by_label("Email address").fill(BOSS)
        await dialog.get_by_label("Password").fill(PASSWORD)
        await dialog.get_by_role("button", name="Log in").click()
        await streams(box, 1)
        await expect(state).to_have_text("")
    assert complaints == []


async def test_a_session_that_ended_while_hidden_is_said(box: Box, admin: object) -> None:
    """A stream that is refused tells the page nothing, so that it asks why; the browser opens no box of its own."""
    complaints: list[str] = []
    async with chromium() as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        await streams(box, 1)
        await page.evaluate("window.dispatchEvent(new Event('pagehide'))")
        await streams(box, 0)
        box.state_sql("DELETE FROM mailusers_session")
        await page.evaluate("window.dispatchEvent(new Event('online'))")
        await expect(page.locator("#mu-live-state")).to_contain_text("Your session has ended")
    assert all("403" in complaint for complaint in complaints)


async def test_own_change_beside_a_refresh(box: Box, admin: object, user: str) -> None:
    """What one changes while the list is being loaded anew for another reason is shown as well."""
    await box.add(OTHER)
    async with chromium() as context:
        page = await open_page(context, [])
        await log_in(page, box)
        await streams(box, 1)
        dialog = await open_quota(page, user)
        await dialog.get_by_label("Unit").select_option("G")
        await dialog.get_by_label("Number").fill("12")
        loading, go_on = asyncio.Event(), asyncio.Event()

        async def hold_the_first(route: Route) -> None:
            if route.request.headers.get("hx-request") != "true" or loading.is_set():
                await route.continue_()
                return
            response = await route.fetch()
            loading.set()
            await go_on.wait()
            await route.fulfill(response=response)

        await page.route(re.compile(r"/admin/users(\?.*)?$"), hold_the_first)
        await box.service.set_quota(CONSOLE, OTHER, "3G")
        await loading.wait()
        await dialog.get_by_role("button", name="Set quota").click()
        await expect(dialog).to_have_count(0)
        go_on.set()
        await expect(row(page, OTHER)).to_contain_text("3G")
        await expect(row(page, user)).to_contain_text("12G", timeout=10_000)
        await page.unroute_all(behavior="wait")


async def test_foreign_change_after_ones_own(box: Box, admin: object, user: str) -> None:
    """What another does to a line right after one's own change of it is shown, though one's own may come as news."""
    async with chromium() as context:
        page = await open_page(context, [])
        await log_in(page, box)
        await streams(box, 1)
        link = row(page, user).get_by_role("link", name="Set password")
        if not await link.is_visible():
            await row(page, user).locator("summary").click()
        await link.click()
        dialog = page.get_by_role("dialog")
        await dialog.locator("input[name=password]").fill("another fine password")
        await dialog.get_by_role("button", name="Set password").click()
        await expect(dialog).to_have_count(0)
        await box.service.archive(CONSOLE, user)
        await expect(row(page, user)).to_contain_text("Archived", timeout=10_000)
