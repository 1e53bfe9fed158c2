"""Adding and changing users in a real browser: dialogs, focus, words while typing, several at once; axe on all."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Locator, Page, expect

from mailusers_plugin.models import ADMIN
from tests.servers.browser import chromium, log_in, open_page
from tests.support import CONSOLE, PASSWORD, USER, Box

NEW = "new@example.com"
GONE = "gone@example.com"
WINDOWS = [
    pytest.param(1280, "light", id="wide-light"),
    pytest.param(1280, "dark", id="wide-dark"),
    pytest.param(360, "light", id="narrow-light"),
    pytest.param(360, "dark", id="narrow-dark"),
]

pytestmark = pytest.mark.gen_test(timeout=180)


@asynccontextmanager
async def users_page(box: Box, **options: Any) -> AsyncIterator[Page]:
    """Open the page as the administrator, and see that the browser never complains."""
    complaints: list[str] = []
    async with chromium(reduced_motion="reduce", **options) as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        await expect(page.locator("#mu-add-body [data-htmx-powered]").first).to_be_attached()
        yield page
    # Chromium says of each answer that it was an error, also of one that is expected.
    assert [complaint for complaint in complaints if "status of 412" not in complaint] == []


def row(page: Page, email: str = USER) -> Locator:
    """The line of a user."""
    return page.locator(f'tr[data-email="{email}"]')


def action(page: Page, name: str, email: str = USER) -> Locator:
    """The link in a line that opens an action."""
    return row(page, email).get_by_role("link", name=name, exact=False).first


async def archive(box: Box) -> None:
    """Archive a user with 2 MB of mail."""
    await box.add(GONE, quota="3G")
    await box.service.archive(CONSOLE, GONE)
    box.make_mailbox(GONE)
    (box.maildir(GONE) / "maildirsize").write_text("3221225472S\n2097152 3\n")
    box.runtime.refresh_usage()


async def test_dialogs_by_keyboard(box: Box, admin: object, user: str) -> None:
    """A dialog opens with the focus in its field; Escape, Cancel and sending lead back to where it was opened."""
    async with users_page(box) as page:
        link, dialog = action(page, "Set quota"), page.get_by_role("dialog", name="Set quota")
        status = page.locator("#mu-status")
        for close in ("Escape", "Cancel", "Close"):
            await link.focus()
            await page.keyboard.press("Enter")
            number = dialog.get_by_label("Number")
            await expect(number).to_be_focused()
            await number.fill("9")
            await expect(dialog.get_by_label("Unit")).to_have_value("G")
            if close == "Escape":
                await page.keyboard.press("Escape")
            else:
                await (
                    dialog.get_by_text(close, exact=True).or_(dialog.get_by_label(close, exact=True)).click()
                )
            await expect(dialog).to_have_count(0)
            await expect(link).to_be_focused()
        await page.keyboard.press("Enter")
        await dialog.get_by_label("Number").fill("1.5")
        await page.keyboard.press("Enter")
        await expect(dialog.get_by_text("Quotas cannot contain")).to_be_visible()
        await expect(dialog.get_by_label("Number")).to_be_focused()
        await expect(dialog.get_by_label("Number")).to_have_attribute("aria-invalid", "true")
        await dialog.get_by_label("Number").fill("7")
        await page.keyboard.press("Enter")
        await expect(status).to_have_text(f"The quota of {USER} is now 7G.")
        await expect(dialog).to_have_count(0)
        await expect(row(page)).to_contain_text("7G")
        await expect(row(page)).to_have_class(re.compile("mu-changed"))
        await expect(link).to_be_focused()


async def test_focus_when_the_control_is_gone(box: Box, admin: object, user: str) -> None:
    """After archiving, whose link goes, the focus stays in the user's line; undo brings the user back."""
    async with users_page(box) as page:
        await action(page, "Archive").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog").get_by_role("button", name="Archive")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("#mu-status")).to_contain_text(f"{USER} was archived.")
        await expect(row(page)).to_contain_text("Archived")
        await expect(row(page).locator(":focus")).to_have_count(1)
        await page.locator("#mu-status").get_by_role("button", name="Undo").click()
        await expect(page.locator("#mu-status")).to_contain_text(f"{USER} is active again")
        await expect(action(page, "Set password")).to_be_visible()
    account = await box.find(USER)
    assert account is not None
    assert (await box.runtime.passwords.verify(PASSWORD, account.password_hash)).matches


