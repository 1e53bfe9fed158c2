"""Transactions: nothing is lost, nothing half is kept, and trouble is said in our own words."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from mailusers_plugin.errors import ConfigurationError, UnavailableError
from mailusers_plugin.store.database import Database
from tests.support import run_sql


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with a counter."""
    file = tmp_path / "x.sqlite"
    run_sql(file, "CREATE TABLE counter (n INTEGER)")
    run_sql(file, "INSERT INTO counter VALUES (0)")
    return file


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    """What is tested; it waits for a lock for a short time only."""
    opened = Database(f"sqlite:///{path}", busy_timeout_seconds=0.1)
    yield opened
    opened.close()


def increment(connection: Connection, fail: bool = False) -> int:
    """Read, then write what depends on it."""
    n = int(connection.execute(text("SELECT n FROM counter")).scalar_one())
    connection.execute(text("UPDATE counter SET n = :n"), {"n": n + 1})
    if fail:
        raise LookupError("no")
    return n + 1


def current(connection: Connection) -> int:
    """Read the counter."""
    return int(connection.execute(text("SELECT n FROM counter")).scalar_one())


async def test_no_update_is_lost(database: Database, path: Path) -> None:
    """Transactions that read and then write follow one another, through one database object or two."""
    other = Database(f"sqlite:///{path}", busy_timeout_seconds=30)
    patient = Database(f"sqlite:///{path}", busy_timeout_seconds=30)
    await asyncio.gather(*((other, patient)[n % 2].write(increment) for n in range(100)))
    assert await database.read(current) == 100
    for each in (other, patient):
        each.close()


async def test_failure_rolls_back(database: Database) -> None:
    """What raises leaves nothing behind, and what it raised arrives."""
    with pytest.raises(LookupError):
        await database.write(increment, fail=True)
    assert await database.read(current) == 0


async def test_change_survives_its_caller(database: Database) -> None:
    """A change that began is carried out though its caller goes away."""
    task = asyncio.ensure_future(database.write(increment))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await database.write(increment) == 2


async def test_locked(database: Database, path: Path) -> None:
    """Another program's lock is an error with the time to wait, and reading goes on where it can."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="locked by another program") as raised:
            await database.write(increment)
        assert raised.value.retry_after_seconds == 2
        assert await database.read(current) == 0
    assert await database.write(increment) == 1


async def test_statement_is_not_told(database: Database) -> None:
    """An error holds neither the statement nor its parameters."""
    with pytest.raises(UnavailableError) as raised:
        await database.read(
            lambda connection: connection.execute(text("SELECT :s FROM nowhere"), {"s": "secret"})
        )
    assert "secret" not in str(raised.value)
    assert "SELECT" not in str(raised.value)


async def test_missing_file(tmp_path: Path) -> None:
    """A database that cannot be opened is away."""
    database = Database(f"sqlite:///{tmp_path}/no/such/folder/x.sqlite")
    with pytest.raises(UnavailableError, match="doctor"):
        await database.read(current)
    database.close()


async def test_not_a_database(tmp_path: Path) -> None:
    """A file that is no database is an error of ours too."""
    (tmp_path / "x").write_bytes(b"garbage" * 1000)
    database = Database(f"sqlite:///{tmp_path}/x")
    with pytest.raises(UnavailableError):
        await database.read(current)
    database.close()


@pytest.mark.parametrize("url", ["", "nonsense", "nosuch://x", "sqlite+nosuch:///x", "oracle://x"])
def test_impossible_url(url: str) -> None:
    """A URL that is not possible, or whose driver is missing, is said with those that are."""
    with pytest.raises(ConfigurationError, match="The database URL is not possible"):
        Database(url)


def test_durable(database: Database) -> None:
    """Commits survive a power cut: SQLite waits for the disk, and keeps foreign keys."""

    def pragmas(connection: Connection) -> tuple[object, object]:
        return (
            connection.exec_driver_sql("PRAGMA synchronous").scalar(),
            connection.exec_driver_sql("PRAGMA foreign_keys").scalar(),
        )

    assert database.read_now(pragmas) == (2, 1)
    assert database.write_now(pragmas) == (2, 1)


def test_closing_waits_for_readers(path: Path, database: Database) -> None:
    """A read in a thread of somebody else's ends before its connection is closed, and none begins after that."""
    begun, go_on = threading.Event(), threading.Event()
    seen: list[int] = []

    def read(connection: Connection) -> None:
        begun.set()
        go_on.wait(10)
        seen.append(int(connection.execute(text("SELECT n FROM counter")).scalar_one()))

    reader = threading.Thread(target=database.read_now, args=(read,))
    reader.start()
    assert begun.wait(10)
    closer = threading.Thread(target=database.close)
    closer.start()
    closer.join(0.1)
    assert closer.is_alive()
    go_on.set()
    closer.join(10)
    reader.join(10)
    assert seen == [0]
    with pytest.raises(UnavailableError, match="stopping"):
        database.read_now(read)


async def test_closed(database: Database) -> None:
    """Whoever comes after the end is told that the server is stopping, whatever it wants."""
    database.close()
    for call in (database.read, database.write):
        with pytest.raises(UnavailableError, match="stopping"):
            await call(current)
    with pytest.raises(UnavailableError, match="stopping"):
        database.write_now(current)
