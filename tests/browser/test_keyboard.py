"""The page for people who use no mouse, enlarge everything, want nothing to move, or choose their own colours."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Page, expect

from mailusers_plugin.models import ADMIN
from tests.browser.keyboard import Keyboard
from tests.browser.looking import check_place, small_targets
from tests.servers.browser import chromium, open_page
from tests.support import BOSS, CONSOLE, PASSWORD, USER, Box, Boxes

pytestmark = pytest.mark.gen_test(timeout=180)

NEW = "new@example.com"
OTHER = "other@example.com"


@asynccontextmanager
async def log_in_page(box: Box, **options: Any) -> AsyncIterator[Page]:
    """Open the log-in page, and see that the browser never complains."""
    complaints: list[str] = []
    async with chromium(**{"reduced_motion": "reduce", **options}) as context:
        page = await open_page(context, complaints)
        await page.goto(f"{box.base_url}/admin/users")
        yield page
    assert complaints == []


async def enter(page: Page, keys: Keyboard) -> None:
    """Log in; the focus is in the first field."""
    await expect(page.get_by_label("Email address")).to_be_focused()
    await keys.type(BOSS)
    await keys.to("Password")
    await keys.type(PASSWORD)
    await keys.press("Enter")
    await expect(page.locator("#mu-add-body [data-htmx-powered]").first).to_be_attached()


async def filled(boxes: Boxes) -> Box:
    """Return a box with more users than a page shows, which is few, so that Tab is not pressed for ever."""
    box = await boxes.open(page_size=4)
    await box.add(BOSS, (ADMIN,))
    for email in (USER, OTHER, *(f"user{number}@example.com" for number in range(4))):
        await box.add(email, quota="1G")
    return box


async def test_finding_users(boxes: Boxes) -> None:
    """Skip link, log-in, search, filter, order, pages, language and log-out need nothing but keys."""
    box = await filled(boxes)
    async with log_in_page(box) as page:
        keys = Keyboard(page)
        await enter(page, keys)
        rows = page.locator("tr[data-email]")
        await keys.enter("Skip to the content")
        await keys.press("Tab")
        stop = await keys.stop()
        assert stop is not None
        assert stop.name == "Users"

        await keys.to("Part of an address")
        await keys.type("user3")
        await expect(rows).to_have_count(1)
        await expect(page.locator("#mu-q")).to_be_focused()
        await keys.press("Control+a")
        await keys.press("Delete")
        await expect(rows).to_have_count(4)
        status = await keys.to("Active or archived")
        await keys.press("ArrowDown")
        await keys.press("ArrowDown")
        await expect(page).to_have_url(re.compile("status=inactive"))
        assert await keys.stop() == status
        await keys.press("ArrowUp")
        await keys.press("ArrowUp")
        await expect(rows).to_have_count(4)
        box_to_mark = await keys.to("Administrators")
        await keys.press("Space")
        await expect(rows).to_have_count(1)
        assert await keys.stop() == box_to_mark
        await keys.press("Space")
        await expect(rows).to_have_count(4)

        await keys.enter("Size", "a")
        await expect(page.locator("th.mu-column-size")).to_have_attribute("aria-sort", "descending")
        stop = await keys.stop()
        assert stop is not None
        assert stop.name == "Size"
        await keys.enter("Email address", "a", back=True)
        await expect(rows.first).to_have_attribute("data-email", BOSS)
        await keys.enter("Next page")
        await expect(rows).to_have_count(3)
        await expect(page.locator(":focus")).to_have_count(1)
        await keys.enter("Previous page")
        await expect(rows).to_have_count(4)
        size = await keys.to("Next page")
        assert not size.is_in_dialog

        await keys.enter("Deutsch")
        await expect(page).to_have_title("Mail-Benutzer")
        await keys.enter("Abmelden")
        await expect(page.locator("[name=password]")).to_be_visible()
        # What is looked for is found.
        await add_rule(page, ":focus { outline: none !important }")
        await keys.press("Tab")
        with pytest.raises(AssertionError, match="not marked as focused"):
            await keys.stop()


async def test_changing_users(boxes: Boxes) -> None:
    """Every action of a line and of several lines, with dialogs that keep the focus and give it back."""
    box = await filled(boxes)
    async with log_in_page(box) as page:
        keys = Keyboard(page)
        await enter(page, keys)
        said = page.locator("#mu-status")
        await keys.to("Email address", "email")
        await keys.type(NEW)
        await keys.enter("Suggest")
        await expect(page.locator("#mu-password")).to_have_value(re.compile("^.{24}$"))
        await keys.to("Number")
        await keys.type("5")
        await keys.to("Unit")
        await keys.press("ArrowDown")
        await keys.enter("Add user")
        await expect(said).to_have_text(f"{NEW} was added.")
        await expect(page.locator("#mu-added")).to_be_focused()
        account = await box.find(NEW)
        assert account is not None
        assert account.quota == "5120G"

        link = await keys.to(f"Set quota of {OTHER}")
        await keys.press("Enter")
        await keys.in_dialog("Set quota")
        await keys.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        assert await keys.stop() == link
        await keys.press("Enter")
        await expect(page.get_by_role("dialog").get_by_label("Number")).to_be_focused()
        await keys.type("7", instead=True)
        await keys.press("Enter")
        await expect(said).to_have_text(f"The quota of {OTHER} is now 7G.")
        assert await keys.stop() == link
        link = await keys.to(f"Set password of {OTHER}")
        await keys.press("Enter")
        await keys.in_dialog("Set password")
        await keys.type(PASSWORD)
        await keys.press("Enter")
        await expect(said).to_have_text(f"The password of {OTHER} was set.")
        assert await keys.stop() == link
        await keys.enter(f"Make administrator: {OTHER}")
        await keys.in_dialog("Make administrator")
        await keys.press("Enter")
        await expect(said).to_have_text(f"{OTHER} is now an administrator.")
        await expect(page.locator(f'tr[data-email="{OTHER}"] :focus')).to_have_count(1)


async def test_several_and_archived_users(boxes: Boxes) -> None:
    """Two are archived at once, one comes back by undo and one with consent; a third is deleted; a file is sent."""
    box = await filled(boxes)
    async with log_in_page(box) as page:
        keys = Keyboard(page)
        await enter(page, keys)
        said, dialog = page.locator("#mu-status"), page.get_by_role("dialog")
        await page.goto(f"{box.base_url}/admin/users?q=user&limit=25")
        for email in ("user0@example.com", "user1@example.com"):
            await keys.to(f"Choose {email}")
            await keys.press("Space")
        await keys.to("Archive…", back=True)
        await keys.press("Enter")
        await keys.in_dialog("Archive users")
        await expect(dialog).to_contain_text("This will be done to 2 users.")
        await keys.enter("Archive", "submit")
        await expect(dialog.get_by_role("status")).to_have_text("2 of 2 done.")
        await keys.enter("Back to the list")
        await expect(dialog).to_have_count(0)
        stop = await keys.stop()
        assert stop is not None
        assert stop.name == "Archive…"

        await keys.enter("Undo archive of user0@example.com")
        await keys.in_dialog("Undo archiving")
        await keys.press("Enter")
        await expect(said).to_contain_text("user0@example.com is active again")
        await keys.to("Email address", "email", back=True)
        await keys.type("user1@example.com")
        await expect(page.get_by_text("This address was archived on")).to_be_visible()
        await keys.to("Give the new user")
        await keys.press("Space")
        await keys.to("Password", "password")
        await keys.type(PASSWORD)
        await keys.press("Enter")
        await expect(said).to_have_text("user1@example.com was restored, with its old mailbox.")

        await box.service.archive(CONSOLE, "user2@example.com")
        await expect(page.get_by_role("link", name="Delete permanently: user2@")).to_be_visible()
        await keys.enter("Delete permanently: user2@example.com")
        await keys.in_dialog("Delete mailbox permanently")
        await keys.type("user2@example.com")
        await keys.press("Enter")
        await expect(said).to_have_text("The mailbox of user2@example.com was deleted for good.")
        await expect(page.locator('tr[data-email="user2@example.com"]')).to_have_count(0)
        await expect(page.locator(":focus")).to_have_count(1)
        assert await box.find("user1@example.com") is not None

        await keys.enter("Import many from a file", back=True)
        await expect(page.get_by_role("heading", name="Import mail users")).to_be_visible()
        await keys.to("CSV file", "file")
        content = f"csv@example.com,{PASSWORD}".encode()
        await page.get_by_label("CSV file").set_input_files(
            {"name": "a.csv", "mimeType": "text/csv", "buffer": content}
        )
        await keys.enter("Check the file")
        await expect(page.get_by_role("heading", name="a.csv")).to_be_visible()
        await keys.enter("Import 1 user")
        await expect(page.get_by_role("link", name="Go to the mail users")).to_be_visible()
        await keys.enter("Go to the mail users")
        await expect(page.locator("#mu-list")).to_be_visible()
    assert await box.find("csv@example.com") is not None


async def test_targets_and_room(boxes: Boxes) -> None:
    """Targets are large enough, all has room in narrow windows, from right to left too, and nothing moves or hides."""
    box = await filled(boxes)
    await box.service.archive(CONSOLE, OTHER)
    async with log_in_page(box) as page:
        await check_state(page)
        await enter(page, Keyboard(page))
        add = page.locator("#mu-add")
        await add.get_by_label("Email address").fill(OTHER)
        await expect(add.get_by_text("This address was archived on")).to_be_visible()
        await add.get_by_label("Password", exact=True).fill("password1")
        await expect(add.get_by_text("very common password")).to_be_visible()
        await check_state(page)
        dialog = page.locator("#mu-dialogs dialog")
        for action in ("quota", "password", "archive", "restore", "purge"):
            await page.goto(
                f"{box.base_url}/admin/users?q={OTHER if action in ('restore', 'purge') else USER}"
            )
            await page.locator(f'#mu-list .mu-action[href*="/users/{action}?"]').click()
            await expect(dialog).to_be_visible()
            await check_state(page)
        await page.goto(f"{box.base_url}/admin/users?limit=25")
        await page.get_by_label("Choose all on this page").check()
        await page.get_by_role("button", name="Archive…").click()
        await expect(dialog).to_contain_text("Left out:")
        await check_state(page)
        await dialog.get_by_role("button", name="Archive", exact=True).click()
        await expect(dialog).to_contain_text("5 of 5 done.")
        await check_state(page)
        for path in (
            "/users/statistics",
            "/users/import",
            "/users/add",
            "/users/quota?email=nobody@example.com",
        ):
            await page.goto(f"{box.base_url}/admin{path}")
            await check_state(page)
        await page.goto(f"{box.base_url}/admin/users/import")
        await page.get_by_label("Or paste the lines").fill(f"a@example.com\n{OTHER}\n{BOSS}\n{'x' * 300}")
        await page.get_by_role("button", name="Check the file").click()
        await expect(page.get_by_role("heading", name="Lines with errors")).to_be_visible()
        await check_state(page)
        # What is looked for is found.
        await page.goto(f"{box.base_url}/admin/users")
        await add_rule(
            page,
            ".mailusers .mu-sections a { width: 12px; height: 12px; min-height: 0; padding: 0; overflow: hidden }",
        )
        assert len(await small_targets(page)) == await page.locator(".mu-sections a").count() > 1
        await add_rule(page, ".mailusers .mu-sections { min-width: 2000px }")
        with pytest.raises(AssertionError):
            await check_place(page)


async def check_state(page: Page) -> None:
    """Measure the page in windows of several widths; 640 pixels are 1280 enlarged to 200 %."""
    small: dict[int, list[str]] = {}
    for width in (1280, 640, 360):
        await page.set_viewport_size({"width": width, "height": 800})
        await check_place(page)
        if found := await small_targets(page):
            small[width] = found
        if width == 640:
            continue
        direction = await page.evaluate("document.documentElement.dir")
        await turn(page, "rtl")
        await check_place(page)
        await turn(page, direction)
    assert small == {}, page.url
    assert await page.evaluate("document.getAnimations().length") == 0, page.url
    await page.emulate_media(forced_colors="active", reduced_motion="reduce")
    await check_place(page)
    await page.emulate_media(forced_colors="none", reduced_motion="reduce")


async def turn(page: Page, direction: str) -> None:
    """Let the page run in a direction, with a host that does."""
    await page.evaluate(
        "direction => document.querySelectorAll('html, #mu').forEach(element => { element.dir = direction; })",
        direction,
    )


async def add_rule(page: Page, rule: str) -> None:
    """Spoil the page's style; the policy allows no style sheet of ours."""
    await page.evaluate(
        "rule => { const sheet = [...document.styleSheets].at(-1); sheet.insertRule(rule, sheet.cssRules.length); }",
        rule,
    )