async def test_adding(box: Box, admin: object, user: str) -> None:
    """Words come while typing; a suggested password is strong and shown; the new line is there, and the settings."""
    async with users_page(box) as page:
        form = page.locator("#mu-add")
        email, password = form.get_by_label("Email address"), form.get_by_label("Password", exact=True)
        await email.press_sequentially(USER, delay=10)
        await expect(form.get_by_text("User already exists.")).to_be_visible()
        await expect(email).to_have_attribute("aria-invalid", "true")
        await email.fill(NEW)
        await expect(form.get_by_text("User already exists.")).to_have_count(0)
        await expect(email).not_to_have_attribute("aria-invalid", "true")
        await password.fill("password1")
        await expect(form.get_by_text("This is a very common password.")).to_be_visible()
        seen = set()
        for _ in range(3):
            await form.get_by_role("button", name="Suggest").click()
            seen.add(await password.input_value())
        assert len(seen) == 3
        assert all(
            re.fullmatch(r"(?:[a-km-zA-HJ-NP-Z2-9]{4}-){4}[a-km-zA-HJ-NP-Z2-9]{4}", text) for text in seen
        )
        await expect(password).to_have_attribute("type", "text")
        await expect(form.get_by_text("Very good")).to_be_visible()
        await form.get_by_role("button", name="Hide").click()
        await expect(password).to_have_attribute("type", "password")
        suggested = await password.input_value()
        await form.get_by_label("Unit").select_option("G")
        await form.get_by_label("Number").fill("5")
        await form.get_by_role("button", name="Add user").click()
        await expect(page.locator("#mu-status")).to_have_text(f"{NEW} was added.")
        await expect(row(page, NEW)).to_have_class(re.compile("mu-changed"))
        settings = page.get_by_role("region", name=f"Mail program settings for {NEW}")
        await expect(settings).to_be_focused()
        await expect(settings).to_contain_text("993")
        await expect(settings.get_by_role("button", name="Copy User name")).to_be_visible()
        await expect(email).to_have_value("")
        await settings.get_by_role("button", name="Close").click()
        await expect(settings).to_have_count(0)
        await expect(email).to_be_focused()
    account = await box.find(NEW)
    assert account is not None
    assert account.quota == "5G"
    assert (await box.runtime.passwords.verify(suggested, account.password_hash)).matches


async def test_a_fault_keeps_the_password(box: Box, admin: object, user: str) -> None:
    """Where something else was wrong the password is still in its field, with what is thought of it.

    The focus is on what is wrong, and what was done before is not said above it any more.
    """
    async with users_page(box) as page:
        form = page.locator("#mu-add")
        await form.get_by_label("Email address").fill("first@example.com")
        await form.get_by_label("Password", exact=True).fill(PASSWORD)
        await form.get_by_role("button", name="Add user").click()
        await expect(page.locator("#mu-status")).to_have_text("first@example.com was added.")
        await form.get_by_label("Email address").fill("postmaster@example.com")
        await form.get_by_label("Password", exact=True).fill(PASSWORD)
        await form.get_by_role("button", name="Add user").click()
        await expect(form.get_by_text("frequently used for domain control")).to_be_visible()
        await expect(form.get_by_label("Email address")).to_be_focused()
        await expect(form.locator("#mu-password-note .mu-strength")).to_be_visible()
        await expect(page.locator("#mu-status")).to_have_text("")
        await expect(form.get_by_label("Password", exact=True)).to_have_value(PASSWORD)
        await form.get_by_label("Email address").fill(NEW)
        await form.get_by_role("button", name="Add user").click()
        await expect(row(page, NEW)).to_be_visible()


async def test_consent(box: Box, admin: object, user: str) -> None:
    """An archived address asks while one types, and is refused until somebody agrees."""
    await archive(box)
    async with users_page(box) as page:
        form = page.locator("#mu-add")
        await form.get_by_label("Email address").fill(GONE)
        await expect(form.get_by_text("Its old mailbox holds 2.0M.")).to_be_visible()
        await form.get_by_label("Password", exact=True).fill(PASSWORD)
        await form.get_by_role("button", name="Add user").click()
        consent = form.get_by_label("Give the new user this old mailbox")
        await expect(consent).to_have_attribute("aria-invalid", "true")
        await expect(consent).to_be_focused()
        await page.keyboard.press("Space")
        await form.get_by_role("button", name="Add user").click()
        await expect(page.locator("#mu-status")).to_have_text(f"{GONE} was restored, with its old mailbox.")


