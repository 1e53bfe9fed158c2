"""Makes a consistent copy of a box while it is in use, and puts one back.

A backup holds the accounts and the book-keeping as two SQLite files, whatever database they came from: so one that was
made on PostgreSQL can be looked into by anybody, and put back into MariaDB. The mail itself is not in it.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import func, select

from mailusers_plugin.errors import ConfigurationError, StorageError, UnavailableError
from mailusers_plugin.store import copying, migrate, schema
from mailusers_plugin.store.box import Store, journal_mode
from mailusers_plugin.store.database import Database
from mailusers_plugin.texts import N_

ACCOUNTS: Final = "users.sqlite"
STATE: Final = "state.sqlite"
FILES: Final = (ACCOUNTS, STATE)
_PATIENCE_SECONDS: Final = 30.0


def make(store: Store, folder: Path) -> dict[str, int]:
    """Write both files into an empty folder; the box may be changed meanwhile.

    The book-keeping is read first: what happens in between is then in the accounts' outbox and not yet taken over, and
    hooks are told of it after the backup was put back. The other way round they would never hear of it.

    :returns: how many rows the main tables have
    :raises UnavailableError: if a database is away, locked for too long, or the disk is full
    """
    if store.accounts.is_sqlite:
        for database, name in ((store.state, STATE), (store.accounts, ACCOUNTS)):
            _copy_file(Path(str(database.url.database)), folder / name)
    else:
        _copy_server(store.accounts, folder)
    for name in FILES:
        _sync(folder / name)
    with _opened(folder) as copied:
        return {
            table.name: copied.accounts.read_now(
                lambda connection, table=table: int(  # type: ignore[misc]
                    connection.execute(select(func.count()).select_from(table)).scalar_one()
                )
            )
            for table in (schema.users, schema.archive)
        }


def check(folder: Path) -> None:
    """Make sure that both files can be put back, and bring them up to date where an older version made them.

    :raises ConfigurationError: if one is damaged, or comes from a newer version
    """
    for name in FILES:
        try:
            with closing(sqlite3.connect(folder / name)) as connection:
                found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(1)")]
        except sqlite3.Error as error:
            found = [str(error)]
        if found != ["ok"]:
            raise ConfigurationError(f"{name} in this backup is damaged ({found[0]}). Take another backup.")
    with _opened(folder) as store:
        store.accounts.write_now(migrate.bring_accounts_up_to_date)
        store.state.write_now(migrate.bring_state_up_to_date)


def is_used(store: Store) -> bool:
    """Tell whether a box has accounts, archived or active, that putting a backup back would take away."""
    return store.accounts.read_now(
        lambda connection: any(
            connection.execute(select(table.c.email).limit(1)).first() is not None
            for table in (schema.users, schema.archive)
        )
    )


def put_back(folder: Path, target: Store, report: copying.Report) -> None:
    """Make a box what it was when the backup was made; each file is replaced whole or not at all.

    On SQLite the content is exchanged and not the file, which Postfix and Dovecot have open. The accounts come first:
    should it end in between, what the book-keeping says of them is compared and mended at the next start.

    :param target: nobody else uses it, but for the mail servers, which only read
    :raises StorageError: if it could not be stored; then the box is as it was
    :raises UnavailableError: if another program keeps the accounts locked
    """
    if not target.accounts.is_sqlite:
        with _opened(folder) as source:
            target.accounts.write_now(copying.begin_over, "a backup")
            try:
                copying.copy_rows(source, target, report)
            finally:
                # It goes in one transaction: whatever came of it, the box is whole.
                target.accounts.write_now(copying.end)
        return
    mode = journal_mode(target.accounts)
    with closing(sqlite3.connect(folder / ACCOUNTS)) as connection:
        # Else the file would change its mode, which it cannot while somebody has it open.
        connection.execute(f"PRAGMA journal_mode = {'WAL' if mode == 'wal' else 'DELETE'}")
    with closing(sqlite3.connect(folder / STATE)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    for name, database in ((ACCOUNTS, target.accounts), (STATE, target.state)):
        _exchange(folder / name, Path(str(database.url.database)))


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@contextmanager
def _opened(folder: Path) -> Iterator[Store]:
    """Open the two files of a backup as a box."""
    accounts, state = (Database(f"sqlite:///{folder / name}", shared=False) for name in FILES)
    with closing(Store(accounts, state)) as store:
        yield store


def _copy_file(source: Path, target: Path) -> None:
    """Copy a SQLite file in one step, for one that is changed between two steps is begun anew each time."""

    def copy() -> None:
        with closing(sqlite3.connect(source)) as read, closing(sqlite3.connect(target)) as written:
            written.execute("PRAGMA synchronous = OFF")
            read.backup(written, progress=_patience(), sleep=0.05)
            written.execute("PRAGMA journal_mode = DELETE")

    _or_explain(copy, source)


def _exchange(source: Path, target: Path) -> None:
    def copy() -> None:
        with closing(sqlite3.connect(source)) as read, closing(sqlite3.connect(target)) as written:
            read.backup(written, progress=_patience(), sleep=0.05)

    _or_explain(copy, target)


def _patience() -> Callable[[int, int, int], None]:
    """Return what ends a copy that waits for another program's lock; SQLite itself would wait for ever."""
    until = time.monotonic() + _PATIENCE_SECONDS

    def look(status: int, _left: int, _total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > until:
            raise sqlite3.OperationalError("database is locked")

    return look


def _or_explain(work: Callable[[], None], file: Path) -> None:
    try:
        work()
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise UnavailableError(
                N_("%(file)s is kept locked by another program. Try again in a moment."), file=file
            ) from None
        raise StorageError(
            N_("%(file)s could not be copied or replaced, and is as it was: %(reason)s."),
            file=file,
            reason=error,
        ) from None


def _copy_server(database: Database, folder: Path) -> None:
    """Copy all tables out of one transaction, which sees one state of everything and keeps nobody waiting."""
    with _opened(folder) as target:
        target.accounts.write_now(migrate.bring_accounts_up_to_date)
        target.state.write_now(migrate.bring_state_up_to_date)
        database.read_now(copying.copy_out, target)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
