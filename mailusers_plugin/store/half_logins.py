"""Log-ins that lack the second factor: the password was right, and the code is yet to come.

Only a hash of the key is stored. Whoever has the key has shown the password, and may give a code some times.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from mailusers_plugin.store import second_factor_schema as schema

_half = schema.half_login.c


@dataclass(frozen=True, slots=True)
class HalfLogin:
    """What is known of it.

    :ivar mark: of the password and the second factors that the user had
    """

    email: str
    mark: str
    created_at: datetime


def add(connection: Connection, key_hash: str, half: HalfLogin, oldest: datetime) -> None:
    """Store one, and delete those that are over.

    :param oldest: all that began before are
    """
    connection.execute(delete(schema.half_login).where(_half.created_at < oldest))
    connection.execute(
        insert(schema.half_login).values(
            key_hash=key_hash, email=half.email, mark=half.mark, created_at=half.created_at, attempts=0
        )
    )


def attempt(connection: Connection, key_hash: str, oldest: datetime, most: int) -> HalfLogin | None:
    """Count an attempt before it is made, so that many at once are no more than one after the other.

    :param most: how many there may be
    :returns: ``None`` where there have been that many, or the log-in is over
    """
    which = _half.key_hash == key_hash
    counted = connection.execute(
        update(schema.half_login)
        .where(which, _half.created_at >= oldest, _half.attempts < most)
        .values(attempts=_half.attempts + 1)
    )
    if counted.rowcount != 1:
        connection.execute(delete(schema.half_login).where(which))
        return None
    row = connection.execute(select(_half.email, _half.mark, _half.created_at).where(which)).one()
    return HalfLogin(*row)


def find(connection: Connection, key_hash: str, oldest: datetime) -> HalfLogin | None:
    """Return one without counting anything, ``None`` where it is over."""
    row = connection.execute(
        select(_half.email, _half.mark, _half.created_at).where(
            _half.key_hash == key_hash, _half.created_at >= oldest
        )
    ).first()
    return None if row is None else HalfLogin(*row)


def end(connection: Connection, key_hash: str) -> bool:
    """Delete one.

    :returns: whether it was there; of two that end it at once, one is told so
    """
    result = connection.execute(delete(schema.half_login).where(_half.key_hash == key_hash))
    return bool(result.rowcount == 1)
