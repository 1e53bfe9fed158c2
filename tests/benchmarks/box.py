"""Boxes for measuring: many users, a panel in a process of its own."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mailusers_plugin.passwords import Passwords
from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from tests.servers.panel import PanelProcess

ADMIN = "boss@example.com"
PASSWORD = "correct horse battery"
ENVIRONMENT = {
    "MAILUSERS_DOVEADM": "",
    "MAILUSERS_PASSWORD_SCHEME": "ARGON2ID",
    "MAILUSERS_USAGE_INTERVAL_SECONDS": "0",
}


@contextlib.contextmanager
def panel_with(users: int) -> Iterator[PanelProcess]:
    """Give a running panel whose box has an administrator and many users in domains of unequal size."""
    with tempfile.TemporaryDirectory(prefix="mailusers-bench-") as folder:
        storage = Path(folder) / "box"
        Runtime(Settings(storage_root=storage, doveadm=(), password_scheme="ARGON2ID")).close()
        fill(storage / "mail" / "users.sqlite", users)
        with PanelProcess(storage, environment=ENVIRONMENT) as panel:
            yield panel


def fill(database: Path, users: int) -> None:
    """Insert users as another program would: the same hash for all, for making it is not what is measured."""
    stored = Passwords("ARGON2ID").hash_now(PASSWORD)
    chance = random.Random(1)
    domains = [f"domain{number}.example.com" for number in range(max(1, users // 50))]
    # Few large domains and many small ones.
    weights = [1 / (rank + 1) for rank in range(len(domains))]
    chosen = chance.choices(domains, weights, k=users)
    rows = [
        (f"user{number}@{domain}", stored, "", f"{chance.randint(1, 50)}G")
        for number, domain in enumerate(chosen)
    ]
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        insert = "INSERT INTO users (email, password, privileges, quota) VALUES (?, ?, ?, ?)"
        connection.execute(insert, (ADMIN, stored, "admin", "0"))
        connection.executemany(insert, rows)
