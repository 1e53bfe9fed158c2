"""What is kept of an archived account so that archiving can be undone: for minutes, since it holds the password's hash.

It stands with the note of the archive, in the same row: who drops the note, by restoring or purging, drops it too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from mailusers_plugin.models import Account
from mailusers_plugin.store import accounts, schema
from mailusers_plugin.validation import parse_privileges

_users = schema.users.c
_mfa = schema.mfa.c
_archive = schema.archive.c
_FACTOR = ("type", "secret", "mru_token", "label")


@dataclass(frozen=True, slots=True)
class Kept:
    """An archived account as it was.

    :ivar account: with the hash of its password
    :ivar extra: the column of Mail-in-a-Box that nobody uses; whatever was in it
    :ivar factors: the rows of its second factors, without their numbers
    """

    account: Account
    extra: Any
    factors: tuple[Mapping[str, Any], ...]


def keep(connection: Connection, email: str, until: datetime) -> None:
    """Keep an active account beside the note of its archive, which must have been written.

    :param until: wiped after this
    """
    user_id, password, extra = connection.execute(
        select(_users.id, _users.password, _users.extra).where(_users.email == email)
    ).one()
    factors = connection.execute(
        select(*(_mfa[name] for name in _FACTOR)).where(_mfa.user_id == user_id).order_by(_mfa.id)
    )
    content = {
        "password": password,
        "extra": {"hex": extra.hex()} if isinstance(extra, bytes) else extra,
        "mfa": [dict(zip(_FACTOR, row, strict=True)) for row in factors],
    }
    connection.execute(
        update(schema.archive)
        .where(_archive.email == email)
        .values(kept=json.dumps(content), kept_until=until)
    )


def find(connection: Connection, email: str, now: datetime) -> Kept | None:
    """Return what is kept of an archived account, ``None`` where that is nothing or its time is over."""
    row = connection.execute(
        select(_archive.kept, _archive.kept_until, _archive.privileges, _archive.quota).where(
            _archive.email == email
        )
    ).first()
    if row is None or row.kept is None or row.kept_until is None or row.kept_until <= now:
        return None
    content = json.loads(row.kept)
    extra = content["extra"]
    return Kept(
        Account(email, content["password"], parse_privileges(row.privileges or ""), row.quota),
        bytes.fromhex(extra["hex"]) if isinstance(extra, dict) else extra,
        tuple(content["mfa"]),
    )


def bring_back(connection: Connection, kept: Kept) -> None:
    """Insert an account as it was, and forget its archive.

    :raises UserExistsError: if the address is in use
    """
    email = kept.account.email
    accounts.add(connection, kept.account)
    if kept.extra is not None:
        connection.execute(update(schema.users).where(_users.email == email).values(extra=kept.extra))
    if kept.factors:
        user_id = connection.execute(select(_users.id).where(_users.email == email)).scalar_one()
        connection.execute(insert(schema.mfa), [{**factor, "user_id": user_id} for factor in kept.factors])
    accounts.forget_archived(connection, email)


def first_end(connection: Connection) -> datetime | None:
    """Return when the first of all that is kept is to be wiped, ``None`` where nothing is."""
    # An aggregate loses the column's type, and with it the zone.
    query = select(func.min(_archive.kept_until, type_=schema.UTCDateTime)).where(_archive.kept.is_not(None))
    return connection.execute(query).scalar()


def wipe(connection: Connection, now: datetime) -> list[str]:
    """Wipe what has been kept long enough.

    :returns: of which addresses
    """
    over = (_archive.kept_until <= now) & _archive.kept.is_not(None)
    emails = list(connection.execute(select(_archive.email).where(over)).scalars())
    if emails:
        connection.execute(update(schema.archive).where(over).values(kept=None, kept_until=None))
    return emails


def drop(connection: Connection, email: str) -> None:
    """Wipe what is kept of one account."""
    connection.execute(
        update(schema.archive).where(_archive.email == email).values(kept=None, kept_until=None)
    )
