"""Whether a SQLite file was changed by us or by another program."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from mailusers_plugin.store.database import Connection, Database
from tests.support import run_sql


@pytest.fixture(params=["delete", "wal"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A database with a table, in either journal mode."""
    file = tmp_path / "x.sqlite"
    run_sql(file, f"PRAGMA journal_mode = {request.param}")
    run_sql(file, "CREATE TABLE t (n INTEGER)")
    return file


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    """What is tested."""
    opened = Database(f"sqlite:///{path}")
    yield opened
    opened.close()


def insert(connection: Connection) -> None:
    """A change of ours."""
    connection.execute(text("INSERT INTO t VALUES (1)"))


def tick() -> None:
    """Let the file system's clock go on."""
    time.sleep(0.02)


def test_our_own_changes_are_not_foreign(database: Database) -> None:
    """Reading and writing through the database count as ours, once its files are there."""
    database.write_now(insert)
    before = database.foreign_changes()
    for _ in range(3):
        database.write_now(insert)
        database.read_now(lambda connection: connection.execute(text("SELECT * FROM t")).all())
        tick()
    assert database.foreign_changes() == before


def test_another_program_is_noticed(database: Database, path: Path) -> None:
    """A commit through another connection counts, once."""
    with contextlib.closing(sqlite3.connect(path)) as other:
        for _ in range(2):
            tick()
            before = database.foreign_changes()
            with other:
                other.execute("INSERT INTO t VALUES (2)")
            assert database.foreign_changes() == before + 1
            assert database.foreign_changes() == before + 1


def test_another_program_just_before_us_is_noticed(database: Database, path: Path) -> None:
    """A foreign change is not taken for ours because ours came after it, before anybody looked."""
    database.write_now(insert)
    before = database.foreign_changes()
    tick()
    with contextlib.closing(sqlite3.connect(path)) as other, other:
        other.execute("INSERT INTO t VALUES (2)")
    tick()
    database.write_now(insert)
    assert database.foreign_changes() > before


def test_a_file_that_was_replaced_is_noticed(database: Database, path: Path) -> None:
    """A restored backup counts, also with an old time."""
    copy = path.with_suffix(".copy")
    copy.write_bytes(path.read_bytes())
    before = database.foreign_changes()
    os.utime(copy, (1, 1))
    copy.replace(path)
    assert database.foreign_changes() == before + 1
