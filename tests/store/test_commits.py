"""The one writer of a SQLite file."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from mailusers_plugin.store.database import Database

PATIENCE_SECONDS = 10


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A file whose commits keep a distance of a minute."""
    database = Database(f"sqlite:///{tmp_path / 'x.sqlite'}", pause_seconds=60)
    yield database
    database.close()


def put(connection: Connection, number: int) -> None:
    """Write something."""
    connection.execute(text("CREATE TABLE IF NOT EXISTS numbers (number)"))
    connection.execute(text("INSERT INTO numbers VALUES (:number)"), {"number": number})


def test_commits_keep_a_distance(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second change waits until the distance is kept."""
    slept: list[float] = []
    monkeypatch.setattr("mailusers_plugin.store.commits.time.sleep", slept.append)
    for number in range(2):
        database._submit(partial(put, number=number)).result(PATIENCE_SECONDS)
    assert len(slept) == 1
    assert 0 < slept[0] <= 60


def test_no_change_is_left_behind(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system does not let the writer sleep, what waits is carried out all the same."""

    def refuse(_: float) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("mailusers_plugin.store.commits.time.sleep", refuse)
    for number in range(3):
        database._submit(partial(put, number=number)).result(PATIENCE_SECONDS)
    found = database.read_now(lambda connection: connection.execute(text("SELECT number FROM numbers")).all())
    assert [number for (number,) in found] == [0, 1, 2]
