"""Opens a box, making it where there is none.

Permissions and journal mode are not details: Postfix reads the same file. ``docs/storage.md`` says what was measured.
The journal mode of ``users.sqlite`` is never switched here, but only by ``mailusers doctor --fix --wal``, which first
makes sure that Postfix can live with it.
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mailusers_plugin.errors import ConfigurationError, MailUsersError
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import migrate
from mailusers_plugin.store.database import Connection, Database

POSTFIX_GROUP: Final = "postfix"
MAIL_USER: Final = "mail"
_NO_CHECKPOINT_SINCE: Final = (3, 12)


@dataclass(frozen=True, slots=True)
class Store:
    """The two databases of a box.

    :ivar accounts: the users, the archive and the outbox: what changes in one transaction
    :ivar state: sessions, deliveries, sizes, the audit trail. On SQLite a file that only we read, so that nothing but
        a change of an account ever locks the one that Postfix reads
    :ivar altered: whether opening has changed the tables of a SQLite file that others may have open
    """

    accounts: Database
    state: Database
    altered: bool = False

    def close(self) -> None:
        """Finish what runs and close both, first the one whose changes may read the other."""
        self.state.close()
        if self.state is not self.accounts:
            self.accounts.close()


def open_box(settings: Settings, *, copying: bool = False) -> Store:
    """Open both databases and bring them up to date.

    :param copying: whether a box is to be copied into it
    :raises ConfigurationError: if the box cannot be used
    :raises UnavailableError: if a database is away
    """
    try:
        make_folders(settings)
        private = settings.storage_root / "mailusers"
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The box {settings.storage_root} cannot be made or used: {error.strerror} ({error.filename}). "
            "Name another folder with --storage-root, or run this as the user whom it belongs to."
        ) from None
    accounts = Database(
        settings.database_url,
        threads=settings.database_threads,
        busy_timeout_seconds=settings.busy_timeout_seconds,
        pause_seconds=settings.commit_pause_seconds if shutil.which("postconf") else 0.0,
    )
    state = accounts
    if accounts.is_sqlite:
        state = Database(
            f"sqlite:///{private / 'state.sqlite'}",
            threads=settings.database_threads,
            busy_timeout_seconds=settings.busy_timeout_seconds,
            shared=False,
        )
    store = Store(accounts, state)
    try:
        altered = accounts.write_now(migrate.bring_accounts_up_to_date, copying=copying)
        if accounts.is_sqlite:
            state.read_now(_use_write_ahead_log)
            if journal_mode(accounts) == "wal":
                _keep_open(accounts)
        state.write_now(migrate.bring_state_up_to_date)
    except MailUsersError:
        store.close()
        raise
    return replace(store, altered=altered and accounts.is_sqlite)


def journal_mode(database: Database) -> str:
    """Return the journal mode of a SQLite file: ``delete``, ``wal`` and such."""
    return database.read_now(
        lambda connection: str(connection.exec_driver_sql("PRAGMA journal_mode").scalar())
    )


def _use_write_ahead_log(connection: Connection) -> None:
    # It cannot be switched inside a transaction, and stays once it was.
    if connection.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal":
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        connection.exec_driver_sql("BEGIN")


def make_folders(settings: Settings) -> None:
    """Make what a new box needs, with the owners that the mail system needs; what is there stays as it is."""
    mail = settings.database_path.parent
    if not mail.exists():
        mail.mkdir(parents=True)
    if not settings.mailboxes.exists():
        settings.mailboxes.mkdir()
        if os.geteuid() == 0:
            # Dovecot delivers as this user on a Mail-in-a-Box.
            with suppress(KeyError):
                user = pwd.getpwnam(MAIL_USER)
                os.chown(settings.mailboxes, user.pw_uid, user.pw_gid)
    if not settings.database and not settings.database_path.exists():
        _make_file(settings.database_path)


def _make_file(path: Path) -> None:
    """Make an empty accounts file that Postfix may read and the world may not: hashes are in it."""
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if os.geteuid() == 0:
                with suppress(KeyError):
                    os.fchown(descriptor, 0, grp.getgrnam(POSTFIX_GROUP).gr_gid)
                    os.fchmod(descriptor, 0o640)
        finally:
            os.close(descriptor)


def _keep_open(database: Database) -> None:
    """Never be the last to close a write-ahead log, for that locks readers out and takes the log's files away.

    From Python 3.12 on each connection is told so when it is opened. Before, one connection is kept until the
    process ends: by a reference too many, since the interpreter closes what it finds at its end.
    """
    if sys.version_info < _NO_CHECKPOINT_SINCE:
        borrowed = database.engine.raw_connection()
        keeper: Any = borrowed.dbapi_connection
        borrowed.detach()
        keeper.execute("SELECT count(*) FROM sqlite_master").fetchall()
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(keeper))
