"""The Users page in a real browser: every flow without scripts, narrow windows, and what axe says."""

from __future__ import annotations

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from mailusers_plugin.models import ADMIN
from tests.servers.browser import chromium, log_in, open_page
from tests.support import BOSS, PASSWORD, USER, Box

LONG = f"a-rather-long-name.with-many-parts-123456@{'sub-domain-with-a-long-name.' * 5}example.com"
WINDOWS = [
    pytest.param(1280, "light", id="wide-light"),
    pytest.param(1280, "dark", id="wide-dark"),
    pytest.param(360, "light", id="narrow-light"),
    pytest.param(360, "dark", id="narrow-dark"),
]

pytestmark = pytest.mark.gen_test(timeout=180)


async def fill_box(box: Box) -> None:
    """Put users of all kinds and sizes into the box."""
    await box.add("second@example.com", (ADMIN,))
    await box.add("full@example.org", quota="1M")
    box.make_mailbox("full@example.org")
    (box.maildir("full@example.org") / "maildirsize").write_text("1048576S\n1040000 3\n")
    box.make_mailbox("gone@example.com", "a message")
    box.sql(
        "INSERT INTO users (email, password, privileges, quota, extra) VALUES (?, 'x', ?, ?, '')",
        LONG,
        "<img src=x onerror=alert(1)>",
        "<b>5G</b>" * 9,
    )
    box.runtime.refresh_usage()


async def test_everything_works_without_scripts(box: Box, admin: object) -> None:
    """Log in, add, set a quota, archive, restore, archive again, delete for good, log out."""
    email = "new@example.com"
    complaints: list[str] = []
    async with chromium(java_script_enabled=False) as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        status = page.locator("#mu-status")
        row = page.get_by_role("row").filter(has_text=email).first

        await page.get_by_label("Email address").fill(email)
        await page.get_by_label("Password", exact=True).fill(PASSWORD)
        await page.get_by_label("Number").fill("1 0")
        await page.get_by_label("Unit").select_option("G")
        await page.get_by_role("button", name="Add user").click()
        await expect(page.get_by_text("Quotas cannot contain spaces")).to_be_visible()
        await expect(page.get_by_label("Email address")).to_have_value(email)
        await page.get_by_label("Number").fill("1")
        await page.get_by_label("Password", exact=True).fill(PASSWORD)
        await page.get_by_role("button", name="Add user").click()
        await expect(status).to_have_text(f"{email} was added.")

        await row.get_by_role("link", name="Set quota").click()
        await page.get_by_label("Number").fill("2")
        await page.get_by_role("button", name="Set quota").click()
        await expect(status).to_have_text(f"The quota of {email} is now 2G.")

        await row.get_by_role("link", name="Set password").click()
        await page.get_by_label("New password").fill("another good one")
        await page.get_by_role("button", name="Set password").click()
        await expect(status).to_have_text(f"The password of {email} was set.")

        for name, text in (
            ("Make administrator", f"{email} is now an administrator."),
            ("Remove administrator", f"{email} is now a normal user."),
        ):
            await row.get_by_role("link", name=name).click()
            await page.get_by_role("button", name=name).click()
            await expect(status).to_have_text(text)

        for again in (False, True):
            await row.get_by_role("link", name="Archive").click()
            await page.get_by_role("button", name="Archive").click()
            await expect(status).to_contain_text(f"{email} was archived. The mailbox is kept.")
            await row.get_by_role("link", name="Delete permanently" if again else "Restore").click()
            if not again:
                await page.get_by_label("New password").fill(PASSWORD)
                await page.get_by_role("button", name="Restore").click()
                await expect(status).to_have_text(f"{email} was restored, with its old mailbox.")
        await page.get_by_label("Type the address to confirm").fill(email)
        await page.get_by_role("button", name="Delete permanently").click()
        await expect(status).to_have_text(f"The mailbox of {email} was deleted for good.")

        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        await page.goto(f"{box.base_url}/admin/users")
        await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    assert await box.emails() == [BOSS]
    assert complaints == []


async def test_several_and_undo_without_scripts(box: Box, admin: object, user: str) -> None:
    """Marked users are changed together, a suggested password is shown, and archiving is taken back."""
    await box.add("second@example.com")
    complaints: list[str] = []
    async with chromium(java_script_enabled=False) as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        status = page.locator("#mu-status")
        for email in (USER, "second@example.com"):
            await page.get_by_label(f"Choose {email}").check()
        await page.get_by_role("button", name="Set quota…").click()
        await page.get_by_label("Number").fill("3")
        await page.get_by_label("Unit").select_option("G")
        await page.get_by_role("button", name="Preview").click()
        await expect(page.get_by_label("Preview").get_by_text("unlimited → 3G")).to_have_count(2)
        await page.get_by_role("button", name="Set quota").click()
        await expect(page.get_by_text("2 of 2 done.")).to_be_visible()
        await page.get_by_role("link", name="Back to the list").click()

        row = page.get_by_role("row").filter(has_text=USER).first
        await row.get_by_role("link", name="Set password").click()
        await page.get_by_role("button", name="Suggest").click()
        suggested = await page.get_by_label("New password").input_value()
        await page.get_by_label("New password").press("Enter")
        await expect(status).to_have_text(f"The password of {USER} was set.")

        await row.get_by_role("link", name="Archive").click()
        await page.get_by_role("button", name="Archive").click()
        await expect(status).to_contain_text(f"{USER} was archived.")
        await status.get_by_role("button", name="Undo").click()
        await expect(status).to_have_text(f"{USER} is active again, with the old password.")
    account = await box.find(USER)
    assert account is not None
    assert account.quota == "3G"
    assert (await box.runtime.passwords.verify(suggested, account.password_hash)).matches
    assert complaints == []


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
async def test_every_page_is_accessible_and_fits(
    box: Box, admin: object, user: str, width: int, scheme: str
) -> None:
    """Axe finds nothing, nothing is wider than the window, and the policy is never violated."""
    await fill_box(box)
    complaints: list[str] = []
    async with chromium(
        viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
    ) as context:
        page = await open_page(context, complaints)
        await page.goto(f"{box.base_url}/admin/mailusers/login")
        await check(page)
        await log_in(page, box)
        await check(page)
        for path in (
            *("?q=example.org", f"?done=added&email={USER}", "/add", f"/quota?email={USER}"),
            *(f"/password?email={USER}", f"/make-admin?email={USER}", f"/archive?email={USER}"),
            *("/remove-admin?email=second@example.com", "/restore?email=gone@example.com"),
            *("/purge?email=gone@example.com", f"/quota?email={LONG}", "/quota?email=nobody@example.com"),
        ):
            await page.goto(f"{box.base_url}/admin/users{path}")
            await check(page)
        await page.goto(f"{box.base_url}/admin/users/add")
        await page.get_by_label("Email address").fill("postmaster@example.com")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Add user").click()
        await expect(page.get_by_label("Email address")).to_have_attribute("aria-invalid", "true")
        await check(page)
    assert complaints == []


async def check(page: Page) -> None:
    """Let axe look at a page, and measure it."""
    results = await Axe().run(page)
    assert results.response["passes"]
    assert results.violations_count == 0, (page.url, results.generate_report())
    wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, page.url
    cut = await page.evaluate(
        """() => [...document.querySelectorAll('.mailusers *')].filter(element => {
            const box = element.getBoundingClientRect();
            return box.width > 1 && (box.right > innerWidth + 1 || box.left < -1);
        }).map(element => element.outerHTML.slice(0, 200))"""
    )
    assert cut == [], page.url
