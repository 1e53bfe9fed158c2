"""A box neither loses nor delays mail because of us: with a real Postfix that reads the file that we write.

Postfix is confined, as Debian's own master.cf confines it. Every message is sent in a session of its own that must
be accepted, and in the end each accepted message is in the INBOX once.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_postfix_sqlite import QUICK_RESTART, let_postfix_share, use_wal
from tests.servers.box import Box, MailSystem, adopted_box, mail_system, storage_folder
from tests.servers.clients import can_log_in, imap_login, wait_until
from tests.servers.command import mailusers
from tests.servers.load import Changes, Mail, going_on
from tests.servers.panel import PanelProcess

ADDRESS = "me@example.com"
BOSS = "boss@example.com"
PASSWORD = "correct horse battery"
MIAB_TABLES = ("users", "aliases", "mfa", "auto_aliases")
LOG_NAMES = ("users.sqlite-wal", "users.sqlite-shm")

# A change larger than the cache goes into the file before its commit.
WRITER = """\
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 2")
connection.execute("BEGIN IMMEDIATE")
for number in range(400):
    row = (f"user{number}@example.com", "x" * 500)
    connection.execute("INSERT INTO users (email, password) VALUES (?, ?)", row)
print("writing", flush=True)
time.sleep(60)
"""

LOADED_CHANGES = 60
LOADED_MESSAGES = 30
SESSION_SECONDS = 10.0
"""No session may take longer. Undisturbed ones take 0.02 s; with QUICK_RESTART a Postfix daemon that died of a look-up
beside a commit is missing for 1 to 2 s, and a session may need one several times."""


def panel_over(system: MailSystem, **environment: str) -> PanelProcess:
    """Return a panel for the box of a mail system; not started yet."""
    settings = {
        "MAILUSERS_DOVEADM": " ".join(system.dovecot.doveadm),
        "MAILUSERS_USAGE_INTERVAL_SECONDS": "0.2",
        **environment,
    }
    return PanelProcess(system.box.storage, environment=settings)


@contextlib.contextmanager
def ended(panel: PanelProcess) -> Iterator[PanelProcess]:
    """Start a panel that is stopped at the end of the block, unless it was before."""
    panel.start()
    try:
        yield panel
    finally:
        panel.stop()


def journal_mode(box: Box) -> object:
    """Return the journal mode that is in force."""
    return box.execute("PRAGMA journal_mode")[0][0]


def read_tables(box: Box) -> dict[str, tuple[object, object]]:
    """Return definition and rows of each table of Mail-in-a-Box's."""
    return {
        table: (
            box.execute("SELECT sql FROM sqlite_master WHERE name = ?", table),
            box.execute(f"SELECT * FROM {table} ORDER BY id"),  # noqa: S608
        )
        for table in MIAB_TABLES
    }


def file_state(box: Box) -> tuple[str, bytes, int]:
    """Return what tells whether anything was written to the file: its content, change counter and time."""
    content = box.database.read_bytes()
    return hashlib.sha256(content).hexdigest(), content[24:28], box.database.stat().st_mtime_ns


def change_under_load(panel: PanelProcess, mail: Mail) -> Changes:
    """Let a panel make many changes at once while mail comes in without a pause."""
    changes = Changes(panel)
    first = mail.sent
    with going_on(mail.send), going_on(changes.make, threads=4):
        wait_until(
            lambda: changes.made >= LOADED_CHANGES and mail.sent - first >= LOADED_MESSAGES,
            timeout_seconds=60,
            message="changes and messages",
        )
    return changes


def kill_under_load(panel: PanelProcess, mail: Mail) -> Changes:
    """End a panel as a crash does while it makes changes; the mail goes on coming all the time.

    And people log in, as they do: a crash inside a commit is undone by the next reader who may write the file.
    """
    changes = Changes(panel, domain="crash.example.com")
    first, imap = mail.sent, mail.system.dovecot.imap_port
    with going_on(mail.send), going_on(lambda: can_log_in(imap, ADDRESS, PASSWORD)):
        with going_on(changes.make, threads=4):
            wait_until(lambda: changes.made >= 10, timeout_seconds=30, message="changes")
            changes.may_fail = True
            panel.kill()
        after = mail.sent
        wait_until(lambda: mail.sent >= max(after, first) + 10, timeout_seconds=30, message="messages")
    return changes


def assert_kept(box: Box, changes: Changes) -> None:
    """Whatever the panel has confirmed is in the database, and the database is whole."""
    assert box.execute("PRAGMA integrity_check") == [("ok",)]
    stored = {str(email): str(quota) for email, quota in box.execute("SELECT email, quota FROM users")}
    assert set(changes.added) <= stored.keys()
    for email, quota in changes.quotas.items():
        assert stored[email] >= quota


