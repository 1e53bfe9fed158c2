"""Log-in sessions: only a hash of each key is stored, bound to the password that the user had."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, or_, select, update

from mailusers_plugin.store import schema

_session = schema.session.c


@dataclass(frozen=True, slots=True)
class Session:
    """A session as it is stored."""

    email: str
    kind: str
    password_mark: str
    created_at: datetime
    used_at: datetime


def find(connection: Connection, key_hash: str) -> Session | None:
    """Return a session by its key's hash."""
    row = connection.execute(
        select(
            _session.email, _session.kind, _session.password_mark, _session.created_at, _session.used_at
        ).where(_session.key_hash == key_hash)
    ).first()
    return None if row is None else Session(*row)


def add(
    connection: Connection, key_hash: str, email: str, kind: str, password_mark: str, now: datetime
) -> None:
    """Store a new session."""
    connection.execute(
        insert(schema.session).values(
            key_hash=key_hash,
            email=email,
            kind=kind,
            password_mark=password_mark,
            created_at=now,
            used_at=now,
        )
    )


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


def end(connection: Connection, key_hash: str) -> None:
    """Delete a session."""
    connection.execute(delete(schema.session).where(_session.key_hash == key_hash))


def end_all(connection: Connection, email: str) -> None:
    """Delete all sessions of a user."""
    connection.execute(delete(schema.session).where(_session.email == email))


def expire(connection: Connection, used_before: datetime, created_before: datetime) -> None:
    """Delete the sessions that are too old, by last use or by age."""
    connection.execute(
        delete(schema.session).where(
            or_(_session.used_at < used_before, _session.created_at < created_before)
        )
    )
