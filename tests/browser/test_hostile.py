"""Hostile data in every place of the page: it is shown as text, fits, and leaves its neighbours alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from playwright.async_api import FilePayload, Locator, Page, expect

from tests.browser.looking import check, check_data, check_place
from tests.servers.browser import chromium, fill_in_log_in, log_in, open_page
from tests.support import BOSS, PASSWORD, Box

pytestmark = pytest.mark.gen_test(timeout=180)

RLO = "\u202e"
MARKUP = "<img src=x onerror=alert(1)>"
TURNED = f"{RLO}gnp.exe"
TURNING_DOMAIN = f"{RLO}moc.elgoog.example"
ADDRESSES = (
    f"{MARKUP}@example.com",
    "'quoted\"`back`'@example.com",
    "{{7*7}}${7*7}%(email)s@example.com",
    "javascript:alert(1)@example.com",
    f"{TURNED}@example.com",
    f"reader@{TURNING_DOMAIN}",
    "zero\u200bwidth\u2060\ufeff@example.com",
    "z" + "\u0351\u0352\u0301\u0327" * 12 + "algo@example.com",
    f"{'l' * 243}@example.com",
    f"a@{'d' * 253}",
    f"a@<b>{'</p>' * 3}",
)
FOLDERS = ("{{7*7}}", "a'b&lt|$x", "-rf", "x" * 200)
"""Names of directories that may be mailboxes."""
STRANGE = (MARKUP, f"{TURNED}", "\n\x1b[31m", "a b")
"""Names that cannot be."""
SHOWN = (
    *(TURNED, f"{TURNED}@example.com"),
    *(TURNING_DOMAIN, f"reader@{TURNING_DOMAIN}", f"{TURNING_DOMAIN}/reader"),
    f"{TURNING_DOMAIN}/gone-reader",
)


@pytest.fixture
def hostile(box: Box, admin: object) -> Box:
    """A box in which other programs have written what they liked."""
    for number, email in enumerate(ADDRESSES):
        box.sql(
            "INSERT INTO users (email, password, privileges, quota) VALUES (?, 'x', ?, ?)",
            email,
            (f"{MARKUP}\n{TURNED}", '" onmouseover="alert(1)', "</span>" * 20)[number % 3],
            ("<b>5G</b>", TURNED, "1M", "0", '"`{{7*7}}' * 9)[number % 5],
        )
        put_size(box, email, number)
        gone = f"gone-{email}"[:255]
        box.sql(
            "INSERT INTO mailusers_archive (email, archived_at, archived_by, quota, privileges) VALUES (?, ?, ?, ?, ?)",
            *(gone, "2026-01-02 03:04:05.000000", (MARKUP, TURNED, "x" * 250)[number % 3], TURNED, MARKUP),
        )
        put_size(box, gone, number)
    for folder in FOLDERS:
        box.make_mailbox(f"{folder}@example.com")
    for folder in STRANGE:
        (box.mailboxes / "example.com" / folder).mkdir()
    box.runtime.directory.compare_now()
    return box


def put_size(box: Box, email: str, number: int) -> None:
    """Let a mailbox have been measured."""
    box.state_sql(
        "INSERT INTO mailusers_usage (email, box_bytes, messages, limit_bytes, checked_at) VALUES (?, ?, 7, 0, ?)",
        *(email, (number + 1) * 100_000, "2026-01-02 03:04:05.000000"),
    )


@asynccontextmanager
async def looking(box: Box, **options: Any) -> AsyncIterator[Page]:
    """Log in, and see that the browser neither complains nor asks anything."""
    complaints: list[str] = []
    async with chromium(reduced_motion="reduce", **options) as context:
        page = await open_page(context, complaints)

        async def asked(dialog: Any) -> None:
            complaints.append(f"{dialog.type}: {dialog.message}")
            await dialog.dismiss()

        page.on("dialog", asked)
        await log_in(page, box)
        yield page
    assert complaints == []


async def look(page: Page) -> None:
    """Look at the page in every way."""
    await check(page)
    await check_data(page, SHOWN)


def row(page: Page, email: str) -> Locator:
    """The line of a user."""
    return page.locator(f"tr[data-email={json.dumps(email, ensure_ascii=False)}]")


async def open_dialog(page: Page, email: str, action: str) -> Locator:
    """Open a dialog from a user's line, and look at it."""
    await row(page, email).locator(f'a[href*="/users/{action}?"]').click()
    dialog = page.locator("#mu-dialogs dialog")
    await expect(dialog.locator(".mu-subject")).to_have_text(email)
    await check_place(page)
    await check_data(page, SHOWN)
    return dialog


