"""Fixtures for all tests; those for the mail servers are in ``tests/servers``."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop
from tornado.platform.asyncio import AsyncIOLoop

from mailusers_plugin.models import ADMIN
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from tests.support import BOSS, QUICK, USER, Box, Boxes, Client


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let coroutine functions be run by pytest-tornado without each of them saying so."""
    for item in items:
        function = getattr(item, "function", None)
        if inspect.iscoroutinefunction(function) and item.get_closest_marker("gen_test") is None:
            item.add_marker(pytest.mark.gen_test(timeout=60))


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in list(os.environ):
        if name.startswith("MAILUSERS_") and not name.startswith("MAILUSERS_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """The test's event loop, in place of pytest-tornado's; whatever still runs at the end is a mistake."""
    loop = asyncio.new_event_loop()
    # pytest-tornado makes the test's task before the loop runs.
    asyncio.set_event_loop(loop)
    wrapped = AsyncIOLoop(asyncio_loop=loop, make_current=False)
    yield wrapped
    left = [task for task in asyncio.all_tasks(loop) if not task.done()]
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    asyncio.set_event_loop(None)
    wrapped.close(all_fds=True)
    assert left == []


@pytest.fixture(scope="session")
def blank_box(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A box without users, for copying."""
    storage = tmp_path_factory.mktemp("blank") / "box"
    Runtime(Settings(storage_root=storage, **QUICK)).close()
    return storage


@pytest.fixture
def boxes(io_loop: IOLoop, tmp_path: Path, blank_box: Path) -> Iterator[Boxes]:
    """Opens as many boxes as a test wants, in its loop."""
    opened = Boxes(tmp_path, blank_box)
    yield opened
    io_loop.run_sync(opened.close, timeout=30)


@pytest.fixture
def box(io_loop: IOLoop, boxes: Boxes) -> Box:
    """A box without users that answers on a free port."""
    opened: Box = io_loop.run_sync(boxes.open)
    return opened


@pytest.fixture
def admin(io_loop: IOLoop, box: Box) -> Client:
    """The client of an administrator, boss@example.com, who sends address and password."""
    io_loop.run_sync(lambda: box.add(BOSS, (ADMIN,)))
    return box.basic(BOSS)


@pytest.fixture
def user(io_loop: IOLoop, box: Box, admin: Client) -> str:
    """The address of a user without privileges, beside the administrator."""
    io_loop.run_sync(lambda: box.add(USER))
    return USER
