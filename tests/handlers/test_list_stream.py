"""The whole list is sent as it is read: one state, no faster than it is taken, and not for who is gone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tornado.simple_httpclient import HTTPStreamClosedError

from mailusers_plugin import listing
from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.handlers.sending import Sending
from mailusers_plugin.store import directory_list
from tests.support import BOSS, CONSOLE, USER, Box, Client

USERS = "/admin/mail/users"
MANY = 6000


@pytest.fixture
def many(io_loop: Any, box: Box, admin: Client) -> Box:
    """A box with some thousand users."""
    fill(box, MANY)
    io_loop.run_sync(lambda: box.runtime.directory.catch_up(30), timeout=60)
    return box


def fill(box: Box, users: int) -> None:
    """Add users as another program does."""
    box.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        "INSERT INTO users (email, password) SELECT printf('u%05d@d%02d.example.com', i, i % 7), 'x' FROM n",
        users,
    )


async def opened(client: Client, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for a list and read nothing of it yet."""
    host, _, port = client.base_url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2000)
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['Authorization']}\r\n\r\n"
    writer.write(head.encode())
    return reader, writer


async def until_released(box: Box) -> None:
    """Wait until no list is read any more."""
    async with asyncio.timeout(20):
        while box.runtime.listing.reading():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("users", [0, 1, 499, 500, 501, 1000])
async def test_ends_of_parts(box: Box, admin: Client, users: int) -> None:
    """Wherever a part ends the list is whole, valid, and each user is in it once and in order."""
    fill(box, users) if users else None
    expected = sorted(
        (f"d{n % 7:02}.example.com", f"u{n:05}@d{n % 7:02}.example.com") for n in range(1, users + 1)
    )
    domains = (await admin.get(USERS, format="json")).json()
    found = [(domain["domain"], user["email"]) for domain in domains for user in domain["users"]]
    assert found == [*expected, ("example.com", BOSS)]
    assert len({domain["domain"] for domain in domains}) == len(domains)
    assert (await admin.get(USERS)).text.splitlines() == [email for _, email in found]


def test_nobody() -> None:
    """A list of nobody is an empty list."""
    written = listing.JSONList("/mail")
    assert written.part([]) + written.end() == b"[]\n"


async def test_one_state(many: Box, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes while a list is sent is in all of it or nowhere in it."""
    went_on = asyncio.Event()
    begun = asyncio.Event()
    taken = Sending._taken

    async def slowly(handler: Sending) -> bool:
        begun.set()
        await went_on.wait()
        return await taken(handler)

    monkeypatch.setattr(Sending, "_taken", slowly)
    before = asyncio.create_task(admin.get(USERS, format="json"))
    await begun.wait()
    last = f"u{MANY - 1:05}@d{(MANY - 1) % 7:02}.example.com"
    await many.service.archive(CONSOLE, "u00007@d00.example.com")
    await many.service.archive(CONSOLE, last)
    went_on.set()
    users = {user["email"]: user["status"] for domain in (await before).json() for user in domain["users"]}
    assert (users["u00007@d00.example.com"], users[last]) == ("active", "active")
    after = (await admin.get(USERS, format="json")).json()
    users = {user["email"]: user["status"] for domain in after for user in domain["users"]}
    assert (users["u00007@d00.example.com"], users[last]) == ("inactive", "inactive")


async def test_slow_reader(many: Box, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is read than the reader takes; when he leaves the snapshot is given back."""
    parts = 0
    lines = directory_list.lines

    def endless(connection: Any, _: Any, limit: int) -> Any:
        nonlocal parts
        parts += 1
        return lines(connection, directory_list.START, limit)

    monkeypatch.setattr(directory_list, "lines", endless)
    reader, writer = await opened(admin, f"{USERS}?format=json")
    await reader.readexactly(500)
    # Some megabytes fit into the buffers between the two.
    before = -1
    async with asyncio.timeout(30):
        while before != parts:
            before = parts
            await asyncio.sleep(0.5)
    assert many.runtime.listing.reading() == 1
    writer.close()
    await until_released(many)
    assert parts <= before + 2


async def test_who_takes_nothing(many: Box, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader who takes nothing for long is taken for gone."""
    monkeypatch.setattr(Sending, "patience_seconds", 0.2)
    lines = directory_list.lines
    monkeypatch.setattr(
        directory_list, "lines", lambda connection, _, limit: lines(connection, directory_list.START, limit)
    )
    _, writer = await opened(admin, f"{USERS}?format=json")
    await asyncio.sleep(0.1)
    await until_released(many)
    writer.close()


async def test_first_byte_before_the_last_is_read(
    many: Box, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list begins to arrive while its end is not read yet."""
    may_go_on = asyncio.Event()
    parts = 0
    taken = Sending._taken

    async def count(handler: Sending) -> bool:
        nonlocal parts
        parts += 1
        done = await taken(handler)
        await may_go_on.wait()
        return done

    monkeypatch.setattr(Sending, "_taken", count)
    reader, writer = await opened(admin, f"{USERS}?format=json")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert b"u00007@d00.example.com" in (await reader.readuntil(b"size_checked_at"))
    assert parts == 1
    may_go_on.set()
    writer.close()
    await until_released(many)


async def test_half_a_list_is_no_whole_one(many: Box, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the rest cannot be read the answer is cut off."""
    calls = 0
    lines = directory_list.lines

    def fail(connection: Any, after: Any, limit: int) -> Any:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise UnavailableError("The database is away.")
        return lines(connection, after, limit)

    monkeypatch.setattr(directory_list, "lines", fail)
    with pytest.raises(HTTPStreamClosedError):
        await admin.get(USERS, format="json")
    await until_released(many)


async def test_too_many_lists(many: Box, admin: Client) -> None:
    """Whoever comes beyond the bound waits, and is then asked to try again; the others are not disturbed."""
    snapshots = many.runtime.listing._snapshots
    snapshots._room = asyncio.Semaphore(1)
    answers = await asyncio.gather(*(admin.get(USERS, format="json") for _ in range(3)))
    assert [answer.status for answer in answers] == [200] * 3
    snapshots._wait_seconds = 0.05
    async with many.runtime.listing.everything(as_json=True) as (_, parts):
        answer = await admin.get(USERS, format="json")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        content = b"".join([part async for part in parts])
    assert len([user for domain in json.loads(content) for user in domain["users"]]) == MANY + 1
    assert (await admin.get(USERS, format="json")).status == 200


async def test_stopping_while_a_list_is_read(many: Box) -> None:
    """A server that stops ends the lists that are being read, and waits for none."""
    async with many.runtime.listing.everything(as_json=True) as (_, parts):
        await anext(parts)
        await many.handle.stop()
        with pytest.raises(UnavailableError):
            while True:
                await anext(parts)


async def test_place_of_archived_mail(box: Box, admin: Client, user: str) -> None:
    """Where the mail is follows the box, and a privilege that looks like it is left alone."""
    box.make_mailbox(USER)
    await box.service.archive(CONSOLE, USER)
    hostile = '"mailbox":"'
    box.sql("UPDATE users SET privileges = ? WHERE email = ?", f"admin\n{hostile}", BOSS)
    (domain,) = (await admin.get(USERS, format="json")).json()
    assert domain["users"][0]["privileges"] == ["admin", hostile]
    assert domain["users"][1]["mailbox"] == str(box.maildir(USER))
