"""The tag of a list: a script that polls is told that nothing has changed, and never when something has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from mailusers_plugin.models import ADMIN, Usage
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import usage
from tests.support import BOSS, CONSOLE, PASSWORD, QUICK, USER, Answer, Box, Boxes, Client

USERS = "/admin/mail/users"
LISTS = [
    USERS,
    f"{USERS}?format=json",
    f"{USERS}?format=json&limit=10",
    f"{USERS}?format=json&q=user&sort=-size",
]
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


async def tagged(client: Client, path: str) -> Answer:
    """Ask until the list has a tag: what happened before must have been compared."""
    async with asyncio.timeout(20):
        while "ETag" not in (answer := await client.get(path)).headers:
            await asyncio.sleep(0.05)
    assert answer.status == 200
    return answer


async def again(client: Client, path: str, known: str) -> Answer:
    """Ask as who has a list already."""
    return await client.sending(If_None_Match=known).get(path)


@pytest.mark.parametrize("path", LISTS)
async def test_nothing_changed(admin: Client, user: str, path: str) -> None:
    """Who has the list gets 304 without it, with the tag and what a kept list needs to be revalidated."""
    first = await tagged(admin, path)
    tag = first.headers["ETag"]
    assert tag.startswith('W/"')
    assert first.headers["Cache-Control"] == "private, no-cache"
    answer = await again(admin, path, tag)
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["ETag"] == tag
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert "Content-Length" not in answer.headers
    assert (await tagged(admin, path)).body == first.body


@pytest.mark.parametrize(
    ("known", "status"),
    [
        ("*", 304),
        ("{tag}", 304),
        ("{strong}", 304),
        ('"other", W/"more" , {tag}', 304),
        ('"other"', 200),
        ('W/"", "x"', 200),
        ("", 200),
        ("nonsense", 200),
    ],
)
async def test_what_a_reader_may_say(admin: Client, user: str, known: str, status: int) -> None:
    """If-None-Match is any, one or a list, compared weakly (RFC 9110, section 13.1.2)."""
    tag = (await tagged(admin, LISTS[1])).headers["ETag"]
    text = known.format(tag=tag, strong=tag.removeprefix("W/"))
    assert (await again(admin, LISTS[1], text)).status == status


async def test_tags_differ(box: Box, admin: Client, user: str) -> None:
    """Each list has its own, so that none is taken for another; a page's also knows the address of the next page."""
    pages = [*LISTS, f"{LISTS[2]}&cursor=", f"{LISTS[1]}&limit=11"]
    tags = [(await tagged(admin, path)).headers["ETag"] for path in pages]
    assert len({*tags}) == len(tags) - 1
    assert tags[2] == tags[4]
    elsewhere = (await tagged(admin.sending(Host="elsewhere.example.com"), LISTS[2])).headers["ETag"]
    assert elsewhere != tags[2]


async def test_head(admin: Client, user: str) -> None:
    """HEAD says the same about the whole list without reading it."""
    tag = (await tagged(admin, LISTS[1])).headers["ETag"]
    answer = await admin.fetch("HEAD", LISTS[1])
    assert (answer.status, answer.type, answer.body) == (200, "application/json", b"")
    assert "Content-Length" not in answer.headers
    assert answer.headers["ETag"] == tag


async def set_quota(box: Box) -> None:
    """A change of our own."""
    await box.service.set_quota(CONSOLE, USER, "9M")


async def archive(box: Box) -> None:
    """The same, of which the plain list tells too."""
    await box.service.archive(CONSOLE, USER)


async def other_process(box: Box) -> None:
    """The command line, or another panel."""
    other = await asyncio.to_thread(Runtime, Settings(storage_root=box.storage, **QUICK))
    try:
        await other.service.add(CONSOLE, "cli@example.com", PASSWORD)
    finally:
        await asyncio.to_thread(other.close)


async def other_program(box: Box) -> None:
    """Mail-in-a-Box."""
    box.sql("UPDATE users SET quota = '77M' WHERE email = ?", USER)


async def right_behind_ours(box: Box) -> None:
    """Mail-in-a-Box, in the same tick of the clock in which we have changed something ourselves."""
    await box.service.set_quota(CONSOLE, USER, "9M")
    box.sql("UPDATE users SET quota = '77M' WHERE email = ?", USER)


async def new_size(box: Box) -> None:
    """A size that was read."""
    await box.runtime.state.write(usage.replace, {USER: Usage(5000, 2, 0, NOW)})
    await box.runtime.directory.refresh([USER])


async def mailbox(box: Box) -> None:
    """A mailbox on the disk that has no user, once it was looked for."""
    box.make_mailbox("left@example.com")
    await asyncio.to_thread(box.runtime.refresh_usage)


@pytest.mark.parametrize(
    "change", [set_quota, archive, other_process, other_program, right_behind_ours, new_size, mailbox]
)
async def test_never_a_stale_304(
    box: Box, admin: Client, user: str, change: Callable[[Box], Awaitable[None]]
) -> None:
    """After a change, whoever made it, the very next answer is the new list."""
    for path in LISTS:
        await tagged(admin, path)
    before = await tagged(admin, LISTS[1])
    await change(box)
    answer = await again(admin, LISTS[1], before.headers["ETag"])
    assert answer.status == 200
    assert answer.body != before.body
    assert (await tagged(admin, LISTS[1])).headers["ETag"] != before.headers["ETag"]


async def test_a_size_that_was_read_again(box: Box, admin: Client, user: str) -> None:
    """That a size was read again is no news for pages, but another list for whoever keeps one."""
    await new_size(box)
    before = await tagged(admin, LISTS[1])
    later = datetime(2026, 3, 5, tzinfo=UTC)
    await box.runtime.state.write(usage.replace, {USER: Usage(5000, 2, 0, later)})
    await box.runtime.directory.refresh([USER])
    answer = await again(admin, LISTS[1], before.headers["ETag"])
    assert (answer.status, "2026-03-05T00:00:00+00:00" in answer.text) == (200, True)


async def test_while_it_is_not_known(
    box: Box, admin: Client, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another program's change cannot be compared yet nobody is told that all is the same."""
    for module in ("CATCH_UP_SECONDS", "LIST_CATCH_UP_SECONDS"):
        monkeypatch.setattr(f"mailusers_plugin.handlers.api.{module}", 0.05)
    tags = {path: (await tagged(admin, path)).headers["ETag"] for path in LISTS}
    with monkeypatch.context() as patch:
        patch.setattr(box.runtime.directory, "compare_now", lambda: 0)
        await other_program(box)
        for path, tag in tags.items():
            for known in (tag, "*"):
                answer = await again(admin, path, known)
                assert (answer.status, answer.headers.get("ETag")) == (200, None), (path, known)


async def test_a_restored_backup(boxes: Boxes) -> None:
    """A server that was started anew gives other tags, for its numbers may have been another state's before."""
    storage = boxes.storage()
    first = await boxes.open(storage)
    await first.add(BOSS, (ADMIN,))
    tag = (await tagged(first.basic(BOSS), LISTS[1])).headers["ETag"]
    await first.handle.stop()
    second = await boxes.open(storage)
    assert (await again(second.basic(BOSS), LISTS[1], tag)).status == 200
