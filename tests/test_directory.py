"""The directory follows every change: ours at once, other programs' soon, and tells open pages of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.models import ADMIN, Selection, Usage
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.store import accounts, directory_compare, directory_lines, usage
from mailusers_plugin.store.database import Connection
from tests.support import BOSS, CONSOLE, PASSWORD, USER, Box, Boxes

EVERYTHING = Selection()
STORED = "INSERT INTO users (email, password, privileges, quota) VALUES (?, 'x', '', '1M')"


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def emails(box: Box, selection: Selection = EVERYTHING) -> list[str]:
    """The addresses of a selection."""
    return [entry.email for entry in (await box.runtime.directory.page(selection, limit=1000)).entries]


async def test_our_own_changes_are_there_at_once(box: Box, user: str) -> None:
    """What a use case did is in the directory when it returns."""
    directory, service = box.runtime.directory, box.service
    await box.add("new@example.org", quota="5M")
    entry = (await directory.entries(["new@example.org"]))["new@example.org"]
    assert (entry.active, entry.quota, entry.privileges, entry.usage) == (True, "5M", (), None)
    await service.set_quota(CONSOLE, "new@example.org", "6M")
    await service.add_privileges(CONSOLE, "new@example.org", [ADMIN])
    entry = (await directory.entries(["new@example.org"]))["new@example.org"]
    assert (entry.quota, entry.privileges) == ("6M", (ADMIN,))
    assert await directory.administrators() == 2
    await service.archive(CONSOLE, "new@example.org")
    entry = (await directory.entries(["new@example.org"]))["new@example.org"]
    assert (entry.active, entry.quota, entry.archived_by) == (False, "6M", None)
    assert entry.archived_at is not None
    await service.purge(CONSOLE, "new@example.org", "new@example.org")
    assert await directory.entries(["new@example.org"]) == {}


@pytest.mark.sqlite_only(reason="another program is noticed by the time of the file")
async def test_another_program_is_followed(box: Box) -> None:
    """A user that Mail-in-a-Box adds, changes or removes is in the directory once a page has caught up."""
    directory = box.runtime.directory
    assert await directory.catch_up(10)
    await asyncio.sleep(0.02)
    box.sql(STORED, "other@example.net")
    assert await directory.catch_up(10)
    assert "other@example.net" in await emails(box)
    await asyncio.sleep(0.02)
    box.sql("UPDATE users SET quota = '7M' WHERE email = 'other@example.net'")
    assert await directory.catch_up(10)
    assert (await directory.entries(["other@example.net"]))["other@example.net"].quota == "7M"
    await asyncio.sleep(0.02)
    box.sql("DELETE FROM users WHERE email = 'other@example.net'")
    assert await directory.catch_up(10)
    assert "other@example.net" not in await emails(box)


@pytest.mark.sqlite_only(reason="another program is noticed by the time of the file")
async def test_another_program_is_noticed_without_a_page(boxes: Boxes) -> None:
    """Open pages learn of it without anybody asking, within the interval."""
    box = await boxes.open(live_interval_seconds=0.05)
    directory = box.runtime.directory
    assert await directory.catch_up(10)
    after = await directory.newest()
    await asyncio.sleep(0.02)
    box.sql(STORED, "other@example.net")
    changes = await directory.changes(after, 10)
    assert [(change.email, change.kind) for change in changes or ()] == [("other@example.net", "line")]


async def test_mailboxes_on_the_disk(box: Box) -> None:
    """A mailbox without a user is archived, with its size; one that is gone from the disk is gone from the list."""
    maildir = box.make_mailbox("left@example.com", "a message")
    (maildir / "maildirsize").write_text("1048576S\n1000 2\n")
    await asyncio.to_thread(box.runtime.refresh_usage)
    entry = (await box.runtime.directory.entries(["left@example.com"]))["left@example.com"]
    assert not entry.active
    assert entry.quota is None
    assert entry.usage is not None
    assert (entry.usage.box_bytes, entry.usage.messages) == (1000, 2)
    maildir.rename(maildir.with_name(".elsewhere"))
    await asyncio.to_thread(box.runtime.refresh_usage)
    assert await box.runtime.directory.entries(["left@example.com"]) == {}


async def test_a_box_that_was_there_before(boxes: Boxes) -> None:
    """The first comparison finds everybody; until then a page can wait for it."""
    storage = boxes.storage()
    box = await boxes.open(storage)
    box.sql(STORED, "before@example.com")
    await box.runtime.start()
    await box.runtime.directory.wait_until_built(10)
    assert await emails(box) == ["before@example.com"]


async def test_waiting_for_changes(box: Box, user: str) -> None:
    """Who waits is woken by the change, and not before; when the time is over there is nothing."""
    directory = box.runtime.directory
    after = await directory.newest()
    assert await directory.changes(after, 0.05) == []
    waiting = [asyncio.create_task(directory.changes(after, 20)) for _ in range(3)]
    await asyncio.sleep(0.1)
    assert not any(task.done() for task in waiting)
    began = time.monotonic()
    await box.service.set_quota(CONSOLE, user, "9M")
    for task in waiting:
        assert [change.email for change in await task or ()] == [user]
    assert time.monotonic() - began < 5


async def test_changes_of_another_process(boxes: Boxes) -> None:
    """What the command line does is told to the pages of the server."""
    box = await boxes.open(live_interval_seconds=0.05)
    after = await box.runtime.directory.newest()
    other = await asyncio.to_thread(Runtime, box.runtime.settings)
    try:
        await other.service.add(CONSOLE, "cli@example.com", PASSWORD)
    finally:
        await asyncio.to_thread(other.close)
    changes = await box.runtime.directory.changes(after, 10)
    assert [change.email for change in changes or ()] == ["cli@example.com"]


async def test_many_at_once_end_with_what_is_true(box: Box, user: str) -> None:
    """Changes of one user that overtake one another leave the line as the account is."""
    quotas = [f"{number}M" for number in range(1, 31)]
    await asyncio.gather(*(box.service.set_quota(CONSOLE, user, quota) for quota in quotas))
    account = await box.find(user)
    assert account is not None
    assert (await box.runtime.directory.entries([user]))[user].quota == account.quota


async def test_a_change_counts_though_the_list_cannot_follow(
    boxes: Boxes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the line cannot be stored the change stays done, the log says so, and a comparison mends the list."""
    box = await boxes.open(live_interval_seconds=0.05)
    await box.add(BOSS, (ADMIN,))
    await box.add(USER)
    assert await box.runtime.directory.catch_up(10)

    def fail(*_: object) -> None:
        raise UnavailableError("The disk that holds the account database is full.")

    with monkeypatch.context() as patch:
        patch.setattr(directory_lines, "replace", fail)
        await box.service.set_quota(CONSOLE, USER, "9M")
    assert "The list could not be brought up to date" in caplog.text
    assert (await box.runtime.directory.entries([USER]))[USER].quota != "9M"

    async def quota() -> str | None:
        return (await box.runtime.directory.entries([USER]))[USER].quota

    deadline = time.monotonic() + 10
    while await quota() != "9M":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


