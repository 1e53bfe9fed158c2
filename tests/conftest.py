"""Fixtures for all tests; those for the mail servers are in ``tests/servers``."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from tornado.ioloop import IOLoop
from tornado.platform.asyncio import AsyncIOLoop

from mailusers_plugin.models import ADMIN
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from tests.engines import is_repeated
from tests.servers import engines
from tests.servers.engines import Engine
from tests.support import BOSS, QUICK, USER, Box, Boxes, Client

# Made-up cases are the same in each run, so that a change is not held up by what it did not touch. With the variable
# they are others each time, and as many as it says.
# How long one takes is the machine's affair.
_ALWAYS: dict[str, Any] = {
    "database": None,
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": [HealthCheck.too_slow],
}
settings.register_profile("same", derandomize=True, **_ALWAYS)
settings.register_profile(
    "other", max_examples=int(os.environ.get("MAILUSERS_TEST_EXAMPLES", "100")), **_ALWAYS
)
settings.load_profile("other" if "MAILUSERS_TEST_EXAMPLES" in os.environ else "same")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests that :mod:`tests.engines` lists be repeated on another database."""
    parser.addoption("--engine", choices=engines.NAMES, default="sqlite", help="database of the boxes")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """On another database than SQLite collect what is to be repeated there, and nothing else."""
    if config.getoption("--engine") == "sqlite" or not collection_path.match("test_*.py"):
        return None
    return not is_repeated(collection_path)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let coroutine functions be run by pytest-tornado without each of them saying so."""
    if config.getoption("--engine") != "sqlite":
        left_out = [item for item in items if item.get_closest_marker("sqlite_only")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)
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


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """What gives the boxes their databases: with ``--engine`` a real server, started for the session."""
    with engines.running(request.config.getoption("--engine"), tmp_path_factory.mktemp("engine")) as found:
        yield found


@pytest.fixture
def boxes(io_loop: IOLoop, tmp_path: Path, blank_box: Path, engine: Engine) -> Iterator[Boxes]:
    """Opens as many boxes as a test wants, in its loop."""
    opened = Boxes(tmp_path, blank_box, engine)
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
