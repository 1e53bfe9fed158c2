"""Fixtures for the tests of the pages."""

from __future__ import annotations

import pytest
from tornado.ioloop import IOLoop

from tests.handlers.browsing import as_browser, as_script
from tests.support import BOSS, Box, Client


@pytest.fixture
def browser(io_loop: IOLoop, box: Box, admin: Client, user: str) -> Client:
    """The browser in which the administrator is logged in; there is a user beside."""
    client: Client = io_loop.run_sync(lambda: box.browser(BOSS))
    return as_browser(client)


@pytest.fixture
def script(browser: Client) -> Client:
    """The same with the page's scripts."""
    return as_script(browser)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pages wait longer for what another program has changed, for tests share the processors with others."""
    for module in ("api", "export", "users_page"):
        monkeypatch.setattr(f"mailusers_plugin.handlers.{module}.CATCH_UP_SECONDS", 5.0)
