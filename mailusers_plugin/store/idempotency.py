"""Requests with an ``Idempotency-Key``: who carries one out, and what was answered in the end.

The record is made before the change and completed behind it, on SQLite in another file than the change. What lies in
between is told by the event, which is written in the transaction of the change: its id is made of the record's token.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from mailusers_plugin.errors import KeyBusyError
from mailusers_plugin.models import Claim
from mailusers_plugin.store import clock, schema

_key = schema.idempotency.c
_PRUNE_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What was answered.

    :ivar headers: those that a repeat gets too
    """

    status: int
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, slots=True)
class Record:
    """What is stored of a key.

    :ivar salt: goes into the fingerprint
    :ivar fingerprint: of the first request
    """

    mark: str
    salt: str
    fingerprint: str


def find(connection: Connection, mark: str, not_before: datetime) -> Record | None:
    """Return what is stored of a key.

    :param not_before: an older record counts no more
    """
    query = select(_key.mark, _key.salt, _key.fingerprint).where(
        _key.mark == mark, _key.created_at >= not_before
    )
    row = connection.execute(query).first()
    return None if row is None else Record(*row)


def begin(
    connection: Connection, record: Record, claim: Claim, lease_seconds: float, not_before: datetime
) -> bool:
    """Store a key that is new.

    :param lease_seconds: for so long nobody else takes it over, should its owner say nothing more
    :param not_before: see :func:`find`
    :returns: ``False`` where somebody else has stored it meanwhile
    """
    connection.execute(
        delete(schema.idempotency).where(_key.mark == record.mark, _key.created_at < not_before)
    )
    now = clock.now(connection)
    savepoint = connection.begin_nested()
    try:
        connection.execute(
            insert(schema.idempotency).values(
                mark=record.mark,
                salt=record.salt,
                fingerprint=record.fingerprint,
                token=claim.token,
                created_at=now,
                owner=claim.owner,
                lease_until=now + timedelta(seconds=lease_seconds),
            )
        )
    except IntegrityError:
        savepoint.rollback()
        return False
    savepoint.commit()
    return True


def resume(
    connection: Connection, mark: str, owner: str, lease_seconds: float, is_over: Callable[[str], bool | None]
) -> Claim | StoredAnswer | None:
    """Return what was answered, or take over where nobody is at it any more.

    :param is_over: tells whether an owner is at it no more, ``None`` where that is not known, so that its lease counts
    :returns: ``None`` where the record is gone
    :raises KeyBusyError: if somebody is at it
    """
    row = connection.execute(select(schema.idempotency).where(_key.mark == mark).with_for_update()).first()
    if row is None:
        return None
    if row.status is not None:
        return StoredAnswer(row.status, json.loads(row.headers), json.loads(row.body))
    now = clock.now(connection)
    over = row.owner is None or is_over(row.owner)
    if over is False or (over is None and now < row.lease_until):
        raise KeyBusyError
    connection.execute(
        update(schema.idempotency)
        .where(_key.mark == mark)
        .values(owner=owner, lease_until=now + timedelta(seconds=lease_seconds))
    )
    return Claim(mark, owner, row.token, resumed=True)


def finish(connection: Connection, claim: Claim, answer: StoredAnswer) -> None:
    """Store what was answered, unless another process has taken the request over."""
    connection.execute(
        update(schema.idempotency)
        .where(_key.mark == claim.mark, _key.token == claim.token, _key.owner == claim.owner)
        .values(
            status=answer.status,
            headers=json.dumps(dict(answer.headers)),
            # As JSON, for not every database takes every character.
            body=json.dumps(answer.body),
            owner=None,
            lease_until=None,
        )
    )


def release(connection: Connection, claim: Claim) -> None:
    """Leave a request to whoever repeats it."""
    connection.execute(
        update(schema.idempotency)
        .where(_key.mark == claim.mark, _key.token == claim.token, _key.owner == claim.owner)
        .values(owner=None, lease_until=None)
    )


def hold(connection: Connection, claim: Claim) -> None:
    """Make sure, in the transaction of the change, that nobody else has taken it over; until it ends nobody can.

    Only where the record is in the same database. On SQLite a change that comes too late fails by its event, whose id
    is in the outbox for an hour at least.

    :raises KeyBusyError: if somebody has
    """
    if connection.dialect.name == "sqlite":
        return
    query = select(_key.owner).where(_key.mark == claim.mark, _key.token == claim.token).with_for_update()
    if connection.execute(query).scalar() != claim.owner:
        raise KeyBusyError


def in_outbox(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Return which of some events are in the outbox."""
    column = schema.outbox.c.id
    return set(connection.execute(select(column).where(column.in_(ids))).scalars())


def taken_over(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Return which of some events have left the outbox for the deliveries."""
    column = schema.event.c.id
    return set(connection.execute(select(column).where(column.in_(ids))).scalars())


def has_before(connection: Connection, before: datetime) -> bool:
    """Tell whether there is anything to expire."""
    return connection.execute(select(_key.mark).where(_key.created_at < before).limit(1)).first() is not None


def expire(connection: Connection, before: datetime) -> int:
    """Delete records that are older than a time.

    :returns: how many; some are left for the next time where there are very many
    """
    old = select(_key.mark).where(_key.created_at < before).order_by(_key.created_at).limit(_PRUNE_AT_ONCE)
    marks = connection.execute(old.with_for_update(skip_locked=True)).scalars().all()
    connection.execute(delete(schema.idempotency).where(_key.mark.in_(marks)))
    return len(marks)
