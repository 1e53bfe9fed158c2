"""Opens the accounts of a box, making the box where there is none."""

from __future__ import annotations

from mailusers_plugin.errors import ConfigurationError, UnavailableError
from mailusers_plugin.settings import Settings
from mailusers_plugin.store import migrate
from mailusers_plugin.store.database import Database


def open_box(settings: Settings) -> Database:
    """Open the database and bring it up to date.

    :raises ConfigurationError: if the box cannot be used
    :raises UnavailableError: if the database is away
    """
    if not settings.database:
        settings.mailboxes.mkdir(parents=True, exist_ok=True)
    database = Database(
        settings.database_url,
        threads=settings.database_threads,
        busy_timeout_seconds=settings.busy_timeout_seconds,
    )
    try:
        database.write_now(migrate.bring_up_to_date)
    except (ConfigurationError, UnavailableError):
        database.close()
        raise
    return database
