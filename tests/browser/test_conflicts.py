"""Two administrators with the same user in hand, in two real browsers: with scripts and without."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from mailusers_plugin.models import ADMIN
from tests.servers.browser import chromium, log_in, open_page
from tests.support import USER, Box, Client

OTHER = "other@example.com"

pytestmark = pytest.mark.gen_test(timeout=180)


async def open_form(page: Page, box: Box, name: str, *, scripts: bool) -> None:
    """Open a form of the user: a dialog over the list, or a page."""
    if not scripts:
        await page.goto(f"{box.base_url}/admin/users/{name}?email={USER}")
        return
    row = page.locator(f'tr[data-email="{USER}"]')
    link = row.locator(f'a[href*="/users/{name}?"]').first
    if not await link.is_visible():
        await row.locator("summary").click()
    await link.click()
    await expect(page.get_by_role("dialog")).to_be_visible()


async def send(page: Page) -> None:
    """Press the button of the form."""
    await (
        page.locator('form[action$="/users/quota"]')
        .get_by_role("button", name="Set quota", exact=True)
        .click()
    )


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "plain"])
async def test_two_administrators(box: Box, admin: Client, user: str, scripts: bool) -> None:
    """The slower one is told what the other has done, loses nothing that was typed, and decides."""
    await box.add(OTHER, (ADMIN,))
    complaints: list[str] = []
    async with chromium(java_script_enabled=scripts) as context:
        assert context.browser is not None
        second = await context.browser.new_context(java_script_enabled=scripts)
        one, two = await open_page(context, complaints), await open_page(second, complaints)
        await log_in(one, box)
        await log_in(two, box, OTHER)
        for page in (one, two):
            await open_form(page, box, "quota", scripts=scripts)
        for page, number in ((one, "3"), (two, "7")):
            await page.locator('form[action$="/users/quota"] input[name=quota_number]').fill(number)
            await page.locator('form[action$="/users/quota"] select[name=quota_unit]').select_option("G")
        await send(one)
        await expect(one.get_by_text(f"The quota of {USER} is now 3G.")).to_be_visible()
        await send(two)
        await expect(two.get_by_role("alert")).to_contain_text("Somebody has set another quota")
        await expect(two.get_by_text("The quota is 3G now.")).to_be_visible()
        await expect(two.locator('form[action$="/users/quota"] input[name=quota_number]')).to_have_value("7")
        await expect(two.locator('form[action$="/users/quota"] select[name=quota_unit]')).to_have_value("G")
        assert (await box.service.account(USER)).quota == "3G"
        await send(two)
        await expect(two.get_by_text(f"The quota of {USER} is now 7G.")).to_be_visible()
        assert (await box.service.account(USER)).quota == "7G"
        await second.close()
    assert [complaint for complaint in complaints if "status of 412" not in complaint] == []


async def test_two_who_set_a_password(box: Box, admin: Client, user: str) -> None:
    """With scripts a password that was typed is still there when the other one was quicker."""
    await box.add(OTHER, (ADMIN,))
    complaints: list[str] = []
    async with chromium() as context:
        assert context.browser is not None
        second = await context.browser.new_context()
        one, two = await open_page(context, complaints), await open_page(second, complaints)
        await log_in(one, box)
        await log_in(two, box, OTHER)
        for page, password in ((one, "what the first one typed"), (two, "what the second one typed")):
            await open_form(page, box, "password", scripts=True)
            await page.get_by_role("dialog").get_by_label("New password").fill(password)
        for page in (one, two):
            await page.get_by_role("dialog").get_by_role("button", name="Set password").click()
            if page is one:
                await expect(one.get_by_text(f"The password of {USER} was set.")).to_be_visible()
        await expect(two.get_by_role("alert")).to_contain_text("Somebody has set another password")
        await expect(two.get_by_role("dialog").get_by_label("New password")).to_have_value(
            "what the second one typed"
        )
        await two.get_by_role("dialog").get_by_role("button", name="Set password").click()
        await expect(two.get_by_text(f"The password of {USER} was set.")).to_be_visible()
        await second.close()
    assert [complaint for complaint in complaints if "status of 412" not in complaint] == []
    login = await box.basic(USER, "what the second one typed").post("/admin/login")
    assert login.json()["status"] == "ok"
