"""Two implementations of every hook, a plain one and one of coroutines: each notes in a file what it is told of."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from pathlib import Path
from typing import Final

from mailusers_plugin import hookimpl
from mailusers_plugin.events import (
    Event,
    PasswordChanged,
    PrivilegesChanged,
    QuotaChanged,
    UserAdded,
    UserArchived,
)

FOLDER_VARIABLE: Final = "MAILUSERS_TEST_LEDGERS"
NAMES: Final = ("ledger_plain", "ledger_coroutine")
_LONGEST_SECONDS: Final = 0.02
"""A call takes up to this long, so that kills fall before, into and behind what it does."""


def _note(name: str, event: Event) -> None:
    # One line in one write: it is there as a whole or not at all when the process is killed.
    line = json.dumps({"type": event.type, **event.as_dict()}).encode() + b"\n"
    file = os.open(Path(os.environ[FOLDER_VARIABLE], name), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line)
    finally:
        os.close(file)


def _some_time() -> float:
    return random.random() * _LONGEST_SECONDS / 2


class Plain:
    """Runs in threads."""

    def _take(self, event: Event) -> None:
        time.sleep(_some_time())
        _note(NAMES[0], event)
        time.sleep(_some_time())

    @hookimpl
    def mailusers_post_add(self, event: UserAdded) -> None:
        """Note it."""
        self._take(event)

    @hookimpl
    def mailusers_post_archive(self, event: UserArchived) -> None:
        """Note it."""
        self._take(event)

    @hookimpl
    def mailusers_quota_change(self, event: QuotaChanged) -> None:
        """Note it."""
        self._take(event)

    @hookimpl
    def mailusers_password_change(self, event: PasswordChanged) -> None:
        """Note it."""
        self._take(event)

    @hookimpl
    def mailusers_privileges_change(self, event: PrivilegesChanged) -> None:
        """Note it."""
        self._take(event)


class Coroutine:
    """Runs on the event loop."""

    async def _take(self, event: Event) -> None:
        await asyncio.sleep(_some_time())
        _note(NAMES[1], event)
        await asyncio.sleep(_some_time())

    @hookimpl
    async def mailusers_post_add(self, event: UserAdded) -> None:
        """Note it."""
        await self._take(event)

    @hookimpl
    async def mailusers_post_archive(self, event: UserArchived) -> None:
        """Note it."""
        await self._take(event)

    @hookimpl
    async def mailusers_quota_change(self, event: QuotaChanged) -> None:
        """Note it."""
        await self._take(event)

    @hookimpl
    async def mailusers_password_change(self, event: PasswordChanged) -> None:
        """Note it."""
        await self._take(event)

    @hookimpl
    async def mailusers_privileges_change(self, event: PrivilegesChanged) -> None:
        """Note it."""
        await self._take(event)


PLAIN: Final = Plain()
COROUTINE: Final = Coroutine()


def install(folder: Path) -> None:
    """Make both known to a panel that has a folder on its path, as an installed package is.

    :param folder: where the package's metadata go; the code is found in the checkout
    """
    metadata = folder / "mailusers_ledgers-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mailusers-ledgers\nVersion: 1\n")
    entries = f"{NAMES[0]} = {__name__}:PLAIN\n{NAMES[1]} = {__name__}:COROUTINE\n"
    (metadata / "entry_points.txt").write_text(f"[mailusers]\n{entries}")
