"""Connections follow the name of a SQLite file, whatever they were doing when another file took it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import bindparam, column, select, table, text

from mailusers_plugin.errors import UnavailableError
from mailusers_plugin.store.database import Connection, Database
from mailusers_plugin.store.lookups import Lookup
from tests.support import run_sql

OLD, NEW = 1, 2
FIND = Lookup(select(column("n")).select_from(table("t")).where(column("k") == bindparam("k")), int, "k")


def make(path: Path, number: int, journal: str) -> None:
    """Make a database that holds a number."""
    run_sql(path, f"PRAGMA journal_mode = {journal}")
    run_sql(path, "CREATE TABLE t (k INTEGER PRIMARY KEY, n INTEGER)")
    run_sql(path, "INSERT INTO t VALUES (1, ?)", number)
    if journal == "wal":
        run_sql(path, "PRAGMA journal_mode = DELETE")
        run_sql(path, "PRAGMA journal_mode = WAL")


@pytest.fixture(params=["delete", "wal"])
def paths(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """The file that is used, and the one that is to take its place."""
    used, other = tmp_path / "x.sqlite", tmp_path / "other.sqlite"
    make(used, OLD, request.param)
    make(other, NEW, request.param)
    return used, other


@pytest.fixture(params=[True, False], ids=["shared", "ours"])
def database(request: pytest.FixtureRequest, paths: tuple[Path, Path]) -> Iterator[Database]:
    """What is tested, with something of it in the write-ahead log where there is one."""
    opened = Database(f"sqlite:///{paths[0]}", shared=request.param)
    assert opened.write_now(put, 1, OLD) is None
    yield opened
    opened.close()


def put(connection: Connection, key: int, number: int) -> None:
    """Store a number."""
    connection.execute(text("REPLACE INTO t VALUES (:k, :n)"), {"k": key, "n": number})


def get(connection: Connection) -> int:
    """Return the first number."""
    return int(connection.execute(text("SELECT n FROM t WHERE k = 1")).scalar_one())


def test_every_way_of_asking(database: Database, paths: tuple[Path, Path]) -> None:
    """Reads, look-ups, long reads and writes are of the new file from the moment on that it has the name."""
    assert (database.read_now(get), database.look_up_now(FIND, 1)) == (OLD, OLD)
    paths[1].replace(paths[0])
    assert database.look_up_now(FIND, 1) == NEW
    assert database.read_now(get) == NEW
    with database.long_reading().connect() as connection:
        assert get(connection) == NEW
    database.write_now(put, 2, 5)
    assert database.replacements == 1
    assert run_sql(paths[0], "SELECT * FROM t ORDER BY k") == [(1, NEW), (2, 5)]
    assert run_sql(paths[0], "PRAGMA integrity_check") == [("ok",)]


def test_in_the_middle_of_a_change(database: Database, paths: tuple[Path, Path]) -> None:
    """A change during which the file is replaced is refused, and is nowhere; the next one is in the new file."""

    def change(connection: Connection) -> None:
        put(connection, 2, 5)
        paths[1].replace(paths[0])

    with pytest.raises(UnavailableError, match="was replaced") as refused:
        database.write_now(change)
    assert refused.value.retry_after_seconds > 0
    assert run_sql(paths[0], "SELECT * FROM t ORDER BY k") == [(1, NEW)]
    database.write_now(put, 3, 6)
    assert run_sql(paths[0], "SELECT * FROM t ORDER BY k") == [(1, NEW), (3, 6)]


def test_in_the_middle_of_a_read(database: Database, paths: tuple[Path, Path]) -> None:
    """A read that has begun sees the file that it began with to its end, and others do not wait for it."""
    begun, go_on = threading.Event(), threading.Event()
    seen: list[int] = []

    def read(connection: Connection) -> None:
        seen.append(get(connection))
        begun.set()
        assert go_on.wait(10)
        seen.append(get(connection))

    reader = threading.Thread(target=database.read_now, args=(read,))
    reader.start()
    assert begun.wait(10)
    paths[1].replace(paths[0])
    assert database.look_up_now(FIND, 1) == NEW
    go_on.set()
    reader.join(10)
    assert seen == [OLD, OLD]
    assert database.read_now(get) == NEW


def test_away(database: Database, paths: tuple[Path, Path]) -> None:
    """Where nothing has the name nothing is made there, and it is said so."""
    paths[0].unlink()
    with pytest.raises(UnavailableError, match="is not there"):
        database.read_now(get)
    with pytest.raises(UnavailableError, match="is not there"):
        database.look_up_now(FIND, 1)
    with pytest.raises(UnavailableError, match="is not there"):
        database.write_now(put, 2, 5)
    with pytest.raises(UnavailableError, match="is not there"):
        database.long_reading()
    assert not paths[0].exists()
    paths[1].replace(paths[0])
    assert database.read_now(get) == NEW
