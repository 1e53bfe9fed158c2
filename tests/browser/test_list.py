"""The list in a real browser: searching, filtering, sorting and paging, and its address, with and without scripts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Locator, Page, expect

from mailusers_plugin.models import ADMIN
from tests.servers.browser import chromium, hold, log_in, open_page
from tests.support import BOSS, CONSOLE, PASSWORD, USER, Box

pytestmark = pytest.mark.gen_test(timeout=180)
HASH = "{SHA512-CRYPT}$6$x$x"


def fill(box: Box, count: int, domain: str = "many.example.org") -> None:
    """Put users into a box, as another program would, with sizes of 1 MiB, 2 MiB and so on of 100."""
    box.sql(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?) "
        "INSERT INTO users (email, password, privileges, quota) "
        "SELECT printf('user%04d@%s', i, ?), ?, '', '100M' FROM n",
        count,
        domain,
        HASH,
    )
    box.state_sql(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?) "
        "INSERT INTO mailusers_usage (email, box_bytes, messages, limit_bytes, checked_at) "
        "SELECT printf('user%04d@%s', i, ?), (i + 1) * 1048576, 7, 104857600, '2026-01-02 03:04:05.000000' FROM n",
        count,
        domain,
    )
    box.runtime.directory.compare_now()


@asynccontextmanager
async def users_page(box: Box, *, scripts: bool = True, **options: object) -> AsyncIterator[Page]:
    """Open the page as the administrator, and see that the browser never complains."""
    complaints: list[str] = []
    async with chromium(java_script_enabled=scripts, **options) as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        yield page
    assert complaints == []


def rows(page: Page) -> Locator:
    """The users that are shown."""
    return page.locator("tr[data-email]")


async def shown(page: Page) -> list[str]:
    """Their addresses, in order."""
    found: list[str] = await rows(page).evaluate_all("rows => rows.map(row => row.dataset.email)")
    return found


async def expect_query(page: Page, pattern: str) -> None:
    """Wait until the address says something behind the question mark."""
    await expect(page).to_have_url(re.compile(rf"/admin/users(\?{pattern}|(?!\?){pattern})$"))


async def test_searching_as_one_types(box: Box, admin: object) -> None:
    """Letters narrow the list at once; the address follows, one step back leaves the search, reload keeps it."""
    await asyncio.to_thread(fill, box, 120)
    async with users_page(box) as page:
        await expect(rows(page)).to_have_count(50)
        search = page.get_by_role("searchbox", name="Part of an address")
        await search.press_sequentially("user007", delay=30)
        await expect(rows(page)).to_have_count(10)
        await expect(page.locator("#mu-found")).to_contain_text("10 users found.")
        await expect(search).to_be_focused()
        await search.press_sequentially("3")
        await expect(rows(page)).to_have_count(1)
        await expect(page.locator("#mu-found")).to_contain_text("1 user found.")
        await expect_query(page, "q=user0073")
        await page.reload()
        await expect(search).to_have_value("user0073")
        assert await shown(page) == ["user0073@many.example.org"]
        await search.fill("nobody-like-that")
        await expect(page.get_by_text("No user goes with this search")).to_be_visible()
        await page.go_back()
        await expect(search).to_have_value("user0073")
        await expect(rows(page)).to_have_count(1)
        await page.go_back()
        await expect(rows(page)).to_have_count(50)
        await expect(search).to_have_value("")
        await expect_query(page, "")
        await page.go_forward()
        await expect(rows(page)).to_have_count(1)
        await expect(search).to_have_value("user0073")
        await page.get_by_role("link", name="Clear filters").click()
        await expect(rows(page)).to_have_count(50)
        await expect(search).to_have_value("")


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "plain"])
async def test_filters(box: Box, admin: object, user: str, scripts: bool) -> None:
    """Each filter narrows the list, they add up, the address says so, and one link clears them."""
    await asyncio.to_thread(fill, box, 90)
    await box.service.archive(CONSOLE, USER)
    async with users_page(box, scripts=scripts) as page:

        async def apply() -> None:
            if not scripts:
                await page.get_by_role("button", name="Search", exact=True).click()

        await page.get_by_label("Nearly full").check()
        await apply()
        await expect(rows(page)).to_have_count(11)
        await page.get_by_role("combobox", name="Domain").select_option("example.com")
        await apply()
        await expect(page.get_by_text("No user goes with this search")).to_be_visible()
        await expect_query(page, "(q=&)?domain=example.com&(status=&)?nearly_full=1")
        await page.get_by_role("link", name="Clear filters").click()
        await expect(rows(page)).to_have_count(50)
        await expect(page.get_by_label("Nearly full")).not_to_be_checked()
        await page.get_by_label("Administrators").check()
        await apply()
        await expect(rows(page)).to_have_count(1)
        assert await shown(page) == [BOSS]
        await page.get_by_label("Administrators").uncheck()
        await page.get_by_role("combobox", name="Active or archived").select_option("Archived")
        await apply()
        await expect(rows(page).filter(has_text=USER)).to_be_visible()
        assert await shown(page) == [USER]


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "plain"])
async def test_sorting_and_paging(box: Box, admin: object, scripts: bool) -> None:
    """Headings sort, the pages lead forth and back, the length of a page can be chosen; the address says it all."""
    await asyncio.to_thread(fill, box, 70)
    async with users_page(box, scripts=scripts) as page:
        heading = page.get_by_role("columnheader", name="Size")
        await heading.get_by_role("link").click()
        await expect(heading).to_have_attribute("aria-sort", "descending")
        await expect(rows(page).first).to_contain_text("user0069@many.example.org")
        await expect(page.locator("tr.mu-domain")).to_have_count(0)
        await heading.get_by_role("link").click()
        await expect(heading).to_have_attribute("aria-sort", "ascending")
        # What is not known comes as the smallest.
        await expect(rows(page).first).to_contain_text(BOSS)
        first = await shown(page)
        await page.get_by_role("link", name="Next page").click()
        await expect(rows(page).first).to_contain_text("user0049@")
        second = await shown(page)
        assert not set(first) & set(second)
        assert len(first) + len(second) == 71
        await expect_query(page, "sort=size&at=.+")
        await page.get_by_role("link", name="Previous page").click()
        await expect(rows(page).first).to_contain_text(BOSS)
        assert await shown(page) == first
        if scripts:
            await expect_query(page, "sort=size")
        await page.get_by_role("navigation", name="Users on a page").get_by_role("link", name="100").click()
        await expect(rows(page)).to_have_count(71)
        await expect_query(page, "sort=size&limit=100")
        await page.get_by_role("columnheader", name="Email address").get_by_role("link").click()
        await expect(page.locator("tr.mu-domain")).to_have_count(2)
        await expect_query(page, "limit=100")


async def test_a_shared_address(box: Box, admin: object) -> None:
    """Another browser sees the same under the same address, the search box and the filters too."""
    await asyncio.to_thread(fill, box, 70)
    async with users_page(box) as page:
        await page.goto(f"{box.base_url}/admin/users?q=USER00&sort=-used&limit=25&status=active&nonsense=1")
        await expect(rows(page)).to_have_count(25)
        await expect(rows(page).first).to_contain_text("user0069@")
        await expect(page.get_by_role("searchbox", name="Part of an address")).to_have_value("USER00")
        await expect(page.get_by_role("combobox", name="Active or archived")).to_have_value("active")


async def test_a_refresh_disturbs_nobody(box: Box, admin: object, user: str) -> None:
    """What changed comes into the list, while what somebody types, has focused or has opened stays."""
    async with users_page(box) as page:
        search = page.get_by_role("searchbox", name="Part of an address")
        await search.fill("user@")
        await expect(rows(page)).to_have_count(1)
        await page.get_by_label(f"Choose {USER}").check()
        password = page.get_by_role("link", name=f"Set password of {USER}")
        await password.focus()
        await box.service.set_quota(CONSOLE, USER, "7G")
        await page.evaluate("document.body.dispatchEvent(new CustomEvent('mailusers:refresh'))")
        await expect(rows(page).first).to_contain_text("7G")
        await expect(password).to_be_focused()
        await expect(page.get_by_label(f"Choose {USER}")).to_be_checked()
        await expect(search).to_have_value("user@")
        await expect_query(page, "q=user%40")


async def test_a_refresh_never_brings_an_old_search_back(box: Box, admin: object, user: str) -> None:
    """A refresh that comes while a search is on its way waits for it."""
    async with users_page(box) as page:
        goes = await hold(page, r"users\?.*q=user")
        search = page.get_by_role("searchbox", name="Part of an address")
        async with page.expect_request(re.compile(r"q=user")):
            await search.fill("user@")
        await page.evaluate("document.body.dispatchEvent(new CustomEvent('mailusers:refresh'))")
        await page.wait_for_timeout(500)
        goes.set()
        await expect(rows(page)).to_have_count(1)
        await page.wait_for_timeout(800)
        assert await shown(page) == [USER]
        await expect(search).to_have_value("user@")


@pytest.mark.parametrize("how", ["search", "box", "menu"])
async def test_what_is_asked_before_the_scripts_run_is_looked_for(
    box: Box, admin: object, user: str, how: str
) -> None:
    """Who types or chooses while the page is still loading its scripts gets what was asked for all the same."""
    await box.add("third@example.org")
    async with users_page(box) as page:
        scripts = await hold(page, r"/htmx\.js")
        await page.reload(wait_until="commit")
        if how == "search":
            await page.get_by_role("searchbox", name="Part of an address").fill("user@")
        elif how == "box":
            await page.get_by_label("Administrators").check()
        else:
            await page.get_by_role("combobox", name="Domain").select_option("example.org")
        await expect(rows(page)).to_have_count(3)
        scripts.set()
        await expect(rows(page)).to_have_count(1)
        assert await shown(page) == {"search": [USER], "box": [BOSS], "menu": ["third@example.org"]}[how]


async def test_exact_numbers_are_at_hand(box: Box, admin: object) -> None:
    """A size opens to exact bytes, messages and when it was measured, by keyboard and by finger."""
    await asyncio.to_thread(fill, box, 3)
    for scripts in (True, False):
        async with users_page(box, scripts=scripts, has_touch=True) as page:
            row = rows(page).filter(has_text="user0002@")
            size = row.get_by_role("button", name="exact size")
            facts = row.locator(".mu-popover", has_text="bytes").first
            await expect(facts).to_be_hidden()
            await size.focus()
            await page.keyboard.press("Enter")
            await expect(facts).to_be_visible()
            await expect(facts).to_contain_text("3,145,728 bytes")
            await expect(facts).to_contain_text("2026")
            await page.keyboard.press("Escape")
            await expect(facts).to_be_hidden()
            await size.tap()
            await expect(facts).to_be_visible()


async def test_all_on_the_page_are_chosen_by_one_box(box: Box, admin: object, user: str) -> None:
    """The box above all boxes chooses and drops all; with some chosen it is neither on nor off."""
    await box.add("second@example.com", (ADMIN,))
    async with users_page(box) as page:
        everybody = page.get_by_label("Choose all on this page")
        await everybody.check()
        for email in (BOSS, USER, "second@example.com"):
            await expect(page.get_by_label(f"Choose {email}")).to_be_checked()
        await page.get_by_label(f"Choose {USER}").uncheck()
        await expect(everybody).to_have_js_property("indeterminate", True)
        await everybody.check()
        await expect(page.get_by_label(f"Choose {USER}")).to_be_checked()


async def test_copying_an_example(box: Box, admin: object) -> None:
    """A button copies the command beside it, and says so to those who see and to those who hear."""
    async with users_page(box, permissions=["clipboard-read", "clipboard-write"]) as page:
        command = page.locator("#mu-example-list")
        button = page.get_by_role("button", name="Copy List the addresses of all active users")
        await button.click()
        await expect(page.locator("[data-mu-said]")).to_have_text("Copied")
        assert await page.evaluate("navigator.clipboard.readText()") == await command.text_content()


async def test_after_a_plain_form(box: Box, admin: object, user: str) -> None:
    """The row that something was done to is marked; where it is on another page, a link leads to it."""
    await asyncio.to_thread(fill, box, 60, "a.example.net")
    async with users_page(box, scripts=False) as page:
        await page.goto(f"{box.base_url}/admin/users?done=added&email={USER}&limit=25")
        await expect(page.locator("#mu-status")).to_contain_text(f"{USER} was added.")
        await expect(page.get_by_text(f"{USER} is not on this page.")).to_be_visible()
        await page.get_by_role("link", name="Show it").click()
        assert await shown(page) == [USER]
        await page.goto(f"{box.base_url}/admin/users?done=added&email={USER}&domain=example.com")
        await expect(page.locator("tr.mu-changed")).to_contain_text(USER)


async def test_who_was_changed_and_is_not_shown(box: Box, admin: object) -> None:
    """Whoever was added and belongs elsewhere is said to, until another list is shown; a link leads there."""
    await asyncio.to_thread(fill, box, 60, "a.example.net")
    await box.add("alex@example.org")
    new = "zed@zzz.example.net"
    async with users_page(box) as page:
        for query in ("?limit=25", "?domain=example.org&q=alex"):
            await page.goto(f"{box.base_url}/admin/users{query}")
            await add(page, new)
            elsewhere = page.locator(".mu-elsewhere")
            await expect(elsewhere).to_contain_text(f"{new} is not on this page.")
            await expect(page.locator("#mu-live-said")).to_have_text(f"{new} is not on this page.")
            await page.evaluate(
                "document.body.dispatchEvent(new CustomEvent('mailusers:refresh', {bubbles: true}))"
            )
            await page.wait_for_timeout(2500)
            await expect(elsewhere).to_contain_text(f"{new} is not on this page.")
            assert page.url.endswith(f"/admin/users{query}")
            await elsewhere.get_by_role("link", name="Show it").click()
            await expect(page).to_have_url(re.compile("q=zed%40zzz.example.net"))
            assert await shown(page) == [new]
            await expect(elsewhere).to_have_count(0)
            await box.service.archive(CONSOLE, new)
            await box.service.purge(CONSOLE, new, new)
        await box.add(new)
        await box.service.archive(CONSOLE, new)
        box.make_mailbox(new)
        await page.goto(f"{box.base_url}/admin/users?status=inactive")
        row = page.locator(f'tr[data-email="{new}"]')
        await row.get_by_role("link", name="Restore").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("New password").fill(PASSWORD)
        await page.keyboard.press("Enter")
        await dialog.get_by_role("button", name="Done").click()
        await expect(page.locator(".mu-elsewhere")).to_contain_text(f"{new} is not on this page.")
        await page.locator("#mu-filter-status").select_option("active")
        await expect(page.locator(".mu-elsewhere")).to_have_count(0)


async def add(page: Page, email: str) -> None:
    """Add a user by the form on the page."""
    await page.locator("#mu-email").fill(email)
    await page.locator("#mu-password").fill(PASSWORD)
    await page.get_by_role("button", name="Add user").click()
    await expect(page.locator("#mu-status")).to_contain_text(email)
