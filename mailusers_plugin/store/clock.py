"""One clock for everything that several processes compare: the database's, which is the same for all of them."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection


def now(connection: Connection) -> datetime:
    """Return what time it is for every process that works on this database.

    SQLite has no server, so all its processes are on one machine, whose clock this is then. Elsewhere machines may
    differ: one whose clock is a minute behind would find that the lease of another has not run out yet.
    """
    if connection.dialect.name == "sqlite":
        return datetime.now(UTC)
    # Of the moment, not of the transaction's beginning: a lease is taken after waiting for others.
    if connection.dialect.name == "postgresql":
        statement = "SELECT clock_timestamp() AT TIME ZONE 'UTC'"
    else:
        statement = "SELECT UTC_TIMESTAMP(6)"
    found: datetime = connection.exec_driver_sql(statement).scalar_one()
    return found.replace(tzinfo=UTC)