async def test_users(hostile: Box) -> None:
    """What other programs stored is text in the list, in dialogs, in the words afterwards and in the statistics."""
    async with looking(hostile, viewport={"width": 360, "height": 800}) as page:
        await look(page)
        for email in ADDRESSES:
            await expect(row(page, email).locator(".mu-email")).to_have_text(email)
        await expect(page.locator("tr.mu-archived")).to_have_count(len(ADDRESSES) + len(FOLDERS))
        await expect(page.get_by_text(f"by {MARKUP}.")).to_have_count(4)
        at_left = (
            "bdi => bdi.nextElementSibling.getBoundingClientRect().left - bdi.getBoundingClientRect().left"
        )
        turning = row(page, f"{TURNED}@example.com").locator(".mu-email bdi").first
        assert await turning.evaluate(at_left) > 0
        for email in (ADDRESSES[1], f"{TURNED}@example.com"):
            await row(page, email).locator("button.mu-exact").first.click()
            await expect(page.locator(".mu-popover:popover-open")).to_contain_text("bytes")
            await page.keyboard.press("Escape")

        for email in ADDRESSES[:4]:
            await open_dialog(page, email, "quota")
            await page.keyboard.press("Escape")
        for email, actions in (
            (f"{TURNED}@example.com", ("password", "make-admin", "archive")),
            (f"gone-{TURNED}@example.com", ("restore", "purge")),
            (f"gone-{MARKUP}@example.com", ("restore", "purge")),
        ):
            for action in actions:
                await open_dialog(page, email, action)
                await page.keyboard.press("Escape")
        dialog = await open_dialog(page, f"{TURNED}@example.com", "quota")
        await look(page)
        await dialog.get_by_label("Unit").select_option("G")
        await dialog.get_by_label("Number").fill("7")
        await page.keyboard.press("Enter")
        await expect(page.locator("#mu-status")).to_contain_text("is now 7G.")
        await check_data(page, SHOWN)
        dialog = await open_dialog(page, f"{MARKUP}@example.com", "archive")
        await dialog.get_by_role("button", name="Archive").click()
        await expect(page.locator("#mu-status")).to_contain_text(f"{MARKUP}@example.com was archived.")
        await check_data(page, SHOWN)

        await page.goto(f"{hostile.base_url}/admin/users/statistics")
        await expect(page.get_by_role("table", name="Largest mailboxes")).to_contain_text("gone-")
        await look(page)
        # What is looked for is found.
        await page.evaluate("text => document.querySelector('h1').append(text, ' behind')", TURNED)
        with pytest.raises(AssertionError, match="behind in <h1>"):
            await check_data(page, SHOWN)
        await page.evaluate("document.querySelector('h1').append(document.createElement('img'))")
        with pytest.raises(AssertionError, match="<img>"):
            await check_data(page, SHOWN)
    assert sorted(await hostile.emails()) == sorted({BOSS, *ADDRESSES} - {f"{MARKUP}@example.com"})


async def test_several(hostile: Box) -> None:
    """Names are text in previews and results of several at once, and in the news of what others did."""
    late = f"late{TURNED}@example.com"
    async with looking(hostile, viewport={"width": 360, "height": 800}) as page:
        dialog = page.locator("#mu-dialogs dialog")
        await page.get_by_label("Choose all on this page").check()
        await page.get_by_role("button", name="Set quota…").click()
        await dialog.get_by_label("Unit").select_option("M")
        await dialog.get_by_label("Number").fill("1")
        await dialog.get_by_role("button", name="Preview").click()
        await expect(dialog).to_contain_text(f"{MARKUP}@example.com <b>5G</b> → 1M")
        await look(page)
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Archive…").click()
        await expect(dialog).to_contain_text(f"This will be done to {len(ADDRESSES)} users.")
        await dialog.get_by_role("button", name="Archive", exact=True).click()
        await expect(dialog.get_by_role("status")).to_have_text(f"{len(ADDRESSES)} of {len(ADDRESSES)} done.")
        await look(page)
        await dialog.get_by_role("link", name="Back to the list").click()
        await expect(row(page, ADDRESSES[0])).to_contain_text("Archived")

        hostile.sql("INSERT INTO users (email, password) VALUES (?, 'x')", late)
        await asyncio.to_thread(hostile.runtime.directory.compare_now)
        await expect(row(page, late)).to_be_visible()
        await open_dialog(page, late, "quota")
        hostile.sql("UPDATE users SET quota = ? WHERE email = ?", TURNED, late)
        await asyncio.to_thread(hostile.runtime.directory.compare_now)
        await expect(dialog.get_by_role("alert")).to_contain_text(f"changed {late} while")
        await check_data(page, (*SHOWN, late))
        await look(page)
    assert await hostile.emails() == [BOSS, late]


