"""Measures the audit trail: adding to it, a page of it, and checking it, at a thousand entries and at a million.

``python -m tests.benchmarks.audit`` prints a table; ``--engines`` also measures PostgreSQL and MariaDB. Beside adding
an entry stands a commit of one row without a chain, beside a page the newest fifty rows by number without a filter,
beside checking the bare hashes of as many entries in memory.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, insert, select

from mailusers_plugin.runtime import Runtime
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import audit, audit_chain, schema
from mailusers_plugin.store.audit_schema import entries
from mailusers_plugin.store.database import Database
from mailusers_plugin.trail_models import GENESIS, Entry, TrailFilter
from tests.servers.databases import mariadb, postgresql
from tests.support import QUICK

SIZES = (1_000, 1_000_000)
AT_ONCE = 500
SAMPLES = 200
BEGAN = datetime(2025, 1, 1, tzinfo=UTC)
BOSS = "boss@example.com"

FILTERS = {
    "page: everything": TrailFilter(),
    "page: address": TrailFilter(email="user77@example.com"),
    "page: actor": TrailFilter(actor=BOSS),
    "page: type": TrailFilter(type="QuotaChanged"),
    "page: actor and rare type": TrailFilter(actor=BOSS, type="UserPurged"),
    "page: a day long ago": TrailFilter(since=BEGAN, until=BEGAN + timedelta(seconds=500)),
    "page: type, long ago": TrailFilter(type="QuotaChanged", until=BEGAN + timedelta(seconds=500)),
}


def made(number: int) -> Entry:
    """Make an entry; one in a thousand is of a rare type."""
    type_ = (
        "UserPurged" if number % 1000 == 999 else ("QuotaChanged", "LoggedIn", "PasswordChanged")[number % 3]
    )
    return Entry.made(
        type_,
        email=f"user{number % 20_000}@example.com",
        actor=BOSS if number % 2 else f"admin{number % 7}@example.com",
        via="basic",
        ip="192.0.2.7",
        detail={"old_quota": "0", "new_quota": "5G", "old_quota_bytes": 0, "new_quota_bytes": 5 * 2**30},
        time=BEGAN + timedelta(seconds=number),
    )


def milliseconds(call: Callable[[], object], samples: int = SAMPLES) -> float:
    """Return how long something takes, at the median."""
    found = []
    for _ in range(samples):
        began = time.perf_counter()
        call()
        found.append((time.perf_counter() - began) * 1000)
    return statistics.median(found)


def plain_row(connection: Connection, number: int) -> None:
    """Write one row of about the same size without a chain."""
    now = datetime.now(UTC)
    body = "x" * 300
    values = {"id": f"bench{number}", "type": "None", "email": BOSS, "time": now, "body": body}
    connection.execute(insert(schema.event).values(values))


def newest(connection: Connection) -> None:
    """Read the newest fifty rows by the primary key."""
    connection.execute(select(entries).order_by(entries.c.seq.desc()).limit(50)).all()


def bare_hashes(count: int) -> float:
    """Return how many seconds the hashes of so many entries take, one after the other."""
    entry, previous = made(1), GENESIS
    began = time.perf_counter()
    for seq in range(count):
        content = (entry.time, entry.type, entry.actor, entry.via, entry.ip, entry.email, entry.detail)
        previous = audit_chain.link(previous, seq, entry.id, *content)
    return time.perf_counter() - began


def measure(label: str, state: Database, sizes: tuple[int, ...]) -> None:
    """Print the rows of one database."""
    count = numbers = 0
    for size in sizes:
        began = time.perf_counter()
        with state.transaction(large=True) as connection:
            for first in range(count, size, AT_ONCE):
                some = [made(number) for number in range(first, min(first + AT_ONCE, size))]
                audit_chain.append(connection, some)
        rate = (size - count) / (time.perf_counter() - began)
        count = size

        def one() -> None:
            state.write_now(audit_chain.append, [made(1)])

        def plain() -> None:
            nonlocal numbers
            numbers += 1
            state.write_now(plain_row, numbers)

        rows: list[tuple[str, str, str]] = [
            ("add one entry", f"{milliseconds(one):.2f} ms", f"{milliseconds(plain):.2f} ms"),
            (f"add {AT_ONCE} at a time, in one transaction", f"{rate:.0f}/s", ""),
        ]
        baseline = milliseconds(lambda: state.read_now(newest))
        for name, wanted in FILTERS.items():
            took = milliseconds(lambda wanted=wanted: state.read_now(audit.page, wanted, None, 50))  # type: ignore[misc]
            rows.append((name, f"{took:.2f} ms", f"{baseline:.2f} ms"))
        rows.append(("types for the menu", f"{milliseconds(lambda: state.read_now(audit.types)):.2f} ms", ""))
        began = time.perf_counter()
        verdict = state.read_now(audit_chain.verify)
        took = time.perf_counter() - began
        assert verdict.fault is None
        rows.append((f"check {verdict.checked}", f"{took:.2f} s", f"{bare_hashes(verdict.checked):.2f} s"))
        for what, found, beside in rows:
            print(f"| {label} | {size} | {what} | {found} | {beside} |", flush=True)


@contextlib.contextmanager
def opened(database: str) -> Iterator[Database]:
    """Open an empty box's trail."""
    with tempfile.TemporaryDirectory(prefix="mailusers-bench-") as folder:
        runtime = Runtime(Settings(storage_root=Path(folder) / "box", database=database, **QUICK))
        try:
            yield runtime.state
        finally:
            runtime.close()


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--engines", action="store_true", help="also PostgreSQL and MariaDB")
    arguments.add_argument("--entries", type=int, default=SIZES[-1], help="how many at the end")
    given = arguments.parse_args()
    sizes = (SIZES[0], given.entries)
    print("| database | entries | what | took | baseline |\n| --- | --- | --- | --- | --- |", flush=True)
    with opened("") as state:
        measure("SQLite", state, sizes)
    if given.engines:
        for label, server in (("PostgreSQL", postgresql), ("MariaDB", mariadb)):
            with server() as url, opened(url) as state:
                measure(label, state, sizes)


if __name__ == "__main__":
    main()
