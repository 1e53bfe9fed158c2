"""Second factors, in the table ``mfa`` of Mail-in-a-Box, which its own programs read and write beside us.

What we add to it: the code that was used last is stored only where nobody else has stored one meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Select, delete, func, insert, select, update

from mailusers_plugin.errors import InvalidInputError, UnknownUserError
from mailusers_plugin.models import Factor
from mailusers_plugin.store import schema
from mailusers_plugin.texts import N_

_mfa = schema.mfa.c
_users = schema.users.c
TOTP: Final = "totp"
"""The one type there is (``type`` in the table)."""


def _of_a_user(what: Any) -> Any:
    return select(what).where(_mfa.user_id == _users.id).scalar_subquery()


STATE: Final = (
    _of_a_user(func.count(_mfa.id)),
    _of_a_user(func.max(_mfa.id)),
    _of_a_user(func.max(_mfa.secret)),
)
"""What tells a user's second factors from those of another time; columns for a query of the table ``users``.

Ids are never given twice: one that comes has a higher one than all before, and one that goes leaves fewer. To join all
secrets into one text would say no more, and takes MariaDB as long as finding the user.
"""


def mark(count: int, newest: int | None, secret: str | None) -> str:
    """Return what tells a user's second factors apart from other ones, without giving them away.

    It changes with each that comes or goes, whoever changed it. A secret is random, so a plain hash is enough.

    :param count: this and the others as :data:`STATE` gives them
    :returns: empty where there is none
    """
    return hashlib.sha256(f"{count}:{newest}:{secret}".encode()).hexdigest() if count else ""


def _of(email: str) -> Select[Any]:
    return (
        select(_mfa.id, _mfa.type, _mfa.secret, _mfa.mru_token, _mfa.label)
        .join_from(schema.mfa, schema.users, _mfa.user_id == _users.id)
        .where(_users.email == email)
        .order_by(_mfa.id)
    )


def of_user(connection: Connection, email: str) -> list[Factor]:
    """Return the second factors of a user, the oldest first; none where there is no such user."""
    return [Factor(*row) for row in connection.execute(_of(email))]


def use(connection: Connection, factor: Factor, code: str) -> bool:
    """Store the code that was used last, unless another one was stored since the factor was read.

    The condition and the change are one statement, so that of two requests with the same code one is refused, also in
    two processes.

    :returns: whether it is stored, and the code may be taken for good
    """
    result = connection.execute(
        update(schema.mfa)
        .where(
            _mfa.id == factor.id,
            _mfa.secret == factor.secret,
            _mfa.mru_token.is_not_distinct_from(factor.mru_token),
        )
        .values(mru_token=code)
    )
    return bool(result.rowcount == 1)


def add(connection: Connection, email: str, secret: str, code: str, label: str | None) -> None:
    """Add a second factor of the type :data:`TOTP`.

    :param code: the first code, which is used up by this
    :raises UnknownUserError: if there is no such user
    :raises InvalidInputError: if the user has this secret already: a code of it would be good twice
    """
    user_id = _user_id(connection, email)
    same = select(_mfa.id).where(_mfa.user_id == user_id, _mfa.secret == secret)
    if connection.execute(same).first() is not None:
        raise InvalidInputError(N_("That secret is in use already. Load the page again to get another one."))
    connection.execute(
        insert(schema.mfa).values(user_id=user_id, type=TOTP, secret=secret, mru_token=code, label=label)
    )


def remove(connection: Connection, email: str, number: int | None) -> Sequence[str]:
    """Remove one second factor of a user, or all.

    :param number: its id, ``None`` for all
    :returns: the secrets of those that were removed
    :raises UnknownUserError: if there is no such user
    """
    user_id = _user_id(connection, email)
    which = _mfa.user_id == user_id
    if number is not None:
        which &= _mfa.id == number
    secrets = connection.execute(select(_mfa.secret).where(which)).scalars().all()
    if secrets:
        connection.execute(delete(schema.mfa).where(which))
    return secrets


def _user_id(connection: Connection, email: str) -> int:
    # Locked, so that what is found of the user's factors holds until the transaction ends.
    query = select(_users.id).where(_users.email == email).with_for_update()
    user_id = connection.execute(query).scalar()
    if user_id is None:
        raise UnknownUserError(email)
    return int(user_id)


def bindings(factors: Collection[Factor]) -> list[str]:
    """Return what recovery codes are bound to: one hash for each secret, so that they end with it."""
    return [bind(factor.secret) for factor in factors]


def bind(secret: str) -> str:
    """Return what recovery codes that are made for a secret are bound to."""
    return hashlib.sha256(b"recovery:" + secret.encode()).hexdigest()
