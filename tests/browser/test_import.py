"""Importing users in a real browser, with and without scripts."""

from __future__ import annotations

import asyncio
import csv
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from mailusers_plugin.models import ADMIN
from tests.browser.test_page import WINDOWS, check
from tests.servers.browser import chromium, log_in, open_page
from tests.support import BOSS, PASSWORD, Box

pytestmark = pytest.mark.gen_test(timeout=180)

EVIL = "<img src=x onerror=alert(1)>"
TEXT = (
    "address;password;quota;privilege;note\r\n"
    f"anna@example.com;{PASSWORD};5G;;\r\n"
    "bert@example.com;;;admin;\r\n"
    f"{BOSS};;;;\r\n"
    "postmaster@example.com;short;1 G;boss;\r\n"
    f'"{EVIL}";;;;{EVIL}\r\n'
    f"{'long-' * 49}@example.com;;;\u202egnp.exe;\r\n"
)


class SlowHashes:
    """Lets passwords of a box be hashed one by one, as the test wants."""

    def __init__(self, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
        self._may = asyncio.Semaphore(0)
        hash_one = box.runtime.passwords.hash

        async def wait(password: str) -> str:
            await self._may.acquire()
            return await hash_one(password)

        monkeypatch.setattr(box.runtime.passwords, "hash", wait)

    def let(self, number: int) -> None:
        """Let so many be hashed."""
        for _ in range(number):
            self._may.release()


@pytest.fixture
def hashes(box: Box, admin: object, monkeypatch: pytest.MonkeyPatch) -> SlowHashes:
    """The box's hashes, which wait."""
    return SlowHashes(box, monkeypatch)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with lines of all kinds."""
    path = tmp_path / "new users.csv"
    path.write_text(TEXT, encoding="utf-8")
    return path


@asynccontextmanager
async def browser(box: Box, *, scripts: bool = True, **options: object) -> AsyncIterator[Page]:
    """Open the form as the administrator, and see that the browser never complains."""
    complaints: list[str] = []
    async with chromium(java_script_enabled=scripts, **options) as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        await page.get_by_role("link", name="Import many from a file").click()
        await expect(page.get_by_role("heading", name="Import mail users")).to_be_visible()
        yield page
    assert complaints == []


async def upload(page: Page, file: Path) -> None:
    """Choose a file and have it checked."""
    await page.get_by_label("CSV file").set_input_files(file)
    await page.get_by_role("button", name="Check the file").click()
    await expect(page.get_by_role("heading", name=file.name)).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False])
async def test_import(box: Box, hashes: SlowHashes, file: Path, tmp_path: Path, scripts: bool) -> None:
    """Upload, errors line by line, leave them out, progress that survives a reload, result file."""
    async with browser(box, scripts=scripts) as page:
        await upload(page, file)
        lines = page.get_by_role("table").get_by_role("row")
        await expect(lines).to_have_count(5)
        await expect(lines.nth(1)).to_contain_text("Address: User already exists.")
        for text in (
            "Address: You may not make a user account for that address",
            "Password: Passwords must be at least eight characters.",
            "Quota: Quotas cannot contain spaces, commas, or decimal points.",
            "Privilege: That's not a valid privilege (boss).",
        ):
            await expect(lines.nth(2)).to_contain_text(text)
        await expect(lines.nth(3)).to_contain_text(EVIL)
        await expect(page.get_by_text("These columns are passed over")).to_contain_text("note")
        await page.get_by_role("link", name="All", exact=True).click()
        await expect(lines).to_have_count(7)

        await page.get_by_role("button", name="Leave out 4 lines with errors and import the rest").click()
        bar = page.get_by_role("progressbar")
        await expect(page.get_by_text("0 of 2 passwords are ready.")).to_be_visible()
        hashes.let(1)
        if not scripts:
            await page.get_by_role("link", name="Show how far it is").click()
        await expect(page.get_by_text("1 of 2 passwords are ready.")).to_be_visible()
        await expect(bar).to_have_attribute("value", "1")
        await page.reload()
        await expect(page.get_by_text("1 of 2 passwords are ready.")).to_be_visible()
        if not scripts:
            await page.get_by_role("link", name="Show it by itself every few seconds").click()
        hashes.let(1)
        link = page.get_by_role("link", name="Download the result file")
        await expect(link).to_be_visible()
        await expect(bar).to_have_count(0)
        if scripts:
            await expect(page.get_by_role("status").first).to_have_text("2 users were added.")
        async with page.expect_download() as download:
            await link.click()
        await (await download.value).save_as(tmp_path / "result.csv")
        await page.get_by_role("link", name="Go to the mail users").click()
        await expect(page.locator('tr[data-email="anna@example.com"]')).to_be_visible()
    with (tmp_path / "result.csv").open(encoding="utf-8-sig", newline="") as result:
        rows = list(csv.DictReader(result))
    assert [(row["line"], row["result"]) for row in rows] == [
        ("2", "added"),
        ("3", "added"),
        ("4", "left out"),
        ("5", "left out"),
        ("6", "left out"),
        ("7", "left out"),
    ]
    assert re.fullmatch(r"\w{4}(-\w{4}){4}", rows[1]["password"])
    bert = await box.find("bert@example.com")
    assert bert is not None
    assert bert.privileges == (ADMIN,)


async def test_a_session_that_ends(box: Box, hashes: SlowHashes, file: Path) -> None:
    """A page that shows the progress says that it does not any more, in no dialog, and goes on after a log-in."""
    complaints: list[str] = []
    async with chromium() as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        await page.goto(f"{box.base_url}/admin/users/import")
        await upload(page, file)
        await page.get_by_role("button", name="Leave out 4 lines with errors and import the rest").click()
        await expect(page.get_by_text("0 of 2 passwords are ready.")).to_be_visible()
        await context.clear_cookies(name="mailusers_session")
        words = page.locator("#mu-import-bar .mu-aside")
        await expect(words).to_contain_text("Your session has ended")
        await page.wait_for_timeout(1500)
        await expect(words).to_have_count(1)
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await words.get_by_role("link", name="Log in again").click()
        dialog = page.get_by_role("dialog", name="Log in again")
        await dialog.get_by_label("Email address").fill(BOSS)
        await dialog.get_by_label("Password").fill(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(dialog).to_have_count(0)
        await expect(words).to_have_count(0)
        hashes.let(1)
        await expect(page.get_by_text("1 of 2 passwords are ready.")).to_be_visible()
        hashes.let(1)
        await expect(page.get_by_role("link", name="Download the result file")).to_be_visible()
    assert all("401" in complaint for complaint in complaints)


@pytest.mark.parametrize("scripts", [True, False])
async def test_cancel(box: Box, hashes: SlowHashes, file: Path, scripts: bool) -> None:
    """Cancelled in the preview, or while passwords are hashed, nothing has happened, and that is said."""
    async with browser(box, scripts=scripts) as page:
        for in_the_middle in (False, True):
            await upload(page, file)
            if in_the_middle:
                await page.get_by_role("button", name="Leave out").click()
                await expect(page.get_by_text("0 of 2 passwords are ready.")).to_be_visible()
            await page.get_by_role("button", name="Cancel").click()
            await expect(page.get_by_text("The import was cancelled. Nothing was imported.")).to_be_visible()
            await page.get_by_role("link", name="Upload a file").click()
        await expect(
            page.get_by_role("listitem").filter(has_text="cancelled, nothing was imported")
        ).to_have_count(2)
    assert await box.emails() == [BOSS]


async def test_two_pages_of_one_import(box: Box, hashes: SlowHashes, file: Path) -> None:
    """Cancelled on one page, the other one says so by itself; focus is not lost by the progress."""
    async with browser(box) as page:
        await upload(page, file)
        await page.get_by_role("button", name="Leave out").click()
        await expect(page.get_by_text("0 of 2 passwords are ready.")).to_be_visible()
        other = await page.context.new_page()
        await other.goto(page.url)
        cancel = page.get_by_role("button", name="Cancel the import")
        await cancel.focus()
        hashes.let(1)
        await expect(page.get_by_text("1 of 2 passwords are ready.")).to_be_visible()
        await expect(cancel).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("The import was cancelled.")).to_be_visible()
        await expect(other.get_by_text("The import was cancelled.")).to_be_visible()
        await expect(other.get_by_role("status").first).to_have_text("Nothing was imported.")


async def test_archived_mailbox(box: Box, admin: object, tmp_path: Path) -> None:
    """Whether new users get archived mailboxes must be chosen; the browser does not send the form before."""
    box.make_mailbox("gone@example.com")
    file = tmp_path / "gone.csv"
    file.write_text("gone@example.com\nanna@example.com\n")
    async with browser(box) as page:
        await upload(page, file)
        await page.get_by_role("button", name="Import 2 users").click()
        await expect(page.get_by_role("button", name="Import 2 users")).to_be_visible()
        await page.get_by_label("The new users get the old mailboxes").check()
        await page.get_by_role("button", name="Import 2 users").click()
        await expect(page.get_by_text("Added, with the archived mailbox")).to_be_visible()
    assert sorted(await box.emails()) == ["anna@example.com", BOSS, "gone@example.com"]


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
async def test_every_state_is_accessible_and_fits(
    box: Box, hashes: SlowHashes, file: Path, width: int, scheme: str
) -> None:
    """Axe finds nothing in any state, nothing is wider than the window, and the policy is never violated."""
    box.make_mailbox("bert@example.com")
    async with browser(
        box, viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
    ) as page:
        await check(page)
        await page.get_by_role("button", name="Check the file").click()
        await expect(page.get_by_role("alert")).to_have_text("Choose a file, or paste its lines.")
        await check(page)
        await upload(page, file)
        await check(page)
        await page.get_by_label("Leave these lines out").check()
        await page.get_by_role("button", name="Leave out").click()
        await expect(page.get_by_role("progressbar")).to_be_visible()
        await check(page)
        hashes.let(1)
        await expect(page.get_by_role("link", name="Download the result file")).to_be_visible()
        await check(page)
        await page.get_by_role("link", name="All", exact=True).click()
        await check(page)
        await page.get_by_role("link", name="Import another file").click()
        await check(page)