async def test_nothing_is_sent_twice(
    box: Box, admin: object, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever presses twice while the server thinks has done it once."""
    set_quota, calls = box.service.set_quota, []

    async def slowly(*args: Any) -> Any:
        calls.append(args)
        await asyncio.sleep(0.7)
        return await set_quota(*args)

    monkeypatch.setattr(box.service, "set_quota", slowly)
    async with users_page(box) as page:
        await action(page, "Set quota").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Unit").select_option("G")
        await dialog.get_by_label("Number").fill("7")
        for _ in range(3):
            await page.keyboard.press("Enter")
        await expect(page.locator("#mu-status")).to_contain_text("is now 7G")
        await page.goto(f"{box.base_url}/admin/users/quota?email={USER}")
        await page.get_by_label("Number").fill("8")
        await page.get_by_role("button", name="Set quota").dblclick()
        await expect(page.locator("#mu-status")).to_contain_text("is now 8G")
    assert len(calls) == 2


async def test_somebody_else_was_quicker(box: Box, admin: object, user: str) -> None:
    """A dialog about a user who was purged meanwhile says so in words, and the list loses the line."""
    async with users_page(box) as page:
        await action(page, "Set quota").click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        await box.service.archive(CONSOLE, USER)
        await box.service.purge(CONSOLE, USER, USER)
        await page.get_by_role("dialog").get_by_role("button", name="Set quota").click()
        alert = page.get_by_role("alertdialog")
        await expect(alert).to_contain_text("Somebody has archived this user meanwhile")
        await alert.get_by_role("button", name="Close").last.click()
        await expect(row(page)).to_have_count(0)
        assert await page.evaluate("document.activeElement !== document.body")


async def test_several_at_once(box: Box, admin: object, user: str) -> None:
    """Marked users are archived together, with a preview, and a result for each that is announced."""
    for number in range(3):
        await box.add(f"u{number}@example.com")
    async with users_page(box) as page:
        await page.get_by_label("Choose all on this page").check()
        await expect(page.locator("#mu-bulk-number")).to_have_text("5")
        await page.get_by_role("button", name="Archive…").click()
        dialog = page.get_by_role("dialog", name="Archive users")
        await expect(dialog).to_contain_text("This will be done to 4 users. 1 user is left out.")
        await expect(dialog).to_contain_text("This is your own account.")
        await dialog.get_by_role("button", name="Archive", exact=True).click()
        await expect(dialog.get_by_role("status")).to_have_text("4 of 4 done.")
        await dialog.get_by_role("link", name="Back to the list").click()
        await expect(dialog).to_have_count(0)
        await expect(row(page, "u0@example.com")).to_contain_text("Archived")
        await expect(page.get_by_role("button", name="Archive…")).to_be_focused()


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
async def test_every_dialog_is_accessible_and_fits(
    box: Box, admin: object, user: str, width: int, scheme: Any
) -> None:
    """Axe finds nothing in any open dialog, with and without faults, and nothing is wider than the window."""
    await box.add("second@example.com", (ADMIN,))
    await archive(box)
    async with users_page(box, viewport={"width": width, "height": 800}, color_scheme=scheme) as page:
        for path in (
            *(f"quota?email={USER}", f"password?email={USER}", f"make-admin?email={USER}"),
            *("remove-admin?email=second@example.com", f"archive?email={USER}", f"undo?email={GONE}"),
            *(f"restore?email={GONE}", f"purge?email={GONE}", "archive?email=boss@example.com"),
            *("quota?email=nobody@example.com", f"bulk/archive?email={USER}&email=boss@example.com"),
            *(f"bulk/quota?email={USER}", "add?email=x"),
        ):
            await open_by_script(page, f"/admin/users/{path}")
            dialog = page.locator("#mu-dialogs dialog")
            await expect(dialog).to_be_visible()
            await check(page)
            send = dialog.locator("form.mu-form button[type=submit]:not([name=suggest], [hidden])")
            if "restore" in path or "purge" in path or "password" in path or "add?" in path:
                await send.click()
                await expect(dialog.locator("[aria-invalid=true]").first).to_be_visible()
                await check(page)
            await page.keyboard.press("Escape")
            await expect(dialog).to_have_count(0)
        await page.locator("#mu-add").get_by_label("Email address").fill(GONE)
        await expect(page.get_by_text("Its old mailbox holds")).to_be_visible()
        await page.locator("#mu-add").get_by_role("button", name="Suggest").click()
        await expect(page.get_by_text("Very good")).to_be_visible()
        await check(page)
        await page.get_by_label("Give the new user").check()
        await page.locator("#mu-add").get_by_role("button", name="Add user").click()
        await expect(page.locator("#mu-added")).to_be_visible()
        await check(page)


async def open_by_script(page: Page, path: str) -> None:
    """Open an action that has no link in the list just now, through a link that has one."""
    await page.evaluate(
        """path => {
            const link = document.querySelector('#mu-list tr[data-email] a[href*="/users/"]');
            link.href = path;
            link.click();
        }""",
        path,
    )


async def check(page: Page) -> None:
    """Let axe look at the page, and measure it and the dialog."""
    results = await Axe().run(page)
    assert results.violations_count == 0, (page.url, results.generate_report())
    wide = await page.evaluate(
        """() => [document.documentElement, ...document.querySelectorAll('dialog')]
            .map(element => element.scrollWidth - Math.min(innerWidth, element.clientWidth)).filter(wide => wide > 0)"""
    )
    assert wide == []
