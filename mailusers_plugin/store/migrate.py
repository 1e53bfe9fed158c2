"""Brings a database up to date: the box's tables where there are none, then our own by Alembic.

There is one history with two branches: ``accounts`` for the tables that change together with a user, ``state`` for
the others. On SQLite each branch has a file of its own, elsewhere both are in one database.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, text

from mailusers_plugin.errors import ConfigurationError
from mailusers_plugin.store import schema
from mailusers_plugin.store.database import Connection

if TYPE_CHECKING:
    from alembic.config import Config

ACCOUNTS: Final = "accounts"
STATE: Final = "state"
HEADS: Final = {ACCOUNTS: "accounts_0001", STATE: "state_0001"}
"""The newest revisions. Named here so that opening a box that is up to date need not load Alembic."""
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
    return set(connection.execute(text(f"SELECT version_num FROM {schema.VERSION_TABLE}")).scalars())  # noqa: S608


def bring_accounts_up_to_date(connection: Connection) -> bool:
    """Make what is missing, in the caller's write transaction, so that two processes do not do it at once.

    :returns: whether the tables of a box that others may have open were changed
    :raises ConfigurationError: if the users table lacks a column, or a newer version of the plugin was here
    """
    inspector = inspect(connection)
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


def bring_state_up_to_date(connection: Connection) -> None:
    """Make what is missing of our other tables, in the caller's write transaction.

    :raises ConfigurationError: if a newer version of the plugin was here
    """
    _upgrade(connection, STATE)


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
