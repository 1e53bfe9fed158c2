"""Work that one process does for all that share a database: who does it, and until when nobody else may."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from mailusers_plugin.store import clock, schema

_duty = schema.duty.c


def take(
    connection: Connection, name: str, owner: str, lease_seconds: float, is_dead: Callable[[str], bool]
) -> bool:
    """Take a duty, or keep it for longer.

    :param owner: who wants it
    :param lease_seconds: nobody else has it before that is over
    :param is_dead: tells whether an owner is known to have ended, so that its lease need not be waited for
    :returns: whether the duty is the owner's now
    """
    query = select(_duty.owner, _duty.lease_until).where(_duty.name == name)
    row = connection.execute(query.with_for_update()).first()
    now = clock.now(connection)
    values = {"owner": owner, "lease_until": now + timedelta(seconds=lease_seconds)}
    if row is None:
        savepoint = connection.begin_nested()
        try:
            connection.execute(insert(schema.duty).values(name=name, **values))
        except IntegrityError:
            savepoint.rollback()
            return False
        savepoint.commit()
        return True
    if row.owner != owner and row.lease_until > now and not is_dead(row.owner):
        return False
    connection.execute(update(schema.duty).where(_duty.name == name).values(**values))
    return True


def give_up(connection: Connection, owner: str) -> None:
    """Leave all duties of an owner to others."""
    connection.execute(delete(schema.duty).where(_duty.owner == owner))
