"""The page of sessions in a real browser: what axe says, narrow and dark; ending one, and all others, by keyboard."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from mailusers_plugin.auth.authenticator import API, COOKIE
from tests.browser.looking import check, small_targets
from tests.servers.browser import chromium, log_in, open_page
from tests.support import BOSS, Box

WINDOWS: list[Any] = [
    pytest.param({"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"}, id="wide-light"),
    pytest.param({"viewport": {"width": 360, "height": 800}, "color_scheme": "dark"}, id="narrow-dark"),
    pytest.param({"viewport": {"width": 700, "height": 800}, "forced_colors": "active"}, id="forced"),
]
HOSTILE = "<img src=x onerror=alert(1)> \N{RIGHT-TO-LEFT OVERRIDE}" + "a-very-long-name-of-a-program" * 6

pytestmark = pytest.mark.gen_test(timeout=180)


@pytest.mark.parametrize("window", WINDOWS)
async def test_ending_sessions(box: Box, admin: object, window: dict[str, Any]) -> None:
    """Each of one's sessions is shown as text; one is ended, then all others, and the present one goes on."""
    authenticator = box.runtime.authenticator()
    account = await box.service.account(BOSS)
    for kind, agent in ((API, HOSTILE), (COOKIE, "Mozilla/5.0 (X11; Linux x86_64) Firefox/133.0")):
        await authenticator.open_session(
            account, kind, ip="2001:db8:1234:5678:90ab:cdef:1234:5678", agent=agent
        )
    complaints: list[str] = []
    async with chromium(reduced_motion="reduce", **window) as context:
        page = await open_page(context, complaints)
        await log_in(page, box)
        await page.get_by_role("link", name="Sessions").click()
        rows = page.get_by_role("table", name="Where you are logged in").get_by_role("row")
        await expect(rows).to_have_count(4)
        await expect(rows.filter(has_text="this one")).to_have_count(1)
        await check(page)
        assert await small_targets(page) == []

        await rows.filter(has_text="Program").get_by_role("button", name="End").press("Enter")
        await expect(rows).to_have_count(3)
        await expect(rows.filter(has_text="Program")).to_have_count(0)
        await check(page)
        await page.get_by_role("button", name="End all others").press("Enter")
        await expect(rows).to_have_count(2)
        await expect(rows.filter(has_text="this one")).to_have_count(1)
        await check(page)
    assert complaints == []
    assert len(await authenticator.live_sessions(BOSS)) == 1