@pytest.mark.sqlite_only(reason="another program is noticed by the time of the file")
async def test_changed_while_everything_is_compared(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes after a comparison has read it is waited for, too."""
    directory = box.runtime.directory
    assert await directory.catch_up(10)
    reading, may_go_on = threading.Event(), threading.Event()
    known = directory_compare.known

    def slowly(connection: Connection, after: str, until: str | None, limit: int) -> object:
        reading.set()
        may_go_on.wait(10)
        return known(connection, after, until, limit)

    monkeypatch.setattr(directory_compare, "known", slowly)
    box.sql(STORED, "one@example.net")
    earlier = asyncio.create_task(directory.catch_up(20))
    await until(reading.is_set)
    box.sql(STORED, "other@example.net")
    waiting = asyncio.create_task(directory.catch_up(20))
    await asyncio.sleep(0.05)
    may_go_on.set()
    assert await waiting
    assert "other@example.net" in await emails(box)
    assert await earlier


async def test_export_yields_everybody_once(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches join without a gap or a repetition, in the order asked for."""
    monkeypatch.setattr("mailusers_plugin.directory._BATCH", 3)
    for number in range(7):
        box.sql(STORED, f"u{number}@example.net")
    await asyncio.to_thread(box.runtime.directory.compare_now)
    found = [
        entry.email
        async for some in box.runtime.directory.export(Selection(domain="example.net"), "-email")
        for entry in some
    ]
    assert found == [f"u{number}@example.net" for number in range(6, -1, -1)]


async def test_counting_again_after_a_change(box: Box) -> None:
    """What was counted is not kept beyond the next change."""
    before = await box.runtime.directory.count(EVERYTHING)
    await box.add("one@example.net")
    after = await box.runtime.directory.count(EVERYTHING)
    assert after.active == before.active + 1
    assert dict(await box.runtime.directory.domains())["example.net"].active == 1
    assert (await box.runtime.directory.domain_counts(["example.net"]))["example.net"].active == 1


async def test_a_size_that_was_read_again(box: Box, user: str) -> None:
    """When a size was read is brought up to date without news, and is no difference the next time."""
    directory, state = box.runtime.directory, box.runtime.state
    await asyncio.to_thread(directory.compare_now)
    first, later = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    await state.write(usage.replace, {user: Usage(100, 1, 0, first)})
    await directory.refresh([user])
    newest = await directory.newest()
    await state.write(usage.replace, {user: Usage(100, 1, 5, later)})
    await asyncio.to_thread(directory.compare_now)
    entry = (await directory.entries([user]))[user]
    assert entry.usage is not None
    assert entry.usage.checked_at == later
    assert await directory.newest() == newest


async def test_who_waits_goes_away(box: Box, user: str) -> None:
    """A line is read anew though the one who asked for it went away while another change was under way."""
    directory, database = box.runtime.directory, box.runtime.database
    await asyncio.to_thread(directory.compare_now)
    async with directory._refreshing:
        await database.write(accounts.set_quota, user, "7M")
        waiting = asyncio.create_task(directory.refresh([user]))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])

    async def is_read() -> bool:
        return (await directory.entries([user]))[user].quota == "7M"

    async with asyncio.timeout(10):
        while not await is_read():
            await asyncio.sleep(0.02)
