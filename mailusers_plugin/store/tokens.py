"""API tokens: only a hash of each is stored, with whose it is, what it may do, from where and how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, delete, insert, or_, select, update

from mailusers_plugin.store import schema
from mailusers_plugin.store.database import Database
from mailusers_plugin.store.lookups import Lookup
from mailusers_plugin.store.token_schema import token
from mailusers_plugin.validation import parse_privileges

_token = token.c
_users = schema.users.c


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is stored.

    :ivar id: names it for people; not secret
    :ivar name: what its owner calls it
    :ivar owner: for whom it acts
    :ivar owner_id: of a mail user, ``None`` for somebody of the host's own
    :ivar scopes: what it may do
    :ivar networks: from where it may be used, as ``ADDRESS/BITS``; from everywhere where there is none
    :ivar expires_at: ``None`` for never
    :ivar used_at: the last time that was noted, ``None`` before the first
    :ivar used_from: the caller's address then
    """

    id: str
    name: str
    owner: str
    owner_id: int | None
    scopes: tuple[str, ...]
    networks: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None = None
    used_from: str = ""


@dataclass(frozen=True, slots=True)
class Owner:
    """The mail user to whom a token belongs, as the account is now."""

    id: int
    privileges: tuple[str, ...]


_COLUMNS: Final = (
    _token.id,
    _token.name,
    _token.owner,
    _token.owner_id,
    _token.scopes,
    _token.networks,
    _token.created_at,
    _token.expires_at,
    _token.used_at,
    _token.used_from,
)


def _made(*columns: Any) -> Token:
    id_, name, owner, owner_id, scopes, networks, *times = columns
    return Token(id_, name, owner, owner_id, tuple(scopes.split()), tuple(networks.split()), *times)


def _owner(id_: int, privileges: str) -> Owner:
    return Owner(id_, parse_privileges(privileges))


def _both(*columns: Any) -> tuple[Token, Owner | None]:
    id_, privileges = columns[-2:]
    return _made(*columns[:-2]), None if id_ is None else _owner(id_, privileges)


_BY_KEY: Final = _token.key_hash == bindparam("key")
_FIND: Final = Lookup(select(*_COLUMNS).where(_BY_KEY), _made, "key")
_FIND_OWNER: Final = Lookup(
    select(_users.id, _users.privileges).where(_users.email == bindparam("email")), _owner, "email"
)
_FIND_BOTH: Final = Lookup(
    select(*_COLUMNS, _users.id.label("user_id"), _users.privileges)
    # Not with a mail user who has the name of somebody of the host's own.
    .outerjoin_from(token, schema.users, and_(_users.email == _token.owner, _token.owner_id.is_not(None)))
    .where(_BY_KEY),
    _both,
    "key",
)


OWNED: Final = Lookup(
    select(_token.id).where(_token.owner == bindparam("email"), _token.owner_id.is_not(None)), str, "email"
)
"""Finds some token of a mail user."""


def find_now(state: Database, database: Database, key_hash: str) -> tuple[Token, Owner | None] | None:
    """Return a token by its hash, and its owner's account as it is now. Blocks, for some µs on SQLite.

    One query where both are in one database, on SQLite one in each of two files.

    :param state: where the tokens are
    :param database: where the accounts are
    :raises UnavailableError: if one is away, or locked for too long
    """
    if state is database:
        return state.look_up_now(_FIND_BOTH, key_hash)
    found = state.look_up_now(_FIND, key_hash)
    if found is None:
        return None
    return found, None if found.owner_id is None else database.look_up_now(_FIND_OWNER, found.owner)


def owner(connection: Connection, email: str) -> Owner | None:
    """Return a mail user who is to get a token, ``None`` where there is none.

    :param connection: of the accounts
    """
    row = connection.execute(select(_users.id, _users.privileges).where(_users.email == email)).first()
    return None if row is None else _owner(*row)


def add(connection: Connection, new: Token, key_hash: str) -> None:
    """Store a new token."""
    connection.execute(
        insert(token).values(
            id=new.id,
            key_hash=key_hash,
            name=new.name,
            owner=new.owner,
            owner_id=new.owner_id,
            scopes=" ".join(new.scopes),
            networks=" ".join(new.networks),
            created_at=new.created_at,
            expires_at=new.expires_at,
            used_at=new.used_at,
            used_from=new.used_from,
        )
    )


def everything(connection: Connection) -> Sequence[Token]:
    """Return all tokens, the newest first."""
    query = select(*_COLUMNS).order_by(_token.created_at.desc(), _token.id)
    return [_made(*row) for row in connection.execute(query)]


def find(connection: Connection, token_id: str) -> Token | None:
    """Return a token by its id, ``None`` where there is none."""
    row = connection.execute(select(*_COLUMNS).where(_token.id == token_id)).first()
    return None if row is None else _made(*row)


def revoke(connection: Connection, token_id: str) -> bool:
    """Delete a token.

    :returns: whether there was one
    """
    return connection.execute(delete(token).where(_token.id == token_id)).rowcount == 1


def revoke_of(connection: Connection, email: str) -> None:
    """Delete all tokens of a mail user; those of somebody of the host's own with the same name stay."""
    connection.execute(delete(token).where(_token.owner == email, _token.owner_id.is_not(None)))


def touch(connection: Connection, token_id: str, now: datetime, address: str, before: datetime) -> None:
    """Note when and from where a token was used, unless that was done a short time ago.

    :param before: what was noted later than this stays
    """
    connection.execute(
        update(token)
        .where(_token.id == token_id, or_(_token.used_at.is_(None), _token.used_at < before))
        .values(used_at=now, used_from=address)
    )
