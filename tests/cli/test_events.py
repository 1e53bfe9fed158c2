"""``mailusers events`` and ``settings``."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
from pathlib import Path

import pytest

from tests.cli.support import Shell

BOSS = "boss@example.com"


@pytest.fixture
def failing(shell: Shell, tmp_path: Path) -> dict[str, str]:
    """The environment of a box whose doveadm fails, and whose deliveries are tried once only."""
    program = tmp_path / "doveadm"
    program.write_text("#!/bin/sh\necho broken >&2\nexit 75\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"MAILUSERS_DOVEADM": str(program), "MAILUSERS_HOOK_ATTEMPTS": "1"}


def test_failed_deliveries_are_listed_and_tried_again(shell: Shell, failing: dict[str, str]) -> None:
    """What has failed for good is listed with its reason, until it is tried again and succeeds."""
    added = shell.run(
        "user", "add", BOSS, "--admin", "--password-stdin", stdin="correct horse battery\n", **failing
    )
    assert added.stdout == "mail user added\n"
    (row,) = shell.json("events", "list")
    assert (row["type"], row["email"], row["implementation"]) == ("UserAdded", BOSS, "dovecot")
    assert row["state"] == "failed"
    assert row["error"].endswith(" ended with 75: broken")
    assert f"{BOSS} -> dovecot: failed after 1: doveadm" in shell.run("events", "list").stdout
    assert shell.run("events", "retry", "no-such-event").stdout == "0 deliveries were tried again.\n"
    again = shell.run("events", "retry", row["id"], **failing)
    assert again.stdout == "1 deliveries were tried again; not all succeeded, see events list.\n"
    assert [row["state"] for row in shell.json("events", "list")] == ["failed"]
    # The cause is mended.
    assert shell.run("events", "retry", row["id"]).stdout == "1 deliveries were tried again.\n"
    assert shell.json("events", "list") == []
    done = shell.json("events", "list", "--all")
    assert {row["state"] for row in done} == {"done"}


def test_forget(shell: Shell) -> None:
    """A module that is gone is forgotten, with what waited for it."""
    shell.add(BOSS, "--admin")
    with contextlib.closing(sqlite3.connect(shell.storage / "mailusers" / "state.sqlite")) as state, state:
        state.execute("UPDATE mailusers_delivery SET implementation = 'gone', state = 'pending'")
    assert shell.run("events", "forget", "gone").stdout == "1 unfinished deliveries were dropped.\n"
    assert shell.json("events", "list") == []


def test_settings_and_their_sources(shell: Shell, tmp_path: Path) -> None:
    """Every setting is printed with where it comes from, and a password in the URL is not."""
    file = tmp_path / "settings.toml"
    file.write_text('default_quota = "5G"\ndatabase = "postgresql+psycopg://me:secret@db/mail"\n')
    found = shell.json("settings", "--config", str(file))
    assert found["default_quota"]["source"] == f"file {file}"
    assert found["storage_root"]["source"] == "environment"
    assert found["realm"]["source"] == "default"
    assert "secret" not in str(found)
    assert "postgresql+psycopg://me:***@db/mail" in shell.run("settings", "--config", str(file)).stdout


def test_a_wrong_setting_is_named(shell: Shell) -> None:
    """A setting that does not fit is named, with where it comes from."""
    result = shell.run("user", "list", MAILUSERS_HOOK_ATTEMPTS="many")
    assert result.exit_code == 1
    assert "hook_attempts from environment is not possible: 'many'" in result.stderr


def test_a_locked_database_is_worth_another_try(shell: Shell) -> None:
    """Where another program holds the lock for too long the exit code says: try again later."""
    shell.add(BOSS, "--admin")
    file = shell.storage / "mail" / "users.sqlite"
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        result = shell.run("user", "quota", BOSS, "1G", MAILUSERS_BUSY_TIMEOUT_SECONDS="0.1")
    assert result.exit_code == 75
    assert "locked by another program" in result.stderr
    assert shell.run("user", "quota", BOSS, "1G").exit_code == 0
