"""Making a SQLite box and looking into it by files, which is quicker than a command in a process of its own."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from mailusers_plugin.models import ADMIN, Actor
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from tests.servers.clients import wait_until
from tests.support import BOSS, PASSWORD, QUICK, run_sql


def make_box(storage: Path) -> None:
    """Make a box with an administrator, of whom nobody is told yet."""
    # Owners are not given: in a namespace of its own a test has no other users.
    (storage / "mail" / "mailboxes").mkdir(parents=True, exist_ok=True)
    files_of(storage)[0].touch(0o600)
    runtime = Runtime(Settings(storage_root=storage, **QUICK))
    try:
        asyncio.run(runtime.service.add(Actor(None, "cli"), BOSS, PASSWORD, (ADMIN,)))
    finally:
        runtime.close()


def files_of(storage: Path) -> tuple[Path, Path]:
    """Return the accounts' file and that of events and deliveries."""
    return storage / "mail" / "users.sqlite", storage / "mailusers" / "state.sqlite"


def users_of(storage: Path) -> list[str]:
    """Return who is in the file that has the name."""
    return sorted(email for (email,) in run_sql(files_of(storage)[0], "SELECT email FROM users"))


def audited_in(storage: Path) -> list[tuple[str, str, str]]:
    """Return type, address and detail of what was changed by the audit trail, oldest first; log-ins are left out."""
    query = "SELECT type, email, detail FROM mailusers_audit WHERE type NOT LIKE 'Log%' ORDER BY seq"
    return [(type_, email, detail) for type_, email, detail in run_sql(files_of(storage)[1], query)]


def wait_until_told(storage: Path, *, timeout_seconds: float = 60) -> None:
    """Wait until every event has been delivered to everybody."""
    accounts, state = files_of(storage)

    def done() -> bool:
        events = {id_ for (id_,) in run_sql(accounts, "SELECT id FROM mailusers_outbox")}
        known = {id_ for (id_,) in run_sql(state, "SELECT id FROM mailusers_event")}
        (open_,) = run_sql(state, "SELECT count(*) FROM mailusers_delivery WHERE state <> 'done'")
        return events <= known and open_ == (0,)

    wait_until(done, timeout_seconds=timeout_seconds, message="all deliveries")


def check_integrity(storage: Path) -> None:
    """Ask SQLite whether both files are whole."""
    for file in files_of(storage):
        with closing(sqlite3.connect(file, timeout=20)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], file
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == [], file
