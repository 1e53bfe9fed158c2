"""A backup is put in place of a database's file while the panel runs."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.servers.clients import wait_until
from tests.servers.looking import audited_in, check_integrity, files_of, make_box, users_of, wait_until_told
from tests.servers.panel import PanelProcess
from tests.support import BOSS, PASSWORD, run_sql

SETTINGS = {
    "MAILUSERS_DOVEADM": "",
    "MAILUSERS_PASSWORD_SCHEME": "SHA512-CRYPT",
    "MAILUSERS_USAGE_INTERVAL_SECONDS": "0",
}
KEPT, LATER, NEW = "kept@example.com", "later@example.com", "new@example.com"


@pytest.fixture
def panel(tmp_path: Path) -> Iterator[PanelProcess]:
    """A panel with an administrator; not started yet."""
    make_box(tmp_path / "box")
    made = PanelProcess(tmp_path / "box", environment=SETTINGS)
    yield made
    made.stop()


def back_up(database: Path) -> Path:
    """Make a backup as the documentation says, beside the file."""
    target = database.with_suffix(".backup")
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
    shutil.copystat(database, target)
    return target


def move(backup: Path, database: Path) -> None:
    """Put a copy of the backup in place of the file, in one step."""
    copy = backup.with_suffix(".copy")
    shutil.copy2(backup, copy)
    copy.replace(database)


def copy_over(backup: Path, database: Path) -> None:
    """Write the backup into the file."""
    shutil.copyfile(backup, database)


@pytest.mark.parametrize(
    ("journal", "restore"),
    [("DELETE", move), ("DELETE", copy_over), ("WAL", move)],
    ids=["journal-moved", "journal-copied", "log-moved"],
)
def test_accounts_are_restored(
    panel: PanelProcess, journal: str, restore: Callable[[Path, Path], None]
) -> None:
    """The panel goes on with the restored accounts, writes nothing into the old file, and tells every later event."""
    database = files_of(panel.storage)[0]
    run_sql(database, f"PRAGMA journal_mode = {journal}")
    panel.start()
    assert panel.api("/add", email=KEPT, password=PASSWORD, quota="1G").status == 200
    backup = back_up(database)
    # More changes than there will be behind the restored ones, so that their numbers come again.
    assert panel.api("/add", email=LATER, password=PASSWORD).status == 200
    for quota in ("2G", "3G", "4G"):
        assert panel.api("/quota", email=KEPT, quota=quota).status == 200
    with database.open("rb") as old:
        restore(backup, database)
        before = hashlib.sha256(old.read()).digest()
        # Nobody has looked since.
        reply = panel.api("/add", email=NEW, password=PASSWORD)
        assert (reply.status, reply.text) == (200, "mail user added\n")
        if restore is move:
            old.seek(0)
            assert hashlib.sha256(old.read()).digest() == before
    assert users_of(panel.storage) == sorted([BOSS, KEPT, NEW])
    assert panel.api("/quota?email=" + KEPT).json()["quota"] == "1G"
    wait_until(
        lambda: panel.api("").text.split() == sorted([BOSS, KEPT, NEW]),
        message="the list of those that are there",
    )
    assert panel.api("/quota", email=KEPT, quota="5G").status == 200
    check_integrity(panel.storage)
    # The events' numbers have begun again; the hooks hear of all all the same.
    wait_until_told(panel.storage)
    trail = audited_in(panel.storage)
    assert NEW in [email for _, email, _ in trail]
    assert '"new_quota": "5G"' in trail[-1][2]
    panel.stop()
    check_integrity(panel.storage)


def test_book_keeping_is_restored(panel: PanelProcess) -> None:
    """An older state.sqlite, the log still beside it, does no harm: later events are told, and the list is right."""
    panel.start()
    assert panel.api("/add", email=KEPT, password=PASSWORD).status == 200
    backup = back_up(files_of(panel.storage)[1])
    assert panel.api("/add", email=LATER, password=PASSWORD).status == 200
    move(backup, files_of(panel.storage)[1])
    assert panel.api("/add", email=NEW, password=PASSWORD).status == 200
    wait_until(
        lambda: all(
            email
            in panel.request(
                "GET", "/admin/mail/users?format=json&limit=10", user=BOSS, password=PASSWORD
            ).text
            for email in (BOSS, KEPT, LATER, NEW)
        ),
        message="the whole list",
    )
    # What the backup knew nothing of is told once more, what is new once.
    wait_until_told(panel.storage)
    # In no order, for they are different addresses.
    assert sorted(email for _, email, _ in audited_in(panel.storage)) == sorted([BOSS, KEPT, LATER, NEW])
    panel.stop()
    check_integrity(panel.storage)


def test_accounts_that_are_away_for_a_while(panel: PanelProcess) -> None:
    """Between the old file's end and the new one's beginning the answer is 503, and no empty file is made."""
    panel.start()
    database = files_of(panel.storage)[0]
    assert panel.api("/add", email=KEPT, password=PASSWORD).status == 200
    backup = back_up(database)
    database.unlink()
    for reply in (panel.api("/add", email=NEW, password=PASSWORD), panel.api(f"/quota?email={KEPT}")):
        assert reply.status == 503
        assert int(reply.headers["Retry-After"]) > 0
    assert not database.exists()
    move(backup, database)
    assert panel.api("/add", email=NEW, password=PASSWORD).status == 200
    assert users_of(panel.storage) == sorted([BOSS, KEPT, NEW])


def test_restored_in_the_middle_of_changes(panel: PanelProcess) -> None:
    """Of the changes that began after the restore every acknowledged one is in the restored file."""
    panel.start()
    database = files_of(panel.storage)[0]
    assert panel.api("/add", email=KEPT, password=PASSWORD).status == 200
    backup = back_up(database)
    acknowledged: list[tuple[float, str]] = []
    ending = threading.Event()

    def change(client: int) -> None:
        number = 0
        while not ending.is_set():
            number += 1
            began = time.monotonic()
            email = f"u{client}-{number}@example.com"
            reply = panel.api("/add", 0, email=email, password=PASSWORD)
            assert reply.status in (200, 503), reply
            if reply.status == 200:
                acknowledged.append((began, email))

    threads = [threading.Thread(target=change, args=(client,)) for client in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(6):
        time.sleep(0.3)
        move(backup, database)
    restored = time.monotonic()
    time.sleep(1)
    ending.set()
    for thread in threads:
        thread.join()
    expected = {email for began, email in acknowledged if began > restored}
    assert expected
    assert expected <= set(users_of(panel.storage))
    check_integrity(panel.storage)