def assert_in_time(mail: Mail) -> None:
    """No session had to wait for a daemon that had died of a look-up."""
    assert max(mail.seconds) < SESSION_SECONDS, sorted(mail.seconds)[-5:]


def test_a_box_of_ours_takes_all_mail() -> None:
    """A new box, on a rollback journal: mail goes on beside many changes, after a stop and after a crash."""
    with storage_folder() as storage:
        mailusers(storage, "user", "add", BOSS, "--admin", password=PASSWORD)
        mailusers(storage, "user", "add", ADDRESS, password=PASSWORD)
        with mail_system(
            storage, chroot=True, map_type="proxy:sqlite", postfix_config=QUICK_RESTART
        ) as system:
            assert journal_mode(system.box) == "delete"
            mail, panel = Mail(system, ADDRESS), panel_over(system)
            with ended(panel):
                changes = change_under_load(panel, mail)
            assert_kept(system.box, changes)
            mail.send_more(10)
            with ended(panel):
                crashed = kill_under_load(panel, mail)
            mail.send_more(10)
            assert_kept(system.box, crashed)
            mail.assert_all_delivered()
            assert_in_time(mail)
            assert journal_mode(system.box) == "delete"


@pytest.fixture
def adopted() -> Iterator[tuple[Box, MailSystem]]:
    """A box as Mail-in-a-Box leaves it, with rows in each table, and the servers over it with its native maps."""
    with adopted_box() as box:
        fill(box)
        with mail_system(box.storage, chroot=True) as system:
            yield box, system


def fill(box: Box) -> None:
    """Put an administrator, a user and something in every other table."""
    box.add_user(BOSS, PASSWORD, privileges="admin")
    box.add_user(ADDRESS, PASSWORD, quota="1G")
    box.add_alias("info@example.com", ADDRESS)
    box.execute("INSERT INTO auto_aliases (source, destination) VALUES ('abuse@example.com', ?)", BOSS)
    box.execute(
        "INSERT INTO mfa (user_id, type, secret, label) VALUES (2, 'totp', 'JBSWY3DPEHPK3PXP', 'phone')"
    )


def log_in(panel: PanelProcess, email: str) -> str:
    """Log in by the API and return the session key."""
    reply = panel.request("POST", f"{panel.prefix}/login", {}, user=email, password=PASSWORD)
    key: Any = reply.json()["api_key"]
    return str(key)


def listed_size(panel: PanelProcess, key: str) -> int:
    """Return the size of the mailbox in the list, read with a session key."""
    path = f"{panel.prefix}/mail/users?format=json"
    domains: Any = panel.request("GET", path, user=BOSS, password=key).json()
    sizes = {user["email"]: user["box_size_bytes"] for domain in domains for user in domain["users"]}
    return int(sizes[ADDRESS] or 0)


def wait_for_growth(panel: PanelProcess, key: str) -> None:
    """Wait until the list has a larger size than now."""
    size = listed_size(panel, key)
    wait_until(lambda: listed_size(panel, key) > size, message="a new size")


def test_an_adopted_box_is_left_as_it_is(adopted: tuple[Box, MailSystem]) -> None:
    """Adopting adds our tables in one commit; mode, permissions and the box's own tables stay, and mail goes on.

    Dovecot has the file open all the time: without our telling it of the new tables its next look-up fails.
    """
    box, system = adopted
    mail = Mail(system, ADDRESS)
    mail.send_more(5)
    mail.assert_all_delivered()
    tables, mode, counter = read_tables(box), box.database.stat().st_mode, change_counter(box)
    with ended(panel_over(system)), going_on(mail.send):
        wait_until(lambda: mail.sent >= 25, timeout_seconds=30, message="messages")
    assert change_counter(box) == counter + 1
    assert (journal_mode(box), box.database.stat().st_mode) == ("delete", mode)
    assert read_tables(box) == tables
    mail.assert_all_delivered()


def change_counter(box: Box) -> int:
    """Return how many commits the file has seen (https://www.sqlite.org/fileformat2.html, section 1.3.7)."""
    return int.from_bytes(box.database.read_bytes()[24:28])


