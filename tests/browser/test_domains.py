"""The field for a domain in a real browser, where there are too many domains for a menu."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.browser.test_list import expect_query, rows, shown, users_page
from tests.servers.browser import hold
from tests.support import Box

pytestmark = pytest.mark.gen_test(timeout=180)


async def fill_domains(box: Box) -> None:
    """Add a user to each of more domains than fit a menu."""
    for number in range(60):
        await box.add(f"user@domain{number}.example.net", quota="1G")


async def test_a_domain_among_very_many(box: Box, admin: object) -> None:
    """With more domains than fit a menu, those that go with what is typed are offered."""
    await fill_domains(box)
    async with users_page(box) as page:
        domain = page.get_by_role("combobox", name="Domain")
        await domain.press_sequentially("domain5", delay=20)
        options = page.locator("#mu-domains option")
        await expect(options).to_have_count(11)
        await domain.fill("domain57.example.net")
        await domain.press("Enter")
        await expect(rows(page)).to_have_count(1)
        assert await shown(page) == ["user@domain57.example.net"]


async def test_a_domain_typed_while_a_list_comes(box: Box, admin: object) -> None:
    """A list that was asked for before a domain was typed takes nothing of it away, nor what is offered for it."""
    await fill_domains(box)
    async with users_page(box) as page:
        goes = await hold(page, r"users\?.*status=active")
        await page.get_by_role("combobox", name="Active or archived").select_option("active")
        domain = page.get_by_role("combobox", name="Domain")
        await domain.press_sequentially("domain5")
        options = page.locator("#mu-domains option")
        await expect(options).to_have_count(11)
        async with page.expect_response(re.compile(r"users\?.*status=active")):
            goes.set()
        await expect_query(page, "status=active")
        await expect(options).to_have_count(11)
        await expect(domain).to_have_value("domain5")


async def test_a_domain_typed_before_the_scripts_run(box: Box, admin: object) -> None:
    """Half a domain is not taken for the choice, but gets what goes with it offered."""
    await fill_domains(box)
    async with users_page(box) as page:
        scripts = await hold(page, r"/htmx\.js")
        await page.reload(wait_until="commit")
        domain = page.get_by_role("combobox", name="Domain")
        await domain.press_sequentially("domain5")
        scripts.set()
        await expect(page.locator("#mu-domains option")).to_have_count(11)
        await expect_query(page, "")
        await domain.press_sequentially("7.example.net")
        await domain.press("Enter")
        await expect(rows(page)).to_have_count(1)
        assert await shown(page) == ["user@domain57.example.net"]
