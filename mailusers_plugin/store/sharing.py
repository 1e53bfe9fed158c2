"""The journal mode of ``users.sqlite`` and the right to share its folder: looked at always, changed only on request."""

from __future__ import annotations

import grp
import os
import stat
from pathlib import Path
from typing import Final

from mailusers_plugin.errors import StorageError
from mailusers_plugin.store.box import POSTFIX_GROUP
from mailusers_plugin.store.database import Connection, Database
from mailusers_plugin.texts import N_

FOLDER_MODE: Final = 0o3775
"""Postfix may add files and so open a log that nobody has open; the sticky bit keeps it from replacing others'."""
FILE_MODE: Final = 0o640


def postfix_may_open_log(database_path: Path) -> bool:
    """Tell whether Postfix can make the files of a write-ahead log when nobody else has it open."""
    try:
        group = grp.getgrnam(POSTFIX_GROUP).gr_gid
    except KeyError:
        return True
    folder = database_path.parent.stat()
    wanted = stat.S_IWGRP | stat.S_IXGRP
    return (folder.st_gid == group and folder.st_mode & wanted == wanted) or bool(
        folder.st_mode & stat.S_IWOTH
    )


def share_with_postfix(database_path: Path) -> None:
    """Let Postfix's group make files in the folder and read the accounts. Needs root.

    :raises StorageError: if that is not possible
    """
    try:
        group = grp.getgrnam(POSTFIX_GROUP).gr_gid
        os.chown(database_path.parent, -1, group)
        database_path.parent.chmod(FOLDER_MODE)
        if not database_path.stat().st_mode & stat.S_IROTH:
            os.chown(database_path, -1, group)
            database_path.chmod(FILE_MODE)
    except (OSError, KeyError) as error:
        raise StorageError(
            N_("The folder %(path)s cannot be shared with Postfix: %(reason)s."),
            path=database_path.parent,
            reason=error,
        ) from None


def use_write_ahead_log(database: Database) -> None:
    """Switch the accounts to a write-ahead log; it stays so.

    :raises UnavailableError: if other programs do not let go of the file
    """

    def switch(connection: Connection) -> None:
        # It cannot be switched inside a transaction.
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        connection.exec_driver_sql("BEGIN")

    database.read_now(switch)


def integrity(connection: Connection) -> str:
    """Return ``ok``, or what SQLite finds wrong."""
    return str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
