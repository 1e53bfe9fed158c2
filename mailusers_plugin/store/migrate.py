"""Brings a database up to date: the box's tables where there are none, then our own by Alembic.

There is one history with two branches: ``accounts`` for the tables that change together with a user, ``state`` for
the others. On SQLite each branch has a file of its own, elsewhere both are in one database.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, text

from mailusers_plugin.errors import ConfigurationError, UnavailableError
from mailusers_plugin.store import schema
from mailusers_plugin.store.database import Connection
from mailusers_plugin.texts import N_

if TYPE_CHECKING:
    from alembic.config import Config

ACCOUNTS: Final = "accounts"
STATE: Final = "state"
HEADS: Final = {ACCOUNTS: "accounts_0004", STATE: "state_0012"}
"""The newest revisions. Named here so that opening a box that is up to date need not load Alembic."""
COPY_MARK: Final = "mailusers_copy"
"""A table that has a row while a box is copied into its database: see :mod:`mailusers_plugin.store.copying`."""
_LOCK_KEY: Final = 0x6D61696C75736572
"""Of PostgreSQL's advisory lock: "mailuser" in ASCII, so that no other program is likely to use it."""
_LOCK_NAME: Final = "CONCAT('mailusers ', LEFT(MD5(DATABASE()), 32))"
"""Of MariaDB's: its locks belong to the whole server, and their names have at most 64 characters."""
_LOCK_SECONDS: Final = 60
"""How long another process may take to make tables or to change large ones."""
_FOLDER: Final = Path(__file__).parent / "migrations"
_NEEDED: Final = ("id", "email", "password", "privileges", "quota")


def configuration() -> Config:
    """Return Alembic's configuration for our history."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    return config


def revisions(connection: Connection) -> set[str]:
    """Return the revisions that the database is at, none where we were never here."""
    if not inspect(connection).has_table(schema.VERSION_TABLE):
        return set()
    # The name is a constant.
    return set(connection.execute(text(f"SELECT version_num FROM {schema.VERSION_TABLE}")).scalars())  # noqa: S608  # nosec B608


def bring_accounts_up_to_date(connection: Connection, *, copying: bool = False) -> bool:
    """Make what is missing, in the caller's write transaction, so that two processes do not do it at once.

    :param copying: whether it is opened for copying a box into it, which nobody else may do meanwhile
    :returns: whether the tables of a box that others may have open were changed
    :raises ConfigurationError: if the users table lacks a column, a newer version of the plugin was here, or a copy
        into it has not ended
    """
    with _alone(connection):
        return _bring_accounts_up_to_date(connection, copying)


def bring_state_up_to_date(connection: Connection) -> None:
    """Make what is missing of our other tables, in the caller's write transaction.

    :raises ConfigurationError: if a newer version of the plugin was here
    """
    with _alone(connection):
        _upgrade(connection, STATE)


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Let other processes wait that are about to do the same. On SQLite a write transaction does."""
    dialect = connection.dialect.name
    if dialect == "postgresql":
        # Until the transaction ends.
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
    elif dialect != "sqlite":
        # Until it is given back: the first table that is made ends the transaction.
        taken = connection.execute(
            text(f"SELECT GET_LOCK({_LOCK_NAME}, :wait)"), {"wait": _LOCK_SECONDS}
        ).scalar()
        if taken != 1:
            raise UnavailableError(N_("The account database is busy. Try again in a moment."), 10)
    try:
        yield
        if dialect not in ("sqlite", "postgresql"):
            # What remains after the last table must be seen by whoever waits.
            connection.exec_driver_sql("COMMIT")
    finally:
        if dialect not in ("sqlite", "postgresql"):
            connection.execute(text(f"SELECT RELEASE_LOCK({_LOCK_NAME})"))


def _bring_accounts_up_to_date(connection: Connection, copying: bool) -> bool:
    inspector = inspect(connection)
    if not copying and inspector.has_table(COPY_MARK):
        # The name is a constant.
        source = connection.execute(text(f"SELECT source FROM {COPY_MARK}")).scalar()  # noqa: S608  # nosec B608
        if source is not None:
            raise ConfigurationError(
                f"A box is being copied into this database from {source}, or that was interrupted. Wait, or run "
                "'mailusers database copy' with the same two databases again."
            )
    is_new = not inspector.has_table("users")
    if is_new:
        _make_box(connection)
    else:
        missing = set(_NEEDED) - {column["name"] for column in inspector.get_columns("users")}
        if missing:
            raise ConfigurationError(
                f"The users table has no column {', '.join(sorted(missing))}. It is older than Mail-in-a-Box 70; "
                "upgrade the box first, or add the column as its own migration does: ALTER TABLE users ADD COLUMN "
                "quota TEXT NOT NULL DEFAULT '0'."
            )
    return _upgrade(connection, ACCOUNTS) and not is_new


def _upgrade(connection: Connection, branch: str) -> bool:
    current = revisions(connection)
    if HEADS[branch] in current:
        return False
    from alembic import command
    from alembic.script import ScriptDirectory

    config = configuration()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current - known:
        raise ConfigurationError(
            f"A newer version of mailusers_plugin has used this database (revision {', '.join(current - known)}). "
            "Install that version."
        )
    config.attributes["connection"] = connection
    command.upgrade(config, f"{branch}@head")
    return True


def _make_box(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        for statement in schema.MIAB_SQLITE:
            connection.exec_driver_sql(statement)
    else:
        schema.box.create_all(connection)
