"""Chromium, for looking at the page as a person would."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import BrowserContext, Page, Route, async_playwright, expect

from tests.support import BOSS, PASSWORD, Box

ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]

NO_COMPLAINTS = ("status of 400", "Cleared data types:")
"""That an answer is an error is for the tests to say; that a log-out has cleared the cache is no complaint."""

# A slow machine is no fault of the page; what never happens fails a little later.
expect.set_options(timeout=20_000)


@asynccontextmanager
async def chromium(**options: Any) -> AsyncIterator[BrowserContext]:
    """Start a browser of its own; what its console says is collected by :func:`open_page`."""
    async with chromium_with((), (), **options) as context:
        yield context


@asynccontextmanager
async def chromium_with(
    arguments: Sequence[str], without: Sequence[str], **options: Any
) -> AsyncIterator[BrowserContext]:
    """Start a browser with another command line.

    :param arguments: more of it
    :param without: arguments of Playwright's that are left out
    :param options: of the context
    """
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=[*ARGUMENTS, *arguments], ignore_default_args=list(without)
        )
        try:
            context = await browser.new_context(**options)
            context.set_default_timeout(30_000)
            yield context
            await context.close()
        finally:
            await browser.close()


async def open_page(context: BrowserContext, complaints: list[str]) -> Page:
    """Open a page and note what the browser complains of, such as a violated policy."""
    page = await context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: (
            None if any(text in message.text for text in NO_COMPLAINTS) else complaints.append(message.text)
        ),
    )
    return page


async def log_in(page: Page, box: Box, email: str = BOSS) -> None:
    """Log in as an administrator, from wherever the page leads, and wait until its scripts run, where they do."""
    await page.goto(f"{box.base_url}/admin/users")
    await fill_in_log_in(page, email)
    await expect(page.get_by_role("heading", name="Existing mail users")).to_be_visible()
    await page.wait_for_load_state()


async def fill_in_log_in(page: Page, email: str = BOSS) -> None:
    """Send the log-in page that is shown, once it has given its first field the focus."""
    address = page.get_by_label("Email address")
    # Chromium complains of a field that wants the focus when somebody has put it elsewhere already.
    await expect(address).to_be_focused()
    await address.fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()


async def hold(page: Page, pattern: str) -> asyncio.Event:
    """Keep what a page asks for on its way until the event that is returned is set.

    :param pattern: of the addresses, a regular expression
    """
    goes = asyncio.Event()

    async def late(route: Route) -> None:
        await goes.wait()
        await route.continue_()

    await page.route(re.compile(pattern), late)
    return goes
