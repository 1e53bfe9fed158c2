"""The second factor in a real browser: set up by its QR code, asked for on the page and in the dialog."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import zxingcpp
from PIL import Image
from playwright.async_api import Page, expect

from tests.browser.looking import check, small_targets
from tests.factor_support import WRONG, code, rows, set_up
from tests.servers.browser import chromium, fill_in_log_in, log_in, open_page
from tests.support import BOSS, PASSWORD, Box

WIDE: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"}
NARROW: dict[str, Any] = {"viewport": {"width": 360, "height": 800}, "color_scheme": "dark"}
EXPECTED = ("Failed to load resource",)
NEW = "new@example.com"

pytestmark = pytest.mark.gen_test(timeout=180)


async def scan(page: Page) -> str:
    """Read the QR code from a picture of the page, as a camera does, and return the secret."""
    picture = await page.get_by_role("img", name="QR code").screenshot()
    (found,) = zxingcpp.read_barcodes(Image.open(io.BytesIO(picture)))
    parts = urlsplit(found.text)
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    assert parts.path.endswith(":boss%40example.com")
    (secret,) = parse_qs(parts.query)["secret"]
    return secret


async def looks_right(page: Page) -> None:
    """See that axe has nothing to say, nothing sticks out, and what is pressed is large enough."""
    await check(page)
    assert await small_targets(page) == []


@pytest.mark.parametrize(
    ("options", "scripts"),
    [(WIDE, True), (NARROW, False), (NARROW, True)],
    ids=["wide", "narrow-plain", "narrow"],
)
async def test_from_the_qr_code_to_the_next_log_in(
    box: Box, admin: object, options: dict[str, Any], scripts: bool
) -> None:
    """Somebody scans the code, confirms it, keeps the recovery codes, and logs in with a code and with one of them."""
    complaints: list[str] = []
    async with chromium(reduced_motion="reduce", java_script_enabled=scripts, **options) as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        await page.get_by_role("link", name="Second factor").click()
        await expect(page.get_by_role("heading", name="Set it up")).to_be_visible()
        if scripts:
            await looks_right(page)
        secret = await scan(page)
        assert (await page.locator("#mu-secret").inner_text()).replace(" ", "") == secret
        await page.get_by_label("Name of the app or device").fill("phone")
        await page.get_by_label("Code", exact=True).fill(WRONG)
        await page.get_by_label("Your password").fill(PASSWORD)
        await page.get_by_role("button", name="Set up the second factor").click()
        await expect(page.get_by_text("That code does not fit.")).to_be_visible()
        assert await scan(page) == secret
        await expect(page.get_by_label("Name of the app or device")).to_have_value("phone")
        if scripts:
            await looks_right(page)
        await page.get_by_label("Code", exact=True).fill(code(-1, secret))
        await page.get_by_label("Your password").fill(PASSWORD)
        await page.get_by_role("button", name="Set up the second factor").click()
        await expect(page.locator("#mu-status")).to_contain_text("The second factor is set up.")
        codes = (await page.locator("#mu-codes").inner_text()).split()
        assert len(codes) == 10
        if scripts:
            await looks_right(page)
        await page.get_by_role("link", name="I have kept them").click()
        await expect(page.get_by_text("10 codes are left.")).to_be_visible()
        if scripts:
            await looks_right(page)
        for given in ("code", "recovery"):
            await page.get_by_role("button", name="Log out").click()
            await fill_in_log_in(page)
            field = page.get_by_label("Code", exact=True)
            await expect(field).to_be_focused()
            assert PASSWORD not in await page.content()
            if scripts:
                await looks_right(page)
            await field.fill(WRONG)
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("alert")).to_contain_text("That code is wrong")
            await expect(field).to_be_focused()
            if given == "code":
                await field.fill(code(1, secret))
            else:
                await page.get_by_text("Use a recovery code instead").click()
                await page.get_by_label("Recovery code").fill(codes[0])
                if scripts:
                    await looks_right(page)
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("heading", name="Existing mail users")).to_be_visible()
        assert (await box.runtime.second_factors.status(BOSS)).codes == 9
        await page.get_by_role("link", name="Second factor").click()
        await page.get_by_text("Remove phone").click()
        form = page.locator(".mu-factors form")
        await form.get_by_label("Your password").fill(PASSWORD)
        if scripts:
            await looks_right(page)
        await form.get_by_role("button", name="Remove").click()
        await expect(page.locator("#mu-status")).to_contain_text("The second factor was removed.")
        assert rows(box) == []
    assert [text for text in complaints if not any(part in text for part in EXPECTED)] == []


async def test_in_the_dialog(box: Box, admin: object) -> None:
    """A session that ends while somebody types: password and code are asked for over the page, and nothing is lost."""
    complaints: list[str] = []
    async with chromium(reduced_motion="reduce", **NARROW) as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        await page.locator("#mu-email").fill(NEW)
        await page.locator("#mu-password").fill("a password that was typed")
        # Setting it up elsewhere ends this session.
        set_up(box)
        await page.get_by_role("button", name="Add user").click()
        dialog = page.get_by_role("dialog", name="Log in again")
        await dialog.get_by_label("Email address").fill(BOSS)
        await dialog.get_by_label("Password").fill(PASSWORD)
        await page.keyboard.press("Enter")
        field = dialog.get_by_label("Code", exact=True)
        await expect(field).to_be_focused()
        assert PASSWORD not in await page.content()
        await looks_right(page)
        await page.keyboard.type(WRONG)
        await page.keyboard.press("Enter")
        await expect(dialog.get_by_role("alert")).to_contain_text("That code is wrong")
        await expect(field).to_be_focused()
        await looks_right(page)
        await page.keyboard.type(code())
        await page.keyboard.press("Enter")
        await expect(dialog).to_have_count(0)
        await expect(page.locator("#mu-status")).to_have_text("You are logged in again.")
        await expect(page.locator("#mu-password")).to_have_value("a password that was typed")
        await page.get_by_role("button", name="Add user").click()
        await expect(page.locator("#mu-status")).to_have_text(f"{NEW} was added.")
    assert [text for text in complaints if not any(part in text for part in EXPECTED)] == []
