"""All accounts, some at a time, for what goes over every one of them."""

from __future__ import annotations

from sqlalchemy import Connection, select

from mailusers_plugin.models import Account
from mailusers_plugin.store import schema
from mailusers_plugin.validation import parse_privileges

_users = schema.users.c


def behind(connection: Connection, email: str, limit: int) -> list[Account]:
    """Return the active accounts behind an address, in the order of the addresses.

    They are fetched at once: a read that is open while somebody commits keeps Postfix out on a rollback journal.

    :param email: empty for the first ones
    """
    query = select(_users.email, _users.password, _users.privileges, _users.quota).where(_users.email > email)
    rows = connection.execute(query.order_by(_users.email).limit(limit)).all()
    return [Account(row[0], row[1], parse_privileges(row[2]), row[3]) for row in rows]
