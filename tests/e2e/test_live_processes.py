"""The stream of changes between real processes: the command line, a panel that is restarted, a browser that waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.servers.browser import chromium, fill_in_log_in, open_page
from tests.servers.command import mailusers
from tests.servers.live import Events
from tests.servers.panel import PanelProcess
from tests.support import BOSS, PASSWORD, USER, make_mailbox

pytestmark = pytest.mark.gen_test(timeout=180)


@pytest.fixture
def panel(tmp_path: Path) -> Iterator[PanelProcess]:
    """A running panel with an administrator, which reads sizes every second."""
    storage = tmp_path / "box"
    storage.mkdir()
    mailusers(storage, "user", "add", BOSS, "--admin", password=PASSWORD)
    environment = {"MAILUSERS_USAGE_INTERVAL_SECONDS": "1", "MAILUSERS_DOVEADM": "there-is-no-doveadm"}
    with PanelProcess(storage, environment=environment) as running:
        yield running


def test_other_processes_are_heard_of(panel: PanelProcess) -> None:
    """What the command line changes comes within a moment, and so does a size that Dovecot writes."""
    with closing(Events(panel)) as events:
        mailusers(panel.storage, "user", "add", USER, password=PASSWORD)
        assert events.next() == ("changed", {"lines": [USER], "sizes": []})
        maildir = make_mailbox(panel.storage / "mail" / "mailboxes", USER)
        (maildir / "maildirsize").write_text("0S\n4096 1\n")
        assert events.next() == ("changed", {"lines": [], "sizes": [USER]})


def test_a_panel_that_stops_does_not_wait(panel: PanelProcess) -> None:
    """Stopping takes as long with readers as without, and the stream ends properly."""
    with closing(Events(panel)) as events:
        began = time.monotonic()
        assert panel.stop() == 0
        assert time.monotonic() - began < 5
        assert events.next() == ("", {})


def test_nothing_is_lost_between_two_panels(panel: PanelProcess) -> None:
    """What happens while no panel runs is told by the next one to a reader who comes back with the last number."""
    with closing(Events(panel)) as events:
        mailusers(panel.storage, "user", "add", USER, password=PASSWORD)
        assert events.next()[1]["lines"] == [USER]
    panel.stop()
    mailusers(panel.storage, "user", "remove", USER)
    panel.start()
    with closing(Events(panel, after=events.newest)) as later:
        assert later.next()[1]["lines"] == [USER]


async def test_a_page_comes_back_to_a_restarted_panel(panel: PanelProcess) -> None:
    """The page says that the connection is lost, tries again by itself, and shows what it has missed."""
    complaints: list[str] = []
    async with chromium() as context:
        page = await open_page(context, complaints)
        await page.goto(f"{panel.url}/admin/users")
        await fill_in_log_in(page)
        rows = page.locator("tr[data-email]")
        await expect(rows).to_have_count(1)
        await asyncio.to_thread(mailusers, panel.storage, "user", "add", USER, password=PASSWORD)
        await expect(rows).to_have_count(2, timeout=15_000)

        state = page.locator("#mu-live-state")
        await asyncio.to_thread(panel.stop)
        await expect(state).to_contain_text("is tried again", timeout=20_000)
        await asyncio.to_thread(mailusers, panel.storage, "user", "remove", USER)
        await asyncio.to_thread(panel.start)
        await expect(page.locator(f'tr[data-email="{USER}"]')).to_contain_text("Archived", timeout=40_000)
        await expect(state).to_be_empty()
    # A browser writes each connection that it cannot make to the console; nothing else is wrong.
    assert [text for text in complaints if "ERR_CONNECTION_REFUSED" not in text] == []
