"""Boxes for measuring: any number of users in few large and many small domains, with sizes; a panel in a process.

``python -m tests.benchmarks.box N FOLDER`` makes a box of N users; a million take some 20 s and 0.5 GB. With
``--built`` the list of users is made at once, with ``--maildirs`` each mailbox is on the disk with its ``maildirsize``.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

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
USERS_PER_DOMAIN = 50
"""On average; by Zipf's law the largest of 20 000 domains has a tenth of all users."""
ARCHIVED_SHARE = 0.03
UNMEASURED_SHARE = 0.02
MEDIAN_BYTES = 300 * 2**20
MESSAGE_BYTES = 75_000
_QUOTAS = ("0", "500M", "1G", "2G", "5G", "10G", "50G")
_QUOTA_WEIGHTS = (5, 10, 20, 20, 30, 10, 5)
_UNITS = {"M": 2**20, "G": 2**30}
_BATCH = 50_000
_TIME = "2026-03-04 05:06:07.000000"


@dataclass(frozen=True, slots=True)
class Person:
    """A made-up user.

    :ivar archived: whether only the mailbox is left
    :ivar box_bytes: what is in it, ``None`` where that is not known
    """

    email: str
    privileges: str
    quota: str
    archived: bool
    box_bytes: int | None


def people(users: int, seed: int = 1) -> Iterator[Person]:
    """Yield made-up users, the same ones for the same number and seed; the administrator is not among them."""
    chance = random.Random(seed)
    count = max(1, users // USERS_PER_DOMAIN)
    domains = [f"{'xn--mnchen-3ya' if n % 200 == 7 else 'domain'}{n}.example.com" for n in range(count)]
    total = 0.0
    weights = [total := total + 1 / (rank + 1) for rank in range(count)]
    for start in range(0, users, _BATCH):
        size = min(_BATCH, users - start)
        chosen = chance.choices(domains, cum_weights=weights, k=size)
        quotas = chance.choices(_QUOTAS, _QUOTA_WEIGHTS, k=size)
        for number, (domain, quota) in enumerate(zip(chosen, quotas, strict=True), start):
            limit = int(quota[:-1] or 0) * _UNITS.get(quota[-1], 0) or 2**50
            measured = chance.random() >= UNMEASURED_SHARE
            box_bytes = min(int(chance.lognormvariate(0, 1.5) * MEDIAN_BYTES), limit)
            privileges = "admin" if number % 20_000 == 19_999 else ""
            archived = not privileges and chance.random() < ARCHIVED_SHARE
            yield Person(
                f"user{number}@{domain}", privileges, quota, archived, box_bytes if measured else None
            )


def fill(database: Path, users: int) -> None:
    """Insert users as another program would: the same hash for all, for making it is not what is measured."""
    stored = Passwords("ARGON2ID").hash_now(PASSWORD)
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        insert = "INSERT INTO users (email, password, privileges, quota) VALUES (?, ?, ?, ?)"
        connection.execute(insert, (ADMIN, stored, "admin", "0"))
        active = ((p.email, stored, p.privileges, p.quota) for p in people(users) if not p.archived)
        connection.executemany(insert, active)
        connection.executemany(
            "INSERT INTO mailusers_archive (email, archived_at, archived_by, archived_via, quota, privileges) "
            "VALUES (?, ?, ?, 'cookie', ?, ?)",
            ((p.email, _TIME, ADMIN, p.quota, p.privileges) for p in people(users) if p.archived),
        )


def fill_sizes(state: Path, users: int) -> None:
    """Insert the sizes of their mailboxes as if they had been read."""
    with contextlib.closing(sqlite3.connect(state)) as connection, connection:
        connection.executemany(
            "INSERT INTO mailusers_usage (email, box_bytes, messages, limit_bytes, checked_at) "
            "VALUES (?, ?, ?, ?, ?)",
            (
                (p.email, p.box_bytes, p.box_bytes // MESSAGE_BYTES, 0, _TIME)
                for p in people(users)
                if p.box_bytes is not None
            ),
        )


def make_maildirs(mailboxes: Path, users: int) -> None:
    """Put the mailboxes on the disk, each with nothing but its ``maildirsize``."""
    made: set[str] = set()
    for person in people(users):
        local_part, _, domain = person.email.rpartition("@")
        if domain not in made:
            (mailboxes / domain).mkdir(exist_ok=True)
            made.add(domain)
        maildir = mailboxes / domain / local_part
        maildir.mkdir()
        if person.box_bytes is not None:
            content = f"0S\n{person.box_bytes} {person.box_bytes // MESSAGE_BYTES}\n"
            (maildir / "maildirsize").write_text(content, encoding="ascii")


def settings_of(storage: Path, **arguments: Any) -> Settings:
    """Return settings under which nothing but what is measured runs."""
    return Settings(
        storage_root=storage,
        doveadm=(),
        password_scheme="ARGON2ID",
        usage_interval_seconds=0,
        **arguments,
    )


def make_box(storage: Path, users: int, *, maildirs: bool = False, built: bool = False) -> None:
    """Make a box with an administrator and many users.

    :param maildirs: put the mailboxes on the disk, too
    :param built: make the list of users, which the server would do when it starts
    """
    settings = settings_of(storage)
    Runtime(settings).close()
    fill(settings.database_path, users)
    fill_sizes(storage / "mailusers" / "state.sqlite", users)
    if maildirs:
        make_maildirs(settings.mailboxes, users)
    if built:
        runtime = Runtime(settings)
        runtime.directory.compare_now()
        runtime.close()


@contextlib.contextmanager
def box_of(users: int, *, maildirs: bool = False, built: bool = False) -> Iterator[Path]:
    """Give the folder of such a box, and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="mailusers-bench-") as folder:
        storage = Path(folder) / "box"
        make_box(storage, users, maildirs=maildirs, built=built)
        yield storage


@contextlib.contextmanager
def panel_with(users: int) -> Iterator[PanelProcess]:
    """Give a running panel whose box has an administrator and many users in domains of unequal size."""
    with box_of(users) as storage, PanelProcess(storage, environment=ENVIRONMENT) as panel:
        yield panel


def main() -> None:
    """Make a box as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.box", description="Make a box of many users."
    )
    parser.add_argument("users", type=int, help="how many, beside the administrator")
    parser.add_argument("folder", type=Path, help="the box; it must not be there yet")
    parser.add_argument("--maildirs", action="store_true", help="put the mailboxes on the disk, too")
    parser.add_argument("--built", action="store_true", help="make the list of users at once")
    given = parser.parse_args()
    if given.users < 1:
        parser.error("The number of users is at least 1.")
    if given.folder.exists():
        parser.error(f"{given.folder} is there already. Name a folder that is not.")
    make_box(given.folder, given.users, maildirs=given.maildirs, built=given.built)
    first = next(islice(people(given.users), 1)).email
    print(f"{given.folder}: {given.users} users such as {first}, and {ADMIN}; every password is {PASSWORD!r}")


if __name__ == "__main__":
    main()
