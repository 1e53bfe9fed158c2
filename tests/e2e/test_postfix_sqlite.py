"""Postfix reads ``users.sqlite`` without a busy timeout: what keeps the mail coming, and what stops it.

The facts that journal mode, permissions and ``doctor`` rest on, shown with a real Postfix and without our
package.
"""

from __future__ import annotations

import contextlib
import shutil
import smtplib
import sqlite3
import threading
import time
from collections.abc import Iterator

import pytest

from tests.servers.box import Box, MailSystem, adopted_box, mail_system
from tests.servers.clients import smtp_send, wait_until

ADDRESS = "me@example.com"

# By default a daemon that dies at its first look-up is not started again for a minute.
QUICK_RESTART = "service_throttle_time = 1s"


def use_wal(box: Box) -> None:
    """Switch the database to a write-ahead log, and close it."""
    assert box.execute("PRAGMA journal_mode = WAL") == [("wal",)]


def let_postfix_share(box: Box) -> None:
    """Let Postfix create the ``-wal`` and ``-shm`` files, but not write the database itself."""
    folder = box.database.parent
    shutil.chown(folder, "root", "postfix")
    folder.chmod(0o3775)


@contextlib.contextmanager
def commits(box: Box, *, per_second: float) -> Iterator[list[int]]:
    """Commit in the background, each time in a connection of its own; give the list of commits."""
    done: list[int] = []
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(1 / per_second):
            box.execute("UPDATE users SET quota = ? WHERE email = ?", str(10**9 + len(done)), ADDRESS)
            done.append(len(done))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield done
    finally:
        stop.set()
        writer.join()


def send_for(system: MailSystem, seconds: float) -> int:
    """Send one message after the other, each of which must be taken; return how many."""
    sent = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        smtp_send(system.postfix.smtp_port, ADDRESS)
        sent += 1
    return sent


def delivered(box: Box) -> int:
    """Count the messages in the INBOX."""
    return sum(len(list((box.maildir(ADDRESS) / folder).glob("*"))) for folder in ("new", "cur"))


def test_wal_behind_proxymap_takes_all_mail() -> None:
    """With the maps behind proxymap and a folder shared with Postfix, no commit delays any mail."""
    with adopted_box() as box:
        box.add_user(ADDRESS, "secret")
        use_wal(box)
        let_postfix_share(box)
        with mail_system(box.storage, chroot=True, map_type="proxy:sqlite") as system:
            sent = send_for(system, 0.5)
            with commits(box, per_second=100) as done:
                sent += send_for(system, 4)
            assert len(done) > 50
            # A Postfix that is stopped amid a delivery repeats it later, and the count would differ.
            wait_until(
                lambda: delivered(box) == sent and not system.postfix.queue(), message="an empty queue"
            )
            # Our server is gone, and Postfix has to open the files anew.
            system.postfix.stop()
            system.dovecot.stop()
            box.execute("SELECT 1 FROM users")
            assert not box.database.with_name("users.sqlite-wal").exists()
            system.dovecot.start()
            system.postfix.start()
            sent += send_for(system, 0.5)
            wait_until(lambda: delivered(box) == sent, message=f"{sent} messages")
            assert "fatal" not in system.postfix.log_text()


def test_rollback_journal_behind_proxymap_only_delays() -> None:
    """Without WAL a look-up beside a commit fails; proxymap tries it again, and the client never knows."""
    with adopted_box() as box:
        box.add_user(ADDRESS, "secret")
        with mail_system(
            box.storage, chroot=True, map_type="proxy:sqlite", postfix_config=QUICK_RESTART
        ) as system:
            with commits(box, per_second=2):
                sent = send_for(system, 5)
            wait_until(lambda: delivered(box) == sent, message=f"{sent} messages")


@pytest.mark.parametrize("shared", [False, True])
def test_wal_stops_a_confined_postfix(shared: bool) -> None:
    """Debian's master.cf confines smtpd, cleanup and trivial-rewrite: they find no ``-wal`` to open.

    No permission helps, nor that another process keeps the database open.
    """
    with adopted_box() as box, contextlib.closing(sqlite3.connect(box.database)) as keeper:
        box.add_user(ADDRESS, "secret")
        use_wal(box)
        if shared:
            let_postfix_share(box)
        keeper.execute("SELECT 1 FROM users").fetchall()
        with mail_system(box.storage, chroot=True, postfix_config=QUICK_RESTART) as system:
            with pytest.raises((smtplib.SMTPException, TimeoutError)):
                smtp_send(system.postfix.smtp_port, ADDRESS, timeout_seconds=3)
            assert "disk I/O error" in system.postfix.log_text()


def test_wal_in_a_folder_of_root_stops_when_nobody_has_it_open() -> None:
    """The last one to close takes the ``-wal`` away, and Postfix cannot make another."""
    with adopted_box() as box:
        box.add_user(ADDRESS, "secret")
        use_wal(box)
        with mail_system(box.storage, postfix_config=QUICK_RESTART) as system:
            with pytest.raises((smtplib.SMTPException, TimeoutError)):
                smtp_send(system.postfix.smtp_port, ADDRESS, timeout_seconds=3)
            assert "attempt to write a readonly database" in system.postfix.log_text()
