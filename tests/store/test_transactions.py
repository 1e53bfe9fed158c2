"""What two transactions at once make of each other, on whatever database."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError, Event

import pytest

from mailusers_plugin import service_changes
from mailusers_plugin.errors import ForbiddenChangeError, NotArchivedError
from mailusers_plugin.models import ADMIN, Account
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.store import accounts
from mailusers_plugin.store.database import Connection
from tests.support import BOSS, CONSOLE, PASSWORD, USER, make_mailbox

SECOND = "second@example.com"


def test_a_deadlock_is_nobodys_error(runtime: Runtime) -> None:
    """Of two changes that wait for each other the one that is undone is made once more; both take effect, once."""
    database = runtime.database
    for email in (USER, SECOND):
        database.write_now(accounts.add, Account(email, "x", (), "0"))
    # On SQLite the second one is not there yet.
    together = Barrier(2, timeout=0.5)
    begun: list[str] = []

    def add_one(connection: Connection, first: str, second: str) -> None:
        begun.append(first)
        for number, email in enumerate((first, second)):
            quota = accounts.get(connection, email, lock=True).quota
            accounts.set_quota(connection, email, str(int(quota) + 1))
            if number == 0:
                with suppress(BrokenBarrierError):
                    together.wait()

    def change(pair: tuple[str, str]) -> None:
        database.write_now(add_one, *pair)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(change, ((USER, SECOND), (SECOND, USER)), timeout=30))
    assert [database.read_now(accounts.get, email).quota for email in (USER, SECOND)] == ["2", "2"]
    if not database.is_sqlite:
        assert len(begun) > 2


async def test_a_read_sees_one_state(runtime: Runtime) -> None:
    """What is committed while a read goes on is in none of its answers."""
    database = runtime.database
    await database.write(accounts.add, Account(USER, "x", (), "0"))
    begun, changed = Event(), Event()

    def twice(connection: Connection) -> tuple[str, str]:
        before = accounts.get(connection, USER).quota
        begun.set()
        assert changed.wait(10)
        return before, accounts.get(connection, USER).quota

    reading = asyncio.create_task(database.read(twice))
    await asyncio.to_thread(begun.wait, 10)
    change = asyncio.create_task(database.write(accounts.set_quota, USER, "5G"))
    if not database.is_sqlite:
        # There the commit waits for the read.
        await change
    changed.set()
    assert await reading == ("0", "0")
    await change
    assert await database.read(accounts.get, USER) == Account(USER, "x", (), "5G")


async def test_a_purge_waits_for_an_addition(runtime: Runtime) -> None:
    """The mailbox of somebody who is just being added is not deleted, though the address was archived before."""
    await runtime.service.add(CONSOLE, USER, PASSWORD)
    await runtime.service.archive(CONSOLE, USER)
    mailbox = make_mailbox(runtime.settings.mailboxes, USER, "a letter")
    added, may_commit = Event(), Event()

    def add() -> None:
        account = Account(USER, "x", (), "0")
        with runtime.database.transaction() as connection:
            service_changes.add(connection, CONSOLE, account, runtime.mailboxes, False, True)
            added.set()
            assert may_commit.wait(10)

    adding = asyncio.create_task(asyncio.to_thread(add))
    await asyncio.to_thread(added.wait, 10)
    purging = asyncio.create_task(runtime.service.purge(CONSOLE, USER, USER))
    await asyncio.sleep(0.2)
    assert not purging.done()
    may_commit.set()
    await adding
    with pytest.raises(NotArchivedError):
        await purging
    assert (mailbox / "cur" / "0.message").read_text() == "a letter"


async def test_the_second_first_administrator_waits(runtime: Runtime) -> None:
    """While somebody is made the first administrator, another one who would be it waits, and is then refused."""
    added, may_commit = Event(), Event()

    def add() -> None:
        with runtime.database.transaction() as connection:
            service_changes.add(
                connection, CONSOLE, Account(BOSS, "x", (ADMIN,), "0"), runtime.mailboxes, True, True
            )
            added.set()
            assert may_commit.wait(10)

    adding = asyncio.create_task(asyncio.to_thread(add))
    await asyncio.to_thread(added.wait, 10)
    other = asyncio.create_task(
        runtime.service.add(CONSOLE, SECOND, PASSWORD, (ADMIN,), first_administrator=True)
    )
    await asyncio.sleep(0.2)
    assert not other.done()
    may_commit.set()
    await adding
    with pytest.raises(ForbiddenChangeError):
        await other
    assert await runtime.service.addresses() == [BOSS]
