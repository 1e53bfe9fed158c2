"""How many match a text is counted once, and is right after every change."""

from __future__ import annotations

import asyncio

import pytest

from mailusers_plugin.models import ADMIN, Selection
from mailusers_plugin.store import directory, directory_lines
from mailusers_plugin.store.database import Connection
from tests.support import BOSS, CONSOLE, USER, Box

SELECTIONS = [
    Selection("user"),
    Selection("USER", domain="example.com"),
    Selection("user", status="active"),
    Selection("user", status="inactive"),
    Selection("example", privilege=ADMIN),
    Selection("münchen"),
]


async def counted(box: Box) -> list[tuple[int, int]]:
    """What is kept, for each selection; it must be what counting gives."""
    found = []
    for selection in SELECTIONS:
        counts = await box.runtime.directory.count(selection)
        page = await box.runtime.directory.page(selection, limit=1000)
        active = sum(1 for entry in page.entries if entry.active)
        assert (counts.active, counts.archived) == (active, len(page.entries) - active), selection
        found.append((counts.active, counts.archived))
    return found


async def test_after_every_change(box: Box, user: str) -> None:
    """Adding, archiving, restoring, purging and changes that do not matter leave the right number."""
    before = await counted(box)
    await box.add("user2@example.org")
    await box.add("user3@xn--mnchen-3ya.example.com")
    assert await counted(box) != before
    await box.service.set_quota(CONSOLE, USER, "9M")
    await box.service.archive(CONSOLE, USER)
    await counted(box)
    await box.service.add_privileges(CONSOLE, "user2@example.org", [ADMIN])
    await box.add(USER)
    await counted(box)
    await box.service.archive(CONSOLE, "user3@xn--mnchen-3ya.example.com")
    await counted(box)
    await box.service.purge(CONSOLE, "user3@xn--mnchen-3ya.example.com", "user3@xn--mnchen-3ya.example.com")
    await counted(box)


async def test_counted_once(box: Box, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known is not counted again, but brought up to date; who missed too much counts again."""
    times = 0
    count = directory.count_and_state

    def counting(connection: Connection, selection: Selection) -> object:
        nonlocal times
        times += 1
        return count(connection, selection)

    monkeypatch.setattr(directory, "count_and_state", counting)
    wanted = Selection("example.com")
    for quota in ("1M", "2M", "3M"):
        assert (await box.runtime.directory.count(wanted)).active == 2
        await box.service.set_quota(CONSOLE, USER, quota)
    await box.service.archive(CONSOLE, USER)
    counts = await box.runtime.directory.count(wanted)
    assert (counts.active, counts.archived, times) == (1, 1, 1)
    monkeypatch.setattr(directory_lines, "KEPT", 1)
    for number in range(3):
        await box.add(f"more{number}@example.com")
    assert (await box.runtime.directory.count(wanted)).active == 4
    assert times == 2


async def test_while_others_change(box: Box, user: str) -> None:
    """Counts that are asked for together with changes end with the right number."""
    directory_ = box.runtime.directory
    await asyncio.gather(
        *(box.add(f"user{number}@example.net") for number in range(10)),
        *(directory_.count(Selection("user")) for _ in range(20)),
    )
    assert (await directory_.count(Selection("user"))).active == 11
    assert BOSS in await directory_.entries([BOSS])
