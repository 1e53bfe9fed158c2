"""The file into which Dovecot writes sizes on SQLite, and comparing it with what we know."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailusers_plugin.errors import ConfigurationError
from mailusers_plugin.models import Usage
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import quota_clone, usage
from tests.support import QUICK, run_sql

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    """A box whose sizes Dovecot writes."""
    opened = Runtime(Settings(storage_root=tmp_path / "box", **{**QUICK, "usage_source": "quota_clone"}))
    yield opened
    opened.close()


def write(runtime: Runtime, email: str, box_bytes: object, messages: object = 1) -> None:
    """Write as Dovecot does."""
    statement = "INSERT OR REPLACE INTO mailusers_quota (email, box_bytes, messages) VALUES (?, ?, ?)"
    run_sql(runtime.settings.usage_file, statement, email, box_bytes, messages)


def known(runtime: Runtime) -> dict[str, tuple[int, int]]:
    """Return the sizes that we know."""
    found = runtime.state.read_now(usage.known)
    return {email: (size.box_bytes, size.messages) for email, size in found.items()}


def test_the_file_is_dovecots_alone(runtime: Runtime) -> None:
    """The file and its folder are for one user, and nothing of the box's own files is in there."""
    file = runtime.settings.usage_file
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert run_sql(file, "SELECT name FROM sqlite_master WHERE type = 'table'") == [("mailusers_quota",)]
    assert run_sql(file, "PRAGMA journal_mode") == [("wal",)]
    assert not list(file.parent.parent.glob(".mailusers-*"))


def test_what_is_there_is_kept(runtime: Runtime) -> None:
    """Opening the box again changes neither the file nor its owner and mode."""
    file = runtime.settings.usage_file
    write(runtime, "user@example.com", 5)
    file.chmod(0o660)
    before = file.stat().st_ino
    Runtime(runtime.settings).close()
    assert file.stat().st_ino == before
    assert stat.S_IMODE(file.stat().st_mode) == 0o660
    assert run_sql(file, "SELECT box_bytes FROM mailusers_quota") == [(5,)]


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_something_else_is_there(tmp_path: Path, kind: str) -> None:
    """A link is not followed, for Dovecot's user could have put it there; it says what to do."""
    settings = Settings(storage_root=tmp_path / "box", **{**QUICK, "usage_source": "quota_clone"})
    Runtime(settings).close()
    settings.usage_file.unlink()
    if kind == "link":
        settings.usage_file.symlink_to(tmp_path / "box" / "mailusers" / "state.sqlite")
    else:
        settings.usage_file.mkdir()
    with pytest.raises(ConfigurationError, match="not a plain file"):
        Runtime(settings)


def test_a_file_that_cannot_be_made(tmp_path: Path) -> None:
    """Where the file cannot be made, that is said with the file's name and what else there is to do."""
    settings = Settings(storage_root=tmp_path / "box", **QUICK)
    Runtime(settings).close()
    settings.usage_file.parent.write_text("a file where the folder should be")
    with pytest.raises(ConfigurationError, match=r"usage\.sqlite.*usage_source"):
        Runtime(replace(settings, usage_source="quota_clone"))


def test_only_what_differs_is_read(runtime: Runtime) -> None:
    """What is new or changed is told, a window at a time; a size below zero is zero, and told once."""
    many = quota_clone._WINDOW + 500
    fill = (
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1) "
        "INSERT INTO mailusers_quota SELECT 'user' || i || '@example.com', i, 1 FROM n"
    )
    run_sql(runtime.settings.usage_file, fill, many)
    assert runtime.usage.run() == many
    assert runtime.usage.run() == 0
    write(runtime, "user7@example.com", 70)
    write(runtime, "user8@example.com", 8, 2)
    write(runtime, "user9@example.com", -90, -1)
    assert runtime.usage.run() == 3
    assert runtime.usage.run() == 0
    found = known(runtime)
    assert [found[f"user{number}@example.com"] for number in (7, 8, 9)] == [(70, 1), (8, 2), (0, 0)]
    assert len(found) == many


def test_what_dovecot_says_nothing_of_stays(runtime: Runtime) -> None:
    """A size that was known before is kept until Dovecot writes another one."""
    size = Usage(5, 1, 0, NOW)
    runtime.state.write_now(usage.replace, {"old@example.com": size, "new@example.com": size})
    write(runtime, "new@example.com", 7)
    assert runtime.usage.run() == 1
    assert known(runtime) == {"old@example.com": (5, 1), "new@example.com": (7, 1)}


def test_nobody_waits(runtime: Runtime) -> None:
    """Dovecot can write while we read, and is not kept out for a moment."""
    source = runtime.usage.source
    write(runtime, "user@example.com", 5)
    with source.database.engine.begin() as connection:  # type: ignore[attr-defined]
        assert quota_clone.window(connection, "") == ({"user@example.com": (5, 1)}, "user@example.com")
        write(runtime, "user@example.com", 6)
    assert runtime.usage.run() == 1
    assert known(runtime) == {"user@example.com": (6, 1)}