def test_book_keeping_does_not_write_to_the_adopted_file(adopted: tuple[Box, MailSystem]) -> None:
    """Starting again, logging in and out, using a session and reading sizes commit nothing to what Postfix reads."""
    box, system = adopted
    mail = Mail(system, ADDRESS)
    # A log-in would replace a weaker hash, which is a change of the account.
    panel = panel_over(system, MAILUSERS_PASSWORD_SCHEME="SHA512-CRYPT")
    with ended(panel):
        log_in(panel, BOSS)
    before = file_state(box)
    with ended(panel), going_on(mail.send):
        for _ in range(5):
            key = log_in(panel, BOSS)
            wait_for_growth(panel, key)
            refused = panel.request("POST", f"{panel.prefix}/login", {}, user=BOSS, password="wrong")
            assert refused.json()["status"] == "invalid"
            panel.request("POST", f"{panel.prefix}/logout", {}, user=BOSS, password=key)
        imap_login(system.dovecot.imap_port, ADDRESS, PASSWORD).logout()
        wait_until(lambda: mail.sent >= 30, timeout_seconds=30, message="messages")
    assert file_state(box) == before
    mail.assert_all_delivered()
    assert "locked" not in system.postfix.log_text()


def test_a_log_in_strengthens_a_hash_in_one_commit(adopted: tuple[Box, MailSystem]) -> None:
    """The one change that a log-in makes is made once, and Dovecot takes the new hash."""
    box, system = adopted
    panel = panel_over(system)
    with ended(panel):
        before = change_counter(box)
        log_in(panel, BOSS)
        assert change_counter(box) == before + 1
        log_in(panel, BOSS)
        assert change_counter(box) == before + 1
    assert can_log_in(system.dovecot.imap_port, BOSS, PASSWORD)


def test_an_adopted_box_in_wal_mode_takes_all_mail() -> None:
    """With a write-ahead log that Postfix may open, mail is not even slowed: not by changes, a stop, or a crash."""
    with adopted_box() as box:
        fill(box)
        use_wal(box)
        let_postfix_share(box)
        # Postfix keeps its own minute of punishment for a daemon that dies: none may.
        with mail_system(box.storage, chroot=True, map_type="proxy:sqlite") as system:
            mail, panel = Mail(system, ADDRESS), panel_over(system)
            with ended(panel):
                changes = change_under_load(panel, mail)
            assert_kept(box, changes)
            mail.send_more(10)
            with ended(panel):
                crashed = kill_under_load(panel, mail)
            mail.send_more(10)
            assert_kept(box, crashed)
            mail.assert_all_delivered()
            assert_in_time(mail)
            assert journal_mode(box) == "wal"
            assert "fatal" not in system.postfix.log_text()


def crash_inside_a_commit(box: Box) -> None:
    """Leave what a writer leaves that is killed, or loses its power, while it writes its changes out."""
    command = [sys.executable, "-c", WRITER, str(box.database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        writer.kill()
    assert box.database.with_name("users.sqlite-journal").exists()


@pytest.mark.parametrize("healer", ["panel", "Dovecot"])
def test_a_crash_inside_a_commit_is_undone(healer: str) -> None:
    """Postfix may not undo it and waits; the panel does at its next start, and Dovecot at the next log-in."""
    with adopted_box() as box:
        fill(box)
        users = box.execute("SELECT * FROM users")
        with mail_system(
            box.storage, chroot=True, map_type="proxy:sqlite", postfix_config=QUICK_RESTART
        ) as system:
            # While the journal is played back Dovecot's policy service may not read, and puts a message off: on a busy
            # machine for longer than its patience of a second.
            mail = Mail(system, ADDRESS, patient=True)
            crash_inside_a_commit(box)
            with contextlib.ExitStack() as stack:
                stack.enter_context(going_on(mail.send))
                wait_until(
                    lambda: "attempt to write a readonly database" in system.postfix.log_text(),
                    message="a look-up that fails",
                )
                if healer == "panel":
                    stack.enter_context(ended(panel_over(system)))
                else:
                    assert can_log_in(system.dovecot.imap_port, ADDRESS, PASSWORD)
                wait_until(lambda: mail.sent >= 5, timeout_seconds=30, message="messages")
            mail.assert_all_delivered()
        assert box.execute("SELECT * FROM users") == users


def log_files(box: Box) -> set[Path]:
    """Return those of the write-ahead log's files that are there."""
    return {path for path in map(box.database.with_name, LOG_NAMES) if path.exists()}


def test_our_process_does_not_take_the_write_ahead_log_away() -> None:
    """In WAL mode the last one to close deletes the log's files; our panel, stopped, leaves them for Postfix."""
    with adopted_box() as box:
        fill(box)
        use_wal(box)
        assert not log_files(box)
        panel = PanelProcess(box.storage, environment={"MAILUSERS_DOVEADM": ""})
        with ended(panel):
            assert panel.api("/quota", email=ADDRESS, quota="2G").text == "OK"
        assert len(log_files(box)) == 2
        with mail_system(box.storage, map_type="proxy:sqlite", postfix_config=QUICK_RESTART) as system:
            # The folder is root's: Postfix could not have made them.
            mail = Mail(system, ADDRESS)
            mail.send_more(5)
            mail.assert_all_delivered()
