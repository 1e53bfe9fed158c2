"""Sizes that Dovecot's plugin ``quota_clone`` writes, through its dict, whenever a mailbox has changed.

On PostgreSQL and MariaDB it writes into our table ``mailusers_quota``. On SQLite that table is in a file of its own,
``mail/usage/usage.sqlite``, in a folder of its own: Dovecot's dict runs as a user of its own, who must be able to make
the log's files beside it, and has no business in ``state.sqlite``, where the sessions are.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import sqlite3
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, case, delete, event, func, or_, select

from mailusers_plugin.errors import ConfigurationError
from mailusers_plugin.store import schema
from mailusers_plugin.store.database import Database

_WINDOW: Final = 2000
"""Mailboxes that are compared at once, by the database."""
_SQLITE_TABLE: Final = (
    "CREATE TABLE mailusers_quota (email TEXT NOT NULL PRIMARY KEY, box_bytes INTEGER NOT NULL DEFAULT 0, "
    "messages INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID"
)
_quota = schema.quota.c
_usage = schema.usage.c


def window(connection: Connection, after: str) -> tuple[dict[str, tuple[int, int]], str]:
    """Return what differs from the sizes that we know, in the next some thousand mailboxes by address.

    :param connection: to a database that has both tables
    :param after: an address; empty for the beginning
    :returns: bytes and messages by address, and the last address that was compared; empty at the end
    """
    beyond = _quota.email > after
    some = select(_quota.email).where(beyond).order_by(_quota.email).limit(_WINDOW).subquery()
    last = connection.execute(select(func.max(some.c.email))).scalar()
    if last is None:
        return {}, ""
    return _differing(connection, and_(beyond, _quota.email <= last)), str(last)


def some(connection: Connection, emails: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return what differs from the sizes that we know, of some mailboxes; see :func:`window`."""
    return _differing(connection, _quota.email.in_(emails))


def _differing(connection: Connection, which: ColumnElement[bool]) -> dict[str, tuple[int, int]]:
    # What Dovecot counts wrong can be below zero.
    box_bytes, messages = (
        case((column < 0, 0), else_=column) for column in (_quota.box_bytes, _quota.messages)
    )
    query = (
        select(_quota.email, box_bytes, messages)
        .select_from(schema.quota.outerjoin(schema.usage, _usage.email == _quota.email))
        .where(which)
        .where(or_(_usage.email.is_(None), _usage.box_bytes != box_bytes, _usage.messages != messages))
    )
    return {row[0]: (int(row[1]), int(row[2])) for row in connection.execute(query).all()}


def forget(connection: Connection, email: str) -> None:
    """Forget a mailbox that was deleted for good."""
    connection.execute(delete(schema.quota).where(_quota.email == email))


def is_empty(connection: Connection) -> bool:
    """Tell whether Dovecot has not written anything yet."""
    return connection.execute(select(_quota.email).limit(1)).first() is None


def is_sound(path: Path) -> bool:
    """Tell whether a file has the table. Changes nothing."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("SELECT email, box_bytes, messages FROM mailusers_quota LIMIT 1").fetchall()
    except sqlite3.Error:
        return False
    return True


def open_file(path: Path, owner: str, state: Path, *, busy_timeout_seconds: float) -> Database:
    """Open the file into which Dovecot writes on SQLite, making it where it is missing.

    :param path: where it is; its folder is made too
    :param owner: the system user whom it is given to when it is made by root
    :param state: the file with our other tables, which is read beside it
    :raises ConfigurationError: if it cannot be made, or something else is there
    """
    try:
        _make(path, owner)
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ConfigurationError(f"{path} is not a plain file. Move it away; it is made anew.")
    except (OSError, sqlite3.Error) as error:
        raise ConfigurationError(
            f"{path}, for the sizes that Dovecot writes, cannot be made or used: {error}. Mend that, or choose another "
            "usage_source."
        ) from None
    database = Database(
        f"sqlite:///{path}", threads=1, busy_timeout_seconds=busy_timeout_seconds, shared=False
    )

    def attach(connection: sqlite3.Connection, _record: Any) -> None:
        connection.execute("ATTACH DATABASE ? AS state", (str(state),))

    event.listen(database.engine, "connect", attach)
    return database


def _make(path: Path, owner: str) -> None:
    user = None
    if os.geteuid() == 0:
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(owner)
    folder = path.parent
    if not os.path.lexists(folder):
        folder.mkdir(mode=0o700, parents=True)
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
    if os.path.lexists(path):
        return
    # Whole or not at all, and of the right owner before Dovecot can see it. Not made in Dovecot's folder, where it
    # could put something else in its place.
    with tempfile.TemporaryDirectory(prefix=".mailusers-", dir=folder.parent) as temporary:
        new = Path(temporary) / path.name
        with contextlib.closing(sqlite3.connect(new)) as connection:
            connection.execute(_SQLITE_TABLE)
            # So that nobody waits for Dovecot, and Dovecot for nobody.
            connection.execute("PRAGMA journal_mode = WAL")
        new.chmod(0o600)
        if user is not None:
            os.chown(new, user.pw_uid, user.pw_gid)
        with contextlib.suppress(FileExistsError):
            os.link(new, path)
