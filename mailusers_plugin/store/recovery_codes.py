"""Recovery codes: only a hash of each is stored, and it is deleted when it is used.

They are bound to the secret of a second factor: when that is gone, whoever removed it, they fit nothing any more. So
they neither outlive the second factor nor come to whom an address is given next, and undoing an archive brings them
back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, update

from mailusers_plugin.store import second_factor_schema as schema

_code = schema.recovery_code.c


def replace(connection: Connection, email: str, hashes: Sequence[str], bound_to: str, now: datetime) -> None:
    """Store new codes in place of all that a user had.

    :param bound_to: the hash of the secret that they end with
    """
    connection.execute(delete(schema.recovery_code).where(_code.email == email))
    connection.execute(
        insert(schema.recovery_code),
        [
            {"email": email, "code_hash": code_hash, "bound_to": bound_to, "created_at": now}
            for code_hash in hashes
        ],
    )


def _good(email: str, bindings: Collection[str]) -> ColumnElement[Any]:
    return and_(_code.email == email, _code.bound_to.in_(list(bindings)))


def is_good(connection: Connection, email: str, code_hash: str, bindings: Collection[str]) -> bool:
    """Tell whether a code may be used."""
    query = select(_code.email).where(_good(email, bindings), _code.code_hash == code_hash)
    return connection.execute(query).first() is not None


def use(connection: Connection, email: str, code_hash: str, bindings: Collection[str]) -> bool:
    """Use a code up.

    :param bindings: of the second factors that the user has now
    :returns: whether it was good; of two that come at once, one was
    """
    result = connection.execute(
        delete(schema.recovery_code).where(_good(email, bindings), _code.code_hash == code_hash)
    )
    return bool(result.rowcount == 1)


def count(connection: Connection, email: str, bindings: Collection[str]) -> int:
    """Return how many codes a user has left."""
    query = select(func.count()).select_from(schema.recovery_code).where(_good(email, bindings))
    return int(connection.execute(query).scalar_one())


def rebind(connection: Connection, email: str, gone: Collection[str], bound_to: str) -> None:
    """Bind the codes of a second factor that was removed to one that is left."""
    connection.execute(update(schema.recovery_code).where(_good(email, gone)).values(bound_to=bound_to))


def drop(connection: Connection, email: str) -> None:
    """Delete all codes of a user."""
    connection.execute(delete(schema.recovery_code).where(_code.email == email))