async def test_parameters(hostile: Box) -> None:
    """What anybody can write into a link is text, and leads nowhere else."""
    script = '"><script>alert(1)</script>'
    evil = "javascript:alert(1)//"
    async with looking(hostile, viewport={"width": 360, "height": 800}) as page:
        for path, parameters, text in (
            (
                "/users",
                {"q": script, "domain": MARKUP, "status": script, "sort": script, "at": script},
                "No user",
            ),
            ("/users", {"q": TURNED}, "2 users found."),
            ("/users", {"q": "l" * 254, "limit": MARKUP}, "No user"),
            ("/users", {"domain": TURNING_DOMAIN, "sort": "-size"}, TURNING_DOMAIN),
            ("/users", {"done": "quota", "email": f"{TURNED}@example.com"}, "is now"),
            ("/users", {"done": MARKUP, "email": script}, "Existing mail users"),
            ("/users/add", {"email": script, "back": evil}, "Add"),
            (
                "/users/quota",
                {"email": script, "back": f"q={script}&{evil}"},
                f"That's not a user ({script}).",
            ),
            (
                "/users/quota",
                {"email": f"{TURNED}@example.com", "back": "https://example.com/"},
                "not a valid one.",
            ),
            ("/users/purge", {"email": f"no{TURNED}@example.com"}, "That"),
            ("/users/bulk/archive", {"email": f"no{TURNED}@example.com", "back": evil}, "no such user"),
            ("/mailusers/login", {"next": evil, "email": script}, "Log in"),
            ("/users/import", {"show": script}, "Upload"),
        ):
            await page.goto(f"{hostile.base_url}/admin{path}?{urlencode(parameters)}")
            await expect(page.locator("#mu")).to_contain_text(text)
            await check_place(page)
            await check_data(page, (*SHOWN, f"no{TURNED}@example.com"))
            back = page.locator("#mu .mu-back a, #mu .mu-buttons a")
            for link in await back.evaluate_all("links => links.map(link => link.href)"):
                assert link.startswith(f"{hostile.base_url}/admin/users"), link
        await page.goto(f"{hostile.base_url}/admin/mailusers/login?next={quote(evil)}")
        await fill_in_log_in(page)
        await expect(page).to_have_url(f"{hostile.base_url}/admin/users")
        await page.wait_for_load_state()
        form = page.locator("#mu-add")
        for email in (f"{script}@example.com", f"{TURNED}@example.com"):
            await form.get_by_label("Email address").fill(email)
            await form.get_by_label("Password", exact=True).fill(PASSWORD)
            await form.get_by_role("button", name="Add user").click()
            await expect(form.get_by_label("Email address")).to_have_attribute("aria-invalid", "true")
            await look(page)


async def test_import(box: Box, admin: object) -> None:
    """The cells, the columns and the name of a file are text in its preview, its result and the list of imports."""
    name = f"{MARKUP}{TURNED}.csv"
    cells = (MARKUP, TURNED, "=HYPERLINK(1)", "x" * 300, "z" + "\u0301" * 60, "</td></table>")
    lines = [
        f"address,password,quota,privilege,{MARKUP},{TURNED},{'n' * 200}",
        f"good@example.com,{PASSWORD},,",
    ]
    lines += [f'"{cell}@example.com","","{cell}","{cell}",,,' for cell in cells]
    shown = (TURNED, f"{TURNED}@example.com", name, f"{TURNED.lower()}@example.com")
    async with looking(box, viewport={"width": 360, "height": 800}) as page:
        await page.goto(f"{box.base_url}/admin/users/import")
        file: FilePayload = {"name": name, "mimeType": "text/csv", "buffer": "\n".join(lines).encode()}
        await page.get_by_label("CSV file").set_input_files(file)
        await page.get_by_role("button", name="Check the file").click()
        await expect(page.get_by_role("heading", name=MARKUP)).to_be_visible()
        for cell in cells:
            await expect(page.get_by_role("row").filter(has_text=f"{cell}@example.com")).to_have_count(1)
        await expect(page.get_by_text(f"That's not a valid privilege ({MARKUP}).")).to_be_visible()
        await check(page)
        await check_data(page, shown)
        await page.get_by_role("button", name="Leave out").click()
        await expect(page.get_by_role("link", name="Download the result file")).to_be_visible()
        await check(page)
        await check_data(page, shown)
        await page.get_by_role("link", name="Import another file").click()
        await expect(page.get_by_role("link", name=MARKUP)).to_be_visible()
        await check(page)
        await check_data(page, shown)
    assert sorted(await box.emails()) == [BOSS, "good@example.com"]
