"""The page of API tokens in a real browser: made, copied, shown once, revoked; what axe says, narrow and dark."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, expect

from mailusers_plugin.auth.token_keys import is_key
from mailusers_plugin.permissions import SCOPES
from tests.browser.looking import check, small_targets
from tests.handlers.callers import bearer
from tests.servers.browser import chromium, log_in, open_page
from tests.support import BOSS, Box

WINDOWS: list[Any] = [
    pytest.param({"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"}, id="wide-light"),
    pytest.param({"viewport": {"width": 360, "height": 800}, "color_scheme": "dark"}, id="narrow-dark"),
    pytest.param({"viewport": {"width": 700, "height": 800}, "forced_colors": "active"}, id="forced"),
]

pytestmark = pytest.mark.gen_test(timeout=180)


async def make(page: Page, name: str) -> None:
    """Fill in the form and send it by keyboard."""
    await page.get_by_role("link", name="API tokens").click()
    await page.get_by_label("Name", exact=True).fill(name)
    await page.get_by_label("users:read").check()
    await page.get_by_label("Only from these networks").fill("127.0.0.0/8\n2001:db8::/32")
    await page.get_by_role("button", name="Make the token").press("Enter")
    await expect(page.get_by_role("heading", name="Your new token")).to_be_visible()


@pytest.mark.parametrize("window", WINDOWS)
async def test_life_of_a_token(box: Box, admin: object, window: dict[str, Any]) -> None:
    """A token is made, copied, works, is not shown again by any way back, and is revoked; all of it is accessible."""
    complaints: list[str] = []
    async with chromium(**window) as context:
        await context.grant_permissions(["clipboard-read", "clipboard-write"], origin=box.base_url)
        page = await open_page(context, complaints)
        await log_in(page, box)
        await make(page, "a rather long name of a script " + "that-nobody-can-break-" * 3)
        await check(page)
        assert await small_targets(page) == []
        await expect(page.locator("#mu-status")).to_contain_text("was made.")
        key = await page.locator("#mu-token").inner_text()
        assert is_key(key)
        assert key not in page.url
        copy = page.get_by_role("button", name="Copy Your new token")
        await copy.click()
        await expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert await page.evaluate("navigator.clipboard.readText()") == key
        client = box.nobody.sending(**bearer(key))
        assert (await client.get("/admin/mail/users")).status == 200
        # By a link and back again the token is gone: the browser has not kept the answer.
        await page.get_by_role("link", name="API tokens").click()
        await expect(page.get_by_role("heading", name="Your new token")).to_have_count(0)
        assert key not in await page.content()
        await page.get_by_role("link", name="Statistics").click()
        await page.go_back()
        assert key not in await page.content()
        await page.goto(f"{box.base_url}/admin/mailusers/tokens")
        await expect(page.locator(".mu-tokens")).to_contain_text("127.0.0.1")
        await check(page)
        await page.get_by_role("link", name="Revoke").click()
        await check(page)
        assert (await client.get("/admin/mail/users")).status == 200
        await page.get_by_role("button", name="Revoke").click()
        await expect(page.locator("#mu-status")).to_contain_text("The token was revoked.")
        await expect(page.get_by_text("There is no token.")).to_be_visible()
        await check(page)
        assert (await client.get("/admin/mail/users")).status == 401
    assert complaints == []


async def test_without_scripts_and_with_a_fault(box: Box, admin: object) -> None:
    """The form works without scripts, says what is wrong, and keeps what was typed."""
    async with chromium(java_script_enabled=False) as context:
        page = await open_page(context, [])
        await log_in(page, box)
        await page.get_by_role("link", name="API tokens").click()
        await expect(page.get_by_role("checkbox")).to_have_count(len(SCOPES))
        await page.get_by_label("Name", exact=True).fill("backup")
        await page.get_by_label("Expires").select_option("never")
        await page.get_by_label("Only from these networks").fill("everywhere")
        await page.get_by_label("quota:write").check()
        await page.get_by_role("button", name="Make the token").click()
        await expect(page.get_by_role("alert")).to_contain_text("everywhere is not a network.")
        await expect(page.get_by_label("Name", exact=True)).to_have_value("backup")
        await expect(page.get_by_label("Expires")).to_have_value("never")
        await expect(page.get_by_label("quota:write")).to_be_checked()
        await page.get_by_label("Only from these networks").fill("")
        await page.get_by_role("button", name="Make the token").click()
        await expect(page.locator("#mu-token")).to_contain_text("mu_")
        await expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    [token] = await box.runtime.tokens().everything()
    assert (token.owner, token.expires_at, token.scopes) == (BOSS, None, ("quota:write",))
