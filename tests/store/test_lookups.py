"""Small reads by an index, on each database."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Column, DateTime, Integer, MetaData, Table, Text, bindparam, select, text

from mailusers_plugin.auth.authenticator import API
from mailusers_plugin.errors import UnavailableError, UnknownUserError
from mailusers_plugin.models import Account
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.store import accounts
from mailusers_plugin.store.database import Connection, Database
from mailusers_plugin.store.lookups import Lookup
from mailusers_plugin.store.schema import UTCDateTime
from tests.support import CONSOLE, PASSWORD, USER, run_sql

_things = Table(
    "things",
    MetaData(),
    Column("name", Text, primary_key=True),
    Column("number", Integer),
    Column("at", UTCDateTime),
    Column("plain", DateTime),
)
FIND: Lookup[object] = Lookup(
    select(_things.c.number, _things.c.at).where(
        _things.c.number >= bindparam("least"), _things.c.name == bindparam("name")
    ),
    lambda number, at: (number, at),
    "name",
    "least",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with a thing."""
    file = tmp_path / "x.sqlite"
    run_sql(file, "CREATE TABLE things (name TEXT PRIMARY KEY, number INTEGER, at DATETIME, plain DATETIME)")
    run_sql(
        file, "INSERT INTO things VALUES ('a', 7, '2026-03-04 05:06:07.000008', NULL), ('b', 8, NULL, NULL)"
    )
    return file


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    """What is tested; it waits for a lock for a short time only."""
    opened = Database(f"sqlite:///{path}", busy_timeout_seconds=0.1)
    yield opened
    opened.close()


async def test_finds(database: Database) -> None:
    """A row is found by values in the order that the look-up names, with its columns as their types want them."""
    found = await database.look_up(FIND, "a", 7)
    assert found == (7, datetime(2026, 3, 4, 5, 6, 7, 8, tzinfo=UTC))
    assert await database.look_up(FIND, "b", 1) == (8, None)
    assert await database.look_up(FIND, "a", 8) is None
    assert await database.look_up(FIND, "a' OR 1=1 --", 0) is None


async def test_what_was_committed_is_seen(database: Database, path: Path) -> None:
    """A look-up sees what any program has committed before, and keeps no lock itself."""
    for number in range(10, 20):
        assert await database.look_up(FIND, "a", number) is None
        run_sql(path, "UPDATE things SET number = ?", number)
        assert await database.look_up(FIND, "a", number) is not None


async def test_several_together(database: Database) -> None:
    """Several look-ups may go one way."""

    def both() -> list[object]:
        return [database.look_up_now(FIND, name, 0) for name in ("a", "b", "c")]

    assert [found is not None for found in await database.look_up_with(both)] == [True, True, False]


async def test_locked(database: Database, path: Path) -> None:
    """Another program's lock is an error with the time to wait; afterwards it goes on."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UnavailableError, match="locked by another program") as raised:
            await database.look_up(FIND, "a", 0)
        assert raised.value.retry_after_seconds == 2
    assert await database.look_up(FIND, "a", 0) is not None


async def test_missing_file(tmp_path: Path) -> None:
    """A database that cannot be opened is away."""
    database = Database(f"sqlite:///{tmp_path}/no/such/folder/x.sqlite")
    with pytest.raises(UnavailableError, match="doctor"):
        await database.look_up(FIND, "a", 0)
    database.close()


async def test_closed(database: Database) -> None:
    """Who looks something up in a box that is being closed is told so."""
    assert await database.look_up(FIND, "a", 0) is not None
    await asyncio.to_thread(database.close)
    with pytest.raises(UnavailableError, match="stopping"):
        await database.look_up(FIND, "a", 0)
    with pytest.raises(UnavailableError, match="stopping"):
        database.look_up_now(FIND, "a", 0)


async def test_a_commit_that_waits_for_a_long_read(database: Database) -> None:
    """While a commit waits for a read that takes long, look-ups go on, and then the commit is made."""
    begun, go_on = threading.Event(), threading.Event()

    def read(_: Connection) -> None:
        begun.set()
        go_on.wait(20)

    def change(connection: Connection) -> None:
        connection.execute(text("UPDATE things SET number = 100"))

    reading = asyncio.ensure_future(database.read(read))
    await asyncio.to_thread(begun.wait, 10)
    changing = asyncio.ensure_future(database.write(change))
    turns = database._turns
    assert turns is not None
    async with asyncio.timeout(10):
        while not turns._committing:
            await asyncio.sleep(0.001)
        for _ in range(20):
            assert await database.look_up(FIND, "a", 7) == (7, datetime(2026, 3, 4, 5, 6, 7, 8, tzinfo=UTC))
        assert not changing.done()
        go_on.set()
        await reading
        await changing
    found = await database.look_up(FIND, "a", 100)
    assert found is not None


async def test_no_look_up_falls_into_a_commit(database: Database) -> None:
    """Look-ups and commits without a pause make nobody fail: with a lock that is waited for 0.1 s only."""

    def change(connection: Connection) -> None:
        connection.execute(text("UPDATE things SET number = number + 1"))

    async def look() -> None:
        for _ in range(100):
            assert await database.look_up(FIND, "a", 0) is not None

    await asyncio.gather(*(look() for _ in range(4)), *(database.write(change) for _ in range(100)))


async def test_accounts_and_sessions(runtime: Runtime) -> None:
    """On each database an account is found exactly as it is now, and a session with it."""
    service, authenticator = runtime.service, runtime.authenticator()
    await service.add(CONSOLE, USER, PASSWORD, (), "1G")
    account = await service.account(USER)
    assert account == Account(USER, account.password_hash, (), "1G")
    assert await runtime.database.look_up(accounts.FIND, USER) == account
    for stranger in (USER.upper(), USER + " ", "x" * 1000, "ü@example.com"):
        with pytest.raises(UnknownUserError):
            await service.account(stranger)
    key = await authenticator.open_session(account, API)
    assert await authenticator._by_session(key, API) == account
    await service.set_quota(CONSOLE, USER, "2G")
    found = await authenticator._by_session(key, API)
    assert found is not None
    assert found.quota == "2G"
    await service.archive(CONSOLE, USER)
    assert await authenticator._by_session(key, API) is None


_END_OTHERS = {
    "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    " AND datname = current_database()",
    "mariadb": "SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND db = 'mail'",
}


async def test_a_server_that_ends_connections(runtime: Runtime) -> None:
    """Where a server was restarted, or has ended connections that were idle, nobody notices."""
    await runtime.service.add(CONSOLE, USER, PASSWORD)
    await asyncio.gather(*(runtime.service.account(USER) for _ in range(20)))

    def end_others(connection: Connection) -> None:
        rows = connection.execute(text(_END_OTHERS[connection.dialect.name])).all()
        if connection.dialect.name == "mariadb":
            for (number,) in rows:
                connection.execute(text(f"KILL {int(number)}"))

    if not runtime.database.is_sqlite:
        await runtime.database.read(end_others)
    found = await asyncio.gather(*(runtime.service.account(USER) for _ in range(20)))
    assert {account.email for account in found} == {USER}
