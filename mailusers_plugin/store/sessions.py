"""Log-in sessions: only a hash of each key is stored, bound to the password that the user had."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update

from mailusers_plugin.models import Account
from mailusers_plugin.store import accounts, schema, second_factors
from mailusers_plugin.store.database import Database
from mailusers_plugin.store.lookups import Lookup

_session = schema.session.c
_users = schema.users.c


@dataclass(frozen=True, slots=True)
class Session:
    """A session as it is stored.

    :ivar key_hash: of its key
    :ivar kind: whether a browser has it, or a program
    :ivar password_mark: of the password that the user had
    :ivar privileges: what the user might do when it began, one a line; ``None``, as all below, for one that is older
        than this column
    :ivar address: where it was begun
    :ivar network: the network of that address
    :ivar agent: what the client called itself
    """

    key_hash: str
    email: str
    kind: str
    password_mark: str
    created_at: datetime
    used_at: datetime
    privileges: str | None
    address: str | None = None
    network: str | None = None
    agent: str | None = None


_COLUMNS: Final = (
    _session.key_hash,
    _session.email,
    _session.kind,
    _session.password_mark,
    _session.created_at,
    _session.used_at,
    _session.privileges,
)
_ALL: Final = (*_COLUMNS, _session.address, _session.network, _session.agent)
_MAX_AGENT: Final = 255
_ID_LENGTH: Final = 16
_FIND: Final = Lookup(select(*_COLUMNS).where(_session.key_hash == bindparam("key")), Session, "key")


def _both(*columns: Any) -> tuple[Session, Account | None]:
    password, privileges, quota, *factors = columns[len(_COLUMNS) :]
    session = Session(*columns[: len(_COLUMNS)])
    if password is None:
        return session, None
    return session, accounts.account(session.email, password, privileges, quota, *factors)


_FIND_BOTH: Final = Lookup(
    select(*_COLUMNS, _users.password, _users.privileges, _users.quota, *second_factors.STATE)
    .outerjoin_from(schema.session, schema.users, _users.email == _session.email)
    .where(_session.key_hash == bindparam("key")),
    _both,
    "key",
)


def find_now(state: Database, database: Database, key_hash: str) -> tuple[Session, Account | None] | None:
    """Return a session by its key's hash, and its account as it is now. Blocks, for some µs on SQLite.

    One query where both are in one database. On SQLite it is one in each of two files; to remember sessions and ask
    only whether the file has changed (``PRAGMA data_version``, 1.9 µs) would save nothing beside reading one (2.1 µs).

    :param state: where the sessions are
    :param database: where the accounts are
    :raises UnavailableError: if one is away, or locked for too long
    """
    if state is database:
        return state.look_up_now(_FIND_BOTH, key_hash)
    session = state.look_up_now(_FIND, key_hash)
    return None if session is None else (session, database.look_up_now(accounts.FIND, session.email))


def storable(agent: str) -> str:
    """Return what is kept of what a client calls itself: any text at all."""
    return "".join(c if c.isprintable() else "?" for c in agent[:_MAX_AGENT])


def id_of(session: Session) -> str:
    """Return what a session is called where it is shown; it opens nothing."""
    return session.key_hash[:_ID_LENGTH]


def add(connection: Connection, session: Session) -> None:
    """Store a new session."""
    connection.execute(insert(schema.session).values(**asdict(session)))


def of_user(connection: Connection, email: str | None) -> list[Session]:
    """Return the sessions of a user, or of everybody where that is ``None``, the one that was used last first."""
    query = select(*_ALL).order_by(_session.used_at.desc(), _session.key_hash)
    if email is not None:
        query = query.where(_session.email == email)
    return [Session(**row) for row in connection.execute(query).mappings()]


def touch(connection: Connection, key_hash: str, now: datetime) -> None:
    """Remember when a session was used last."""
    connection.execute(update(schema.session).where(_session.key_hash == key_hash).values(used_at=now))


def remark(connection: Connection, email: str, old_mark: str, new_mark: str) -> None:
    """Carry sessions over to a new hash of the same password."""
    connection.execute(
        update(schema.session)
        .where(_session.email == email, _session.password_mark == old_mark)
        .values(password_mark=new_mark)
    )


def end(connection: Connection, key_hash: str) -> str | None:
    """Delete a session.

    :returns: whose it was, ``None`` where there was none
    """
    email = connection.execute(select(_session.email).where(_session.key_hash == key_hash)).scalar()
    connection.execute(delete(schema.session).where(_session.key_hash == key_hash))
    return email


def keep_only(connection: Connection, email: str, key_hash: str, old_mark: str, new_mark: str) -> None:
    """Delete all sessions of a user but one, and carry that one over to the second factors that the user has now.

    :param key_hash: of the one that goes on, empty for none
    :param old_mark: what it must have been bound to until now
    :param new_mark: what it is bound to from now on
    """
    end_all(connection, email, besides=key_hash)
    connection.execute(
        update(schema.session)
        .where(_session.email == email, _session.key_hash == key_hash, _session.password_mark == old_mark)
        .values(password_mark=new_mark)
    )


def end_all(connection: Connection, email: str, *, besides: str = "") -> int:
    """Delete all sessions of a user.

    :param besides: the hash of the key of one that goes on
    :returns: how many there were
    """
    return connection.execute(
        delete(schema.session).where(_session.email == email, _session.key_hash != besides)
    ).rowcount


def expire(connection: Connection, used_before: datetime, created_before: datetime) -> None:
    """Delete the sessions that are too old, by last use or by age."""
    connection.execute(
        delete(schema.session).where(
            or_(_session.used_at < used_before, _session.created_at < created_before)
        )
    )
