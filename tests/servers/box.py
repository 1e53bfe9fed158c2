"""A storage folder as an existing Mail-in-a-Box has it, and both servers over one such folder."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix

# What setup/mail-users.sh of Mail-in-a-Box creates, column by column: the box that we *adopt*.
MIAB_SCHEMA = """\
CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT NOT NULL UNIQUE, password TEXT NOT NULL,
    extra, privileges TEXT NOT NULL DEFAULT '', quota TEXT NOT NULL DEFAULT '0');
CREATE TABLE aliases (id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL UNIQUE,
    destination TEXT NOT NULL, permitted_senders TEXT);
CREATE TABLE mfa (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER NOT NULL, type TEXT NOT NULL,
    secret TEXT NOT NULL, mru_token TEXT, label TEXT,
    FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE);
CREATE TABLE auto_aliases (id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL UNIQUE,
    destination TEXT NOT NULL, permitted_senders TEXT);
"""


@cache
def dovecot_hash(password: str) -> str:
    """Hash a password with Dovecot's own tool, not with the code under test."""
    command = ["doveadm", "pw", "-s", "SHA512-CRYPT", "-p", password]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@dataclass(frozen=True)
class Box:
    """A storage folder: ``mail/users.sqlite`` and ``mail/mailboxes``, rows written without our package."""

    storage: Path

    @property
    def database(self) -> Path:
        """The accounts that Dovecot and Postfix read."""
        return self.storage / "mail" / "users.sqlite"

    def maildir(self, email: str) -> Path:
        """Return the folder in which Dovecot keeps the mail of an address."""
        local_part, _, domain = email.rpartition("@")
        return self.storage / "mail" / "mailboxes" / domain / local_part

    def execute(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        """Run one statement in a connection of its own, commit, and return the rows."""
        with contextlib.closing(sqlite3.connect(self.database, timeout=10)) as connection, connection:
            return connection.execute(statement, parameters).fetchall()

    def add_user(self, email: str, password: str, *, quota: str = "0", privileges: str = "") -> None:
        """Insert a user as Mail-in-a-Box does; ``quota`` is in bytes or with a unit, "0" for none."""
        self.execute(
            "INSERT INTO users (email, password, privileges, quota) VALUES (?, ?, ?, ?)",
            email,
            dovecot_hash(password),
            privileges,
            quota,
        )

    def remove_user(self, email: str) -> None:
        """Delete the user's row; the maildir stays, as on a real box."""
        self.execute("DELETE FROM users WHERE email = ?", email)

    def add_alias(self, source: str, destination: str) -> None:
        """Insert an alias; several destinations are separated by commas."""
        self.execute("INSERT INTO aliases (source, destination) VALUES (?, ?)", source, destination)


@contextlib.contextmanager
def storage_folder() -> Iterator[Path]:
    """Give an empty storage folder that Postfix and the user ``mail`` can reach, and remove it at the end.

    Not below pytest's ``tmp_path``, which only its owner may enter.
    """
    parent = Path(tempfile.mkdtemp(prefix="mailusers-box-", dir="/tmp"))
    try:
        parent.chmod(0o755)
        storage = parent / "user-data"
        storage.mkdir()
        storage.chmod(0o755)
        yield storage
    finally:
        shutil.rmtree(parent, ignore_errors=True)


def create_miab_tree(storage: Path) -> Box:
    """Create what a Mail-in-a-Box has before our package is installed, with its owners and modes."""
    mail = storage / "mail"
    mail.mkdir()
    mail.chmod(0o755)
    mailboxes = mail / "mailboxes"
    mailboxes.mkdir()
    shutil.chown(mailboxes, "mail", "mail")
    box = Box(storage)
    with contextlib.closing(sqlite3.connect(box.database)) as connection:
        connection.executescript(MIAB_SCHEMA)
    box.database.chmod(0o644)
    return box


@contextlib.contextmanager
def adopted_box() -> Iterator[Box]:
    """Give a box as Mail-in-a-Box leaves it, for the time of a test."""
    with storage_folder() as storage:
        yield create_miab_tree(storage)


@dataclass(frozen=True)
class MailSystem:
    """Dovecot and Postfix over one storage folder."""

    box: Box
    dovecot: Dovecot
    postfix: Postfix


@contextlib.contextmanager
def mail_system(
    storage: Path,
    *,
    auth_cache_size: str = "0",
    chroot: bool = False,
    map_type: str = "sqlite",
    dovecot_config: str = "",
    postfix_config: str = "",
) -> Iterator[MailSystem]:
    """Run both servers over a storage folder, whoever created its database: we or Mail-in-a-Box."""
    with (
        Dovecot(storage, auth_cache_size=auth_cache_size, extra_config=dovecot_config) as dovecot,
        Postfix(
            storage,
            lmtp_port=dovecot.lmtp_port,
            quota_status_port=dovecot.quota_status_port,
            chroot=chroot,
            map_type=map_type,
            extra_config=postfix_config,
        ) as postfix,
    ):
        yield MailSystem(Box(storage), dovecot, postfix)
